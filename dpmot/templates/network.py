r"""Rectified flow (Liu et al. 2023; Lipman et al. 2023): the network gives the velocity eps - x0.

It sees x_t = (1 - t) x0 + t eps. In sigma units t = sigma / (1 + sigma), x_t = x / (1 + sigma), and
D(x, sigma) = x_t - t F(x_t, t).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from dpmot.diffusion.networks import RawNetwork
from dpmot.diffusion.sigmas import Chain, edm_chain

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Parametrisation:
    """Options: the Karras grid of its chain."""

    num_levels: int = 18
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    of_levels: ClassVar[tuple[str, ...]] = ("num_levels", "sigma_min", "sigma_max")

    @cached_property
    def chain(self) -> Chain:
        """The Karras grid."""
        return edm_chain(num_levels=self.num_levels, sigma_min=self.sigma_min, sigma_max=self.sigma_max)

    def denoise(self, model: RawNetwork, x: "Tensor", sigma: "Tensor") -> "Tensor":
        """x (B, *S), sigma (B,) -> D(x, sigma), (B, *S)."""
        wide = sigma.reshape(-1, *[1] * (x.dim() - 1))
        x_t, t = x / (1 + wide), sigma / (1 + sigma)
        return x_t - wide / (1 + wide) * model(x_t, t)

    def level(self, u: "Tensor") -> "Tensor":
        """The noise level that u in [0, 1) chooses in training, (B,) -> (B,)."""
        t = self._time(u)
        return t / (1 - t)

    def _time(self, u: "Tensor") -> "Tensor":
        first, last = (sigma / (1 + sigma) for sigma in (self.sigma_min, self.sigma_max))
        return first + u * (last - first)

    def loss(self, model: RawNetwork, x0: "Tensor", noise: "Tensor", u: "Tensor") -> "Tensor":
        """|F(x_t, t) - (eps - x0)|^2, t uniform between the ends of the chain.

        Args:
            model: F.
            x0: images (B, *S) in [-1, 1].
            noise: eps, (B, *S).
            u: uniform numbers in [0, 1), (B,), that choose t.

        Returns:
            One loss per sample, (B,).
        """
        t = self._time(u)
        wide = t.reshape(-1, *[1] * (x0.dim() - 1))
        return (model((1 - wide) * x0 + wide * noise, t) - (noise - x0)).square().flatten(1).mean(1)
