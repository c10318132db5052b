"""A start that stores no image, for any pretrained denoiser: K Gaussians fitted to images, at a noise level sigma.

    x = m_k + (C_k + sigma^2 I)^(1/2) z,    z ~ N(0, I),    component k in the shares of the images

:func:`mixture` fits them once, without a network; :mod:`dpmot.mixtures` has the formulas. The counterpart of DPM-OT's
map, :func:`dpmot.solving.expressway`, which hands out stored images.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dpmot import seeds as streams
from dpmot.device import ordinary
from dpmot.expressways import checked_noise
from dpmot.images import stored
from dpmot.mixtures.fitting import fit
from dpmot.mixtures.gaussians import Gaussians
from dpmot.runtime import seals
from dpmot.runtime.files import atomic
from dpmot.starts import Points, classes
from dpmot.transport.given import between, real, whole

KIND, FORM = "gaussian mixture", 1  # by which files are sealed, and their form


@dataclass(frozen=True)
class Fitted:
    """What a mixture was fitted to, and how; see :func:`mixture`."""

    shape: tuple[int, ...]
    components: int
    by: str
    rank: int | None
    shrinkage: float | None
    covariance: str
    seed: int
    classes: bool
    images: str


@dataclass(frozen=True, eq=False)
class Mixture:
    """K Gaussians at a noise level: what :func:`mixture` fits. No image is stored, unless a component has a single one.

    Attributes:
        gaussians: weights, means and covariances of low rank plus a scaled identity.
        sigma: the noise level at which starts lie, in the units of the images; ``at`` changes it.
        fitted: to what, and how.
    """

    gaussians: Gaussians
    sigma: float
    fitted: Fitted

    @property
    def shape(self) -> tuple[int, ...]:
        """S, of one image."""
        return self.fitted.shape

    @property
    def nbytes(self) -> int:
        """Bytes of all numbers that are stored."""
        return self.gaussians.nbytes

    def __len__(self) -> int:
        """K, the components."""
        return len(self.gaussians)

    def at(self, sigma: float) -> "Mixture":
        """The same mixture at another noise level: nothing is fitted again.

        Raises:
            ValueError: sigma is no number above 0.
        """
        if not between(sigma, 0, math.inf):
            raise ValueError(f"sigma = {sigma}; give a noise level above 0, in the units of the images")
        return replace(self, sigma=float(sigma))

    @ordinary(grad=False)
    def points(self, noise: Tensor, *, seeds: int | Sequence[int] = 0, labels: Tensor | None = None) -> Points:
        """Start and labels; see :meth:`start`.

        Returns:
            ``x`` (B, *S), ``source`` None: no image is behind a start; ``labels`` int64 (B,) as given, else drawn in
            the shares of the images, or None where these had none.
        """
        noise = checked_noise(noise, self.shape, "normal")
        rows = streams.sample_seeds(seeds, len(noise)) if isinstance(seeds, int) else list(seeds)
        if len(rows) != len(noise):
            raise ValueError(f"{len(rows)} seeds for {len(noise)} noises; give one for each, or the number of the run")
        known = classes(rows, self.gaussians.labels) if self.fitted.classes else None
        if labels is not None:
            if known is None:
                raise ValueError("Labels were given, but the mixture was fitted without: mixture(..., labels=...)")
            given = real(labels, "Labels")
            if given.is_floating_point() or given.shape not in ((), (len(noise),)):
                kind = f"{given.dtype} {tuple(given.shape)}"
                raise ValueError(f"Labels are {kind}; give {len(noise)} whole numbers, or one")
            known = given.to("cpu", torch.int64).expand(len(noise))
        component = self.gaussians.choose(rows, known)
        x = self.gaussians.points(noise.cpu().flatten(1), component, self.sigma).reshape(noise.shape)
        return Points(x.to(noise), None, labels=None if known is None else known.to(noise.device))

    def start(self, noise: Tensor, *, seeds: int | Sequence[int] = 0, labels: Tensor | None = None) -> Tensor:
        """x at noise level sigma, (B, *S): where a sampler begins. Dtype and device are those of noise.

        Args:
            noise: (B, *S), floats of N(0, I), not scaled by any sigma.
            seeds: the number of the run, or one seed for each sample: they choose the components.
            labels: the class of each start, int64 (B,), for a mixture that was fitted with labels.

        Raises:
            ValueError: noise of another shape or type, or NaN; labels that no fitted image had.

        Warns:
            OddRange: noise that is hardly of N(0, I), such as one that was scaled to the prior.
        """
        return self.points(noise, seeds=seeds, labels=labels).x

    @ordinary(grad=False)
    def log_likelihood(self, images: Tensor | np.ndarray, *, pixels: bool = True) -> float:
        """Mean log density in nats a dimension of images under noise of level sigma, of a stream of its own.

        Of images that were not fitted it tells how well K Gaussians describe them; of fitted ones it is higher, the
        more so the nearer K comes to N.
        """
        kept = stored(images, pixels=pixels)
        x = (kept / 127.5 - 1 if kept.dtype == torch.uint8 else kept).flatten(1)
        if x.shape[1] != self.gaussians.dim:
            raise ValueError(f"Images are {tuple(kept.shape[1:])}; the mixture was fitted to {self.shape}")
        eps = streams.normal(range(len(x)), (self.gaussians.dim,), "judge")
        return self.gaussians.log_likelihood(x, eps, [self.sigma])[0]

    def save(self, path: Path | str) -> None:
        """Write the mixture as one sealed safetensors file, of at most the bytes of the images.

        Raises:
            OSError: the file cannot be written.
        """
        facts = {"form": FORM, "sigma": self.sigma, **asdict(self.fitted)}
        with atomic(Path(path)) as temporary:
            seals.save(temporary, self.gaussians.tensors, {KIND: json.dumps(facts)}, name=KIND)

    @classmethod
    @ordinary()
    def load(cls, path: Path | str) -> "Mixture":
        """Read what :meth:`save` wrote: the same mixture, to the bit. No images are needed.

        Raises:
            FileNotFoundError: no such file.
            Damaged: the file is not whole.
            ValueError: it holds something else.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"No file {path}: save a mixture there, or correct the path")
        tensors, texts = seals.load(Path(path))
        if KIND not in texts:
            raise ValueError(f"{path} holds no Gaussian mixture; give a file that Mixture.save wrote")
        facts = json.loads(texts[KIND])
        if facts.pop("form") != FORM:
            raise ValueError(f"{path} was written by another version of dpmot: fit again")
        sigma, shape = facts.pop("sigma"), tuple(facts.pop("shape"))
        return cls(Gaussians.of(tensors), sigma, Fitted(shape=shape, **facts))

    def __repr__(self) -> str:
        size = f"{self.nbytes / 1e6:.3g} MB" if self.nbytes > 1e6 else f"{self.nbytes / 1e3:.3g} kB"
        return f"Mixture({len(self)} Gaussians of images {self.shape}, sigma {self.sigma:g}, {size})"


