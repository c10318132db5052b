r"""The Gaussian start: the prior mapped in closed form onto N(m, C + sigma^2 I), with no image stored.

m and C are the images' mean and covariance; x = m + (C + sigma^2 I)^(1/2) z is the OT map between the two Gaussians
('analytical teleportation', Wang & Vastola 2024, arXiv:2412.09726).
"""

from collections.abc import Sequence

import torch

from dpmot.starts import Points, Setting
from dpmot.tiles import in_tiles


class Start:
    """Gaussian of the data at noise level sigma; see :mod:`dpmot.starts`."""

    nfe = 0

    def __init__(self, setting: Setting) -> None:
        self.sigma, self.shape, self.noise = setting.sigma, setting.images.shape[1:], setting.noise
        flat = setting.images.flatten(1).double()
        self.mean = flat.mean(0)
        values, vectors = torch.linalg.eigh(torch.cov(flat.T, correction=0))
        self.root = vectors * (values.clamp(min=0) + setting.sigma**2).sqrt() @ vectors.T

    def __call__(self, seeds: Sequence[int]) -> Points:
        """One point per seed."""
        z = self.noise(seeds, self.shape).flatten(1)
        x = self.mean + in_tiles(lambda rows: rows @ self.root, z.double())
        return Points(x.to(z.dtype).reshape(len(z), *self.shape), None)
