"""DPM-OT's start for any pretrained denoiser: a transport map from noise to the noisy latents of images.

    y_i = x0_i + sigma eps_i,    T(z) = y_{i*},    i* = argmax_i <z, y_i> + h_i,    z ~ N(0, I)       (Li et al. 2023)

The heights h are solved once, until every latent receives the same share of the noise, to a certified error. T(z) lies
at noise level sigma: any sampler goes on from there, and the evaluations above that level are saved. The map depends on
images, sigma and seeds, and on no network. :func:`dpmot.solving.expressway` solves it.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dpmot.device import ordinary
from dpmot.images import stored
from dpmot.starts import Points
from dpmot.transport import Certificate, MappedImages, NoisyImages, TransportSolution
from dpmot.transport import stored as files
from dpmot.warned import NotConverged, OddRange, warn

Images = Tensor | np.ndarray | MappedImages
ENOUGH = 64  # numbers of noise, from which its law is looked at
USUAL = 0.5, 2.0  # root mean square of as many numbers of N(0, 1): others have a probability under 1e-8


@dataclass(frozen=True)
class Asked:
    """What an expressway was solved for, beside its images and labels; see :func:`expressway`."""

    sigma: float
    noises: int
    atom_seed: int
    source_measure: str
    fit_seed: int
    chi2: float
    max_noises: int | None
    pixels: bool


@dataclass(frozen=True, eq=False)
class Expressway:
    """The transport map T from noise to noisy latents of images: what :func:`expressway` solves.

    Every start is a stored image under noise, and a network that begins near the published levels (sigma 0.03 to 0.2)
    hands back that training image instead of a new one. ``source`` names the image behind a start, and ``dpmot.audit``
    tells how many samples are copies; a larger sigma has fewer.

    Attributes:
        atoms: the latents y_i = x0_i + sigma eps_i as a recipe, images and a seed; no latent is stored.
        solution: heights and the evidence for them.
        labels: class of each image, int64 (n,), or None.
        asked: what it was solved for.
    """

    atoms: NoisyImages
    solution: TransportSolution
    labels: Tensor | None
    asked: Asked

    @property
    def sigma(self) -> float:
        """The noise level at which starts lie, in the units of the images."""
        return self.asked.sigma

    @property
    def shape(self) -> tuple[int, ...]:
        """S, of one image."""
        return self.atoms.shape

    @property
    def source_measure(self) -> str:
        """The noise that is transported: "normal", of N(0, I), or "uniform", of U[0, 1]^d."""
        return self.asked.source_measure

    @property
    def certificate(self) -> Certificate:
        """chi2 of the shares of noise with its 95 % interval, measured on noise that the fit has not seen."""
        return self.solution.certificate

    @property
    def converged(self) -> bool:
        """Whether the upper end of the certificate's interval is below the chi2 that was asked for."""
        return self.solution.converged

    @ordinary(grad=False)
    def points(self, noise: Tensor) -> Points:
        """Start, source and labels of one search among the latents; see :meth:`start`.

        Returns:
            ``x`` (B, *S), ``source`` int64 (B,), and ``labels`` int64 (B,), or None where the images have none.
        """
        noise = checked_noise(noise, self.shape, self.source_measure)
        cell = self.solution.potential.cell(noise.flatten(1)).cpu()
        source = cell % len(self.atoms.images)
        labels = None if self.labels is None else self.labels[source].to(noise.device)
        return Points(self.atoms[cell].to(noise), source.to(noise.device), labels=labels)

    def start(self, noise: Tensor) -> Tensor:
        """x = T(noise), (B, *S), at noise level sigma: where a sampler begins. Dtype and device are those of noise.

        Args:
            noise: (B, *S), floats of the source measure, not scaled by any sigma.

        Raises:
            ValueError: noise of another shape or type, NaN, or outside [0, 1] where the source measure is uniform.

        Warns:
            OddRange: noise that is hardly of the source measure, such as one that was scaled to the prior.
        """
        return self.points(noise).x

    def source(self, noise: Tensor) -> Tensor:
        """The image behind each start: its index in the images given, int64 (B,). See :meth:`start`."""
        return self.points(noise).source  # type: ignore[return-value]  # there is one behind each

    def labels_of(self, noise: Tensor) -> Tensor | None:
        """The class of the image behind each start, int64 (B,); None without labels. See :meth:`start`."""
        return self.points(noise).labels

    def save(self, path: Path | str) -> None:
        """Write heights, certificate, labels and recipe, not the images, as one sealed safetensors file.

        Raises:
            OSError: the file cannot be written.
        """
        tensors = {} if self.labels is None else {"labels": self.labels}
        files.save(path, self.solution, {"asked": json.dumps(asdict(self.asked))}, tensors, kind=files.EXPRESSWAY)

    @classmethod
    @ordinary()
    def load(cls, path: Path | str, images: Images, *, device: torch.device | str | None = None) -> "Expressway":
        """Read what :meth:`save` wrote: the same map, to the bit.

        Args:
            path: the file.
            images: those that it was solved for, in the same order, uint8 or floats.
            device: where the search among the latents runs; None: where the images are.

        Raises:
            FileNotFoundError: no such file.
            Damaged: the file is not whole.
            ValueError: it holds something else, or a map of other images.

        Warns:
            NotConverged: the solution did not reach the chi2 that was asked for.
        """
        tensors, facts, texts = files.load(path, files.EXPRESSWAY)
        asked = Asked(**json.loads(texts["asked"]))
        atoms = atoms_of(images, asked, device)
        try:
            solution = TransportSolution(**files.restored(path, atoms, tensors, facts))
        except files.OtherAtoms:
            given, number = tuple(atoms.images.shape), len(tensors["heights"]) // asked.noises
            what = f"was solved for {number} other images than these, {given}: give the same ones in the same order"
            raise ValueError(f"{path} {what}") from None
        return told(cls(atoms, solution, tensors.get("labels"), asked))

    def __repr__(self) -> str:
        look = f"chi2 {self.certificate.chi2:.3g} [{self.certificate.low:.3g}, {self.certificate.high:.3g}]"
        state = "converged" if self.converged else "NOT converged"
        images = f"{len(self.atoms.images)} images {self.shape}, {self.asked.noises} noise(s) each"
        return f"Expressway({images}, sigma {self.sigma:g}, {look} of {self.asked.chi2:g}, {state})"