@ordinary(grad=False)
def mixture(
    images: Tensor | np.ndarray,
    sigma: float,
    *,
    components: int = 10,
    by: str = "kmeans",
    labels: Tensor | np.ndarray | None = None,
    rank: int | None = None,
    shrinkage: float | None = None,
    covariance: str = "own",
    seed: int = 0,
    path: Path | str | None = None,
    pixels: bool = True,
) -> Mixture:
    """Fit K Gaussians to your images, for starts of any pretrained denoiser that are no stored image.

    One Gaussian (K = 1) knows mean and covariance of the images; as many as images (K = N) are the images themselves
    under noise. No network is needed here; one mixture serves all, at every level (``Mixture.at``).

    Args:
        images: uint8 (n, C, H, W), or floats in [-1, 1]; also points (n, d).
        sigma: noise level of the starts, in the units of the images; above 0.
        components: K; with by "labels" of each class.
        by: "kmeans", or "labels", k-means among the images of each class.
        labels: class of each image, integers (n,). A start then has a class, in the shares of your images.
        rank: of each covariance; below it all directions are equal. None: as large as fits into the images' bytes.
        shrinkage: of each covariance towards a scaled identity, 0 to 1; None: as Ledoit & Wolf (2004) estimate it.
        covariance: "own" of each component, or one "shared" by all.
        seed: of k-means.
        path: a file to which the mixture is saved, and from which it is read where it was fitted before.
        pixels: False for latents of a VAE and other numbers that lie in no range and have any shape.

    Returns:
        The mixture; ``dpmot.sample(denoiser, mixture, ...)`` draws samples from it.

    Raises:
        ValueError: images, labels or a number that make no mixture, or a ``path`` that holds one of something else; one
            line says what was given and what is allowed.

    Warns:
        OddRange: pixels outside [-1, 1], or all in [0, 1].
    """
    if not between(sigma, 0, math.inf):
        raise ValueError(f"sigma = {sigma}; give a noise level above 0, in the units of the images")
    kept, given = stored(images, pixels=pixels), None
    if labels is not None:
        given = real(labels, "Labels")
        if given.is_floating_point() or given.shape != (len(kept),) or int(given.min()) < 0:
            kind = f"{given.dtype} {tuple(given.shape)}"
            raise ValueError(f"Labels are {kind}; give whole numbers from 0, one for each of the {len(kept)} images")
        given = given.to("cpu", torch.int64)
    content = hashlib.sha256(kept.numpy().tobytes() + (b"" if given is None else given.numpy().tobytes())).hexdigest()
    options = {"components": components, "by": by, "rank": rank, "shrinkage": shrinkage, "covariance": covariance}
    known = {"seed": whole(seed, "seed", 0), "classes": given is not None, "images": content}
    asked = Fitted(shape=tuple(kept.shape[1:]), **options, **known)  # type: ignore[arg-type]  # fit checks them
    if path is not None and Path(path).exists():
        found = Mixture.load(path)
        _check_same(path, found.fitted, asked)
        return found.at(sigma)
    fitted = fit(kept, given, **options, seed=asked.seed)  # type: ignore[arg-type]
    made = Mixture(fitted, float(sigma), asked)
    if path is not None:
        made.save(path)
    return made


def _check_same(path: Path | str, found: Fitted, asked: Fitted) -> None:
    """Refuse a mixture that was fitted to something else, or otherwise, than is asked for."""
    pairs = [(field.name, getattr(found, field.name), getattr(asked, field.name)) for field in fields(Fitted)]
    other = [f"{name} {before}, not {now}" for name, before, now in pairs if before != now and name != "images"]
    other += ["other images or labels"] if found.images != asked.images else []
    if other:
        do = "delete it, give another path, or read it by Mixture.load"
        raise ValueError(f"{path} holds a mixture of {'; '.join(other)}: {do}")
