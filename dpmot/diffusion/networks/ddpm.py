r"""DDPM (Ho et al. 2020): the network predicts the noise, F(x_t, t) ~ eps, on a linear-beta chain of T levels.

D(x, sigma) = x - sigma F(x / sqrt(1 + sigma^2), t(sigma)); t(sigma) interpolates log sigma between the levels.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dpmot.diffusion.protocols import RawNetwork, Tensor
from dpmot.diffusion.sigmas import Chain, ddpm_chain, time_of


@dataclass(frozen=True)
class Parametrisation:
    """Options: the number of levels T and the ends of the linear beta schedule."""

    num_levels: int = 1000
    beta_min: float = 1e-4
    beta_max: float = 0.02

    def __post_init__(self) -> None:
        if self.num_levels < 2:
            raise ValueError(f"DDPM needs at least 2 levels, got num_levels {self.num_levels}")
        if not 0 < self.beta_min <= self.beta_max < 1:
            raise ValueError(f"DDPM needs 0 < beta_min <= beta_max < 1, got {self.beta_min} and {self.beta_max}")

    @cached_property
    def chain(self) -> Chain:
        """The T levels of the linear-beta chain."""
        return ddpm_chain(num_levels=self.num_levels, beta_min=self.beta_min, beta_max=self.beta_max)

    def denoise(self, model: RawNetwork, x: Tensor, sigma: Tensor) -> Tensor:
        """x (B, *S), sigma (B,) -> D(x, sigma), (B, *S)."""
        time = x.new_tensor(time_of(np.asarray(sigma.detach().cpu(), dtype=np.float64), self.chain.levels))
        wide = sigma.reshape(-1, *[1] * (x.dim() - 1))
        return x - wide * model(x / (1 + wide**2).sqrt(), time / self.num_levels)

    def level(self, u: Tensor) -> Tensor:
        """The noise level that u in [0, 1) chooses in training, (B,) -> (B,)."""
        return u.new_tensor(self.chain.levels)[(u * self.num_levels).long()]

    def loss(self, model: RawNetwork, x0: Tensor, noise: Tensor, u: Tensor) -> Tensor:
        """The simple loss |F(x_t, t) - eps|^2 (Ho et al. 2020, eq. 14), t uniform over the levels."""
        time = (u * self.num_levels).floor()
        sigma = self.level(u).reshape(-1, *[1] * (x0.dim() - 1))
        predicted = model((x0 + sigma * noise) / (1 + sigma**2).sqrt(), (time + 1) / self.num_levels)
        return (predicted - noise).square().flatten(1).mean(1)
