r"""The distribution of noise levels in training: a kind's own, or uniform in t = sigma / (1 + sigma).

A kind turns a uniform u into a level by its ``level(u)``, which grows with u, and its loss takes u. So for another law
of sigma u is replaced by the u' with level(u') = sigma, found by bisection; loss, weights and discrete levels stay
those of the kind.
"""

from dataclasses import dataclass
from typing import cast

import torch

from dpmot.device import ordinary
from dpmot.diffusion.networks import Parametrisation, Trainable
from dpmot.diffusion.protocols import Tensor

HALVINGS = 40
NEAR = 1.05  # ratio of the last level that is reached to sigma_max that is near enough


@dataclass(frozen=True)
class UniformInTime:
    """u -> u' whose level is uniform in t = sigma / (1 + sigma) between the ends of the chain.

    Raises:
        ValueError: the kind's own distribution does not reach these ends.
    """

    parametrisation: Parametrisation

    def __post_init__(self) -> None:
        chain, ends = self.parametrisation.chain, torch.tensor([0.0, 1 - 2.0**-24])
        low, high = self._level(ends.double()).tolist()
        if high * NEAR < chain.sigma_max or low > chain.sigma_min * NEAR:
            told = f"its own distribution of levels reaches from {low:.4g} to {high:.4g}"
            told += f", its chain from {chain.sigma_min:.4g} to {chain.sigma_max:.4g}"
            raise ValueError(f"level: uniform_t: {told}; give options that reach farther, e.g. a larger `std` of edm")

    @ordinary()
    def __call__(self, u: Tensor) -> Tensor:
        """u in [0, 1), (B,) -> u' in [0, 1), (B,)."""
        chain = self.parametrisation.chain
        first, last = (sigma / (1 + sigma) for sigma in (chain.sigma_min, chain.sigma_max))
        time = first + u.double() * (last - first)
        sigma = time / (1 - time)
        low, high = torch.zeros_like(sigma), torch.full_like(sigma, 1 - 2.0**-24)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            below = self._level(middle) < sigma
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return high.to(u.dtype).clamp(max=1 - 2.0**-24)

    def _level(self, u: Tensor) -> Tensor:
        return cast(Trainable, self.parametrisation).level(u)
