r"""The Gaussian start: the prior mapped in closed form onto N(m, C + sigma^2 I), with no image stored.

m and C are the images' mean and covariance; x = m + (C + sigma^2 I)^(1/2) z is the OT map between the two Gaussians
('analytical teleportation', Wang & Vastola 2024, arXiv:2412.09726). Fewer images than pixels span a space of rank r
with C = V L V^T, and the map is x = m + sigma z + V ((L + sigma^2 I)^(1/2) - sigma I) V^T z, with no d x d matrix.
For a network with classes, each class of the images has its own m and C, and is drawn in its share of them. A class of
fewer than FEW images has its own m and the covariance within classes, pooled over all images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dpmot.device import ordinary
from dpmot.starts import Points, Setting, classes
from dpmot.tiles import in_tiles

LOOKS_AT_NOISE = True
HAS_LEVEL = True
STORES_IMAGES = False
NEEDS_HEIGHTS = False
OPTIONS = ()
FEW = 10  # images of a class with too few for a covariance of its own


@dataclass(frozen=True, eq=False)
class Gaussian:
    """The map z -> m + sigma z + V stretch V^T z, float64: m (d,), V (d, r), stretch (r,)."""

    mean: Tensor
    sigma: float
    vectors: Tensor
    stretch: Tensor

    def __call__(self, z: Tensor) -> Tensor:
        """Draws of N(0, I), (B, d) -> draws of N(m, C + sigma^2 I), in the type of z."""
        moved = in_tiles(lambda rows: (rows @ self.vectors * self.stretch) @ self.vectors.T, z.double())
        return (self.mean + self.sigma * z.double() + moved).to(z.dtype)


class Start:
    """Gaussian of the data at noise level sigma, or of each class; see :mod:`dpmot.starts`."""

    nfe = 0

    @ordinary()
    def __init__(self, setting: Setting) -> None:
        self.sigma, self.shape, self.noise = setting.sigma, setting.images.shape[1:], setting.noise
        flat = setting.atoms.clean(range(len(setting.images))).flatten(1).double()
        self.labels = None if setting.labels is None else setting.labels[: len(flat)]
        parts = {0: flat} if self.labels is None else {c: flat[self.labels == c] for c in self.labels.unique().tolist()}
        means = {c: part.mean(0) for c, part in parts.items()}
        own = {c: part - means[c] for c, part in parts.items()}
        few = [c for c, part in parts.items() if len(part) < FEW and len(parts) > 1]
        pooled = spectrum(torch.cat(list(own.values()))) if few else None
        self.gaussians = {c: self._of(means[c], pooled if pooled and c in few else spectrum(own[c])) for c in parts}

    def _of(self, mean: Tensor, spectrum: tuple[Tensor, Tensor]) -> Gaussian:
        values, vectors = spectrum
        return Gaussian(mean, self.sigma, vectors, (values + self.sigma**2).sqrt() - self.sigma)

    @ordinary()
    def __call__(self, seeds: Sequence[int]) -> Points:
        z, labels = self.noise(seeds, self.shape).flatten(1), classes(seeds, self.labels)
        x = torch.empty_like(z)
        for c, gaussian in self.gaussians.items():
            rows = torch.arange(len(z)) if labels is None else (labels == c).nonzero()[:, 0]
            if len(rows):
                x[rows] = gaussian(z[rows])
        return Points(x.reshape(len(z), *self.shape), None, labels=labels)


def spectrum(centred: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (r,) above rounding and eigenvectors (d, r) of the covariance of centred rows (N, d).

    The smaller of the two matrices X^T X and X X^T is decomposed; they share their eigenvalues.
    """
    number, dim = centred.shape
    tall = number >= dim
    values, vectors = torch.linalg.eigh((centred.T @ centred if tall else centred @ centred.T) / number)
    above = values > values.max().clamp(min=0) * max(number, dim) * torch.finfo(values.dtype).eps
    values, vectors = values[above], vectors[:, above]
    return values, vectors if tall else centred.T @ vectors / (number * values).sqrt()