def checked_noise(noise: Tensor, shape: tuple[int, ...], source_measure: str) -> Tensor:
    """The noise of starts, (B, *S), without gradient; :meth:`Expressway.start` says what is refused and warned of."""
    if not isinstance(noise, Tensor) or not noise.is_floating_point() or noise.shape[1:] != shape:
        kind = f"{noise.dtype} {tuple(noise.shape)}" if isinstance(noise, Tensor) else f"a {type(noise).__name__}"
        raise ValueError(f"Noise is {kind}; give a tensor of floats (B, {', '.join(map(str, shape))})")
    if not torch.isfinite(noise).all():
        raise ValueError("Noise holds NaN or infinite values")
    if noise.numel() == 0:
        return noise
    low, high = float(noise.min()), float(noise.max())
    if source_measure == "uniform" and not 0 <= low <= high <= 1:
        raise ValueError(f"Noise lies in [{low:.3g}, {high:.3g}]; this map's source is U[0, 1]^d: draw torch.rand")
    if source_measure == "normal" and noise.numel() >= ENOUGH:
        size = float(noise.double().square().mean().sqrt())
        if low >= 0 or not USUAL[0] < size < USUAL[1]:
            what = f"lies in [{low:.3g}, {high:.3g}], root mean square {size:.3g}"
            warn(f"Noise {what}: this map's source is N(0, I), torch.randn without any factor", OddRange)
    return noise.detach()


def told(way: Expressway) -> Expressway:
    """The map itself, after a warning where it did not converge."""
    if not way.converged:
        what = "some images are started from too often, others too seldom; raise max_noises or chi2"
        warn(f"The transport did not converge: {way.solution.reason}: {what}", NotConverged)
    return way


def atoms_of(images: Images, asked: Asked, device: torch.device | str | None) -> NoisyImages:
    """The latents of a caller's images; see :func:`dpmot.images.stored` for what is refused."""
    if device is None:
        device = images.device if isinstance(images, Tensor) else "cpu"
    kept = images if isinstance(images, MappedImages) else stored(images, pixels=asked.pixels)
    return NoisyImages(kept, asked.sigma, asked.atom_seed, noises_per_image=asked.noises, device=device)
