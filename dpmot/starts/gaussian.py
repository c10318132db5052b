r"""The Gaussian start: the prior mapped in closed form onto N(m, C + sigma^2 I), with no image stored.

m and C are the images' mean and covariance; x = m + (C + sigma^2 I)^(1/2) z is the OT map between the two Gaussians
('analytical teleportation', Wang & Vastola 2024, arXiv:2412.09726). Fewer images than pixels span a space of rank r
with C = V L V^T, and the map is x = m + sigma z + V ((L + sigma^2 I)^(1/2) - sigma I) V^T z, with no d x d matrix.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from dpmot.starts import Points, Setting
from dpmot.tiles import in_tiles

LOOKS_AT_NOISE = True
HAS_LEVEL = True
STORES_IMAGES = False
NEEDS_HEIGHTS = False
OPTIONS = ()


class Start:
    """Gaussian of the data at noise level sigma; see :mod:`dpmot.starts`."""

    nfe = 0

    def __init__(self, setting: Setting) -> None:
        self.sigma, self.shape, self.noise = setting.sigma, setting.images.shape[1:], setting.noise
        flat = setting.atoms.clean(range(len(setting.images))).flatten(1).double()
        self.mean = flat.mean(0)
        values, self.vectors = spectrum(flat - self.mean)
        self.stretch = (values + self.sigma**2).sqrt() - self.sigma

    def __call__(self, seeds: Sequence[int]) -> Points:
        z = self.noise(seeds, self.shape).flatten(1)
        moved = in_tiles(lambda rows: (rows @ self.vectors * self.stretch) @ self.vectors.T, z.double())
        x = self.mean + self.sigma * z.double() + moved
        return Points(x.to(z.dtype).reshape(len(z), *self.shape), None)


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
