r"""Every network is seen as a denoiser D(x, sigma) = E[x0 | x0 + sigma eps = x].

Two denoisers are known in closed form and serve as truth: a finite data set's posterior mean is a softmax over
its points, and a Gaussian mixture's is a responsibility-weighted average (Vincent 2011; Karras et al. 2022, app. B.3).
"""

from typing import Protocol

import torch
from torch import Tensor

from dpmot.tiles import TILE, in_tiles


class Denoiser(Protocol):
    """D(x, sigma): x (B, *S), sigma () or (B,) -> E[x0 | x], (B, *S), for sigma_min <= sigma <= sigma_max."""

    sigma_min: float
    sigma_max: float

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor: ...


def per_sample(sigma: Tensor | float, x: Tensor) -> Tensor:
    """sigma () or (B,) as a vector (B,) in x's dtype and device."""
    return torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(len(x))


class NonFiniteOutput(ArithmeticError):
    """A network returned NaN or infinity; the message names the level ``sigma``.

    ``batch`` holds the rows that it did so for: "row" (b,), "x" (b, *S), "sigma" (b,), "output" (b, *S).
    """

    def __init__(self, sigma: float, batch: dict[str, Tensor] | None = None) -> None:
        super().__init__(f"The network returned NaN or infinity at sigma {sigma:.4g}")
        self.sigma, self.batch = sigma, batch or {}


class TiledDenoiser:
    """Evaluates a denoiser in fixed tiles (:mod:`dpmot.tiles`) and in the network's dtype.

    Args:
        labels: (B,) of every batch it will be given, for a denoiser that takes them.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        *,
        dtype: torch.dtype = torch.float32,
        tile: int = TILE,
        labels: Tensor | None = None,
    ) -> None:
        self.denoiser, self.dtype, self.tile = denoiser, dtype, tile
        self.labels = () if labels is None else (labels,)
        self.sigma_min, self.sigma_max = denoiser.sigma_min, denoiser.sigma_max

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """D(x, sigma) in x's dtype, (B, *S).

        Raises:
            NonFiniteOutput: the network returned NaN or infinity.
        """
        levels = per_sample(sigma, x).to(self.dtype)
        output = in_tiles(self.denoiser, x.to(self.dtype), levels, *self.labels, tile=self.tile)
        if not torch.isfinite(output.sum()):  # NaN and infinity reach the sum; a quarter of the time of asking each
            row = (~torch.isfinite(output)).flatten(1).any(1).nonzero()[:, 0]
            if len(row):  # and not merely a sum beyond the largest number
                batch = {"row": row, "x": x[row], "sigma": levels[row], "output": output[row]}
                raise NonFiniteOutput(float(levels[0]), batch)
        return output.to(x.dtype)


class CountingDenoiser:
    """Counts network evaluations per sample: each call evaluates every row once. ``nfe`` is the count so far."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser, self.nfe = denoiser, 0
        self.sigma_min, self.sigma_max = denoiser.sigma_min, denoiser.sigma_max

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """D(x, sigma), (B, *S); adds one to ``nfe``."""
        self.nfe += 1
        return self.denoiser(x, sigma)


class IdealDenoiser:
    """Posterior mean of a finite data set: D(x, sigma) = sum_i softmax_i(-|x - y_i|^2 / 2 sigma^2) y_i.

    Args:
        points: the data y_i, (N, *S).
    """

    def __init__(self, points: Tensor, *, sigma_min: float = 0.002, sigma_max: float = 80.0) -> None:
        self.points, self.sigma_min, self.sigma_max = points, sigma_min, sigma_max

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """x (B, *S), sigma () or (B,) -> (B, *S)."""
        y = self.points.to(x).flatten(1)
        squared = torch.cdist(x.flatten(1), y, compute_mode="donot_use_mm_for_euclid_dist").square()
        weights = torch.softmax(-squared / (2 * per_sample(sigma, x).square()[:, None]), dim=1)
        return (weights @ y).reshape(x.shape)


class MixtureDenoiser:
    """Posterior mean of an isotropic Gaussian mixture sum_k N(mu_k, s^2 I) / K.

    D(x, sigma) = sum_k r_k(x) (s^2 x + sigma^2 mu_k) / (s^2 + sigma^2), with r_k the posterior of component k.

    Args:
        means: mu_k, (K, d).
        std: s, one for all components.
    """

    def __init__(self, means: Tensor, std: float, *, sigma_min: float = 0.002, sigma_max: float = 80.0) -> None:
        self.means, self.std, self.sigma_min, self.sigma_max = means, std, sigma_min, sigma_max

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """x (B, d), sigma () or (B,) -> (B, d)."""
        means, variance = self.means.to(x), per_sample(sigma, x).square()[:, None]
        total = self.std**2 + variance
        squared = (x[:, None, :] - means).square().sum(-1)
        mean = torch.softmax(-squared / (2 * total), dim=1) @ means
        return (self.std**2 * x + variance * mean) / total
