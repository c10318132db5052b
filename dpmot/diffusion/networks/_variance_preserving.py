r"""Networks F(x_t, t) on a variance-preserving chain of T levels (Ho et al. 2020): kinds ``ddpm`` and ``dit``.

With x_t = x / sqrt(1 + sigma^2) it predicts the noise eps, v = (eps - sigma x0) / sqrt(1 + sigma^2) (Salimans & Ho
2022), or x0 itself:

    D(x, sigma) = x - sigma F,    (x_t - sigma F) / sqrt(1 + sigma^2),    F.

t(sigma) interpolates log sigma between the levels.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dpmot.diffusion.protocols import RawNetwork, Tensor
from dpmot.diffusion.sigmas import Chain, ddpm_chain, time_of

SCHEDULES = ("linear", "scaled_linear", "sigmoid", "squaredcos_cap_v2")
PREDICTIONS = ("epsilon", "v_prediction", "sample")


@dataclass(frozen=True)
class VariancePreserving:
    """Options: the number of levels T, the ends and the name of the schedule of betas, and what is predicted."""

    num_levels: int = 1000
    beta_min: float = 1e-4
    beta_max: float = 0.02
    schedule: str = "linear"
    prediction: str = "epsilon"

    def __post_init__(self) -> None:
        for option, allowed in (("schedule", SCHEDULES), ("prediction", PREDICTIONS)):
            if (given := getattr(self, option)) not in allowed:
                raise ValueError(f"DDPM's {option} is one of {', '.join(allowed)}; got {given!r}")
        if self.num_levels < 2:
            raise ValueError(f"DDPM needs at least 2 levels, got num_levels {self.num_levels}")
        if not 0 < self.beta_min <= self.beta_max < 1:
            raise ValueError(f"DDPM needs 0 < beta_min <= beta_max < 1, got {self.beta_min} and {self.beta_max}")

    @cached_property
    def chain(self) -> Chain:
        """The T levels of its schedule."""
        return ddpm_chain(
            num_levels=self.num_levels, beta_min=self.beta_min, beta_max=self.beta_max, schedule=self.schedule
        )

    def denoise(self, model: RawNetwork, x: Tensor, sigma: Tensor) -> Tensor:
        """x (B, *S), sigma (B,) -> D(x, sigma), (B, *S)."""
        time = x.new_tensor(time_of(np.asarray(sigma.detach().cpu(), dtype=np.float64), self.chain.levels))
        wide = sigma.reshape(-1, *[1] * (x.dim() - 1))
        scale = (1 + wide**2).sqrt()
        predicted = model(x / scale, time / self.num_levels)
        if self.prediction == "epsilon":
            return x - wide * predicted
        return predicted if self.prediction == "sample" else (x / scale - wide * predicted) / scale

    def level(self, u: Tensor) -> Tensor:
        """The noise level that u in [0, 1) chooses in training, (B,) -> (B,)."""
        return u.new_tensor(self.chain.levels)[(u * self.num_levels).long()]

    def loss(self, model: RawNetwork, x0: Tensor, noise: Tensor, u: Tensor) -> Tensor:
        """The simple loss |F(x_t, t) - eps|^2 (Ho et al. 2020, eq. 14), or of v or x0, t uniform over the levels."""
        time = (u * self.num_levels).floor()
        sigma = self.level(u).reshape(-1, *[1] * (x0.dim() - 1))
        scale = (1 + sigma**2).sqrt()
        target = {"epsilon": noise, "sample": x0, "v_prediction": (noise - sigma * x0) / scale}[self.prediction]
        predicted = model((x0 + sigma * noise) / scale, (time + 1) / self.num_levels)
        return (predicted - target).square().flatten(1).mean(1)
