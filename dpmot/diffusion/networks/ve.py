r"""The variance-exploding SDE (Song et al. 2021, NCSN++): the network gives the score of images in [0, 1].

With u = (x + 1) / 2, whose noise has deviation s = sigma / 2, it is F(u, s) = grad log p(u), as ``ScoreSdeVePipeline``
and ``KarrasVePipeline`` of diffusers call it, and

    D(x, sigma) = 2 (u + s^2 F(u, s)) - 1 = x + sigma^2 F(u, s) / 2.

Levels are geometric; images are in [-1, 1], so that their sigmas, of images in [0, 1], double. Only loaded.
"""

from dataclasses import dataclass
from functools import cached_property

from dpmot.diffusion.protocols import RawNetwork, Tensor
from dpmot.diffusion.sigmas import Chain, check_levels, ncsnv2_chain


@dataclass(frozen=True)
class Parametrisation:
    """Options: the geometric levels (diffusers' defaults: 2000 from 1348 to 0.01 in [0, 1])."""

    num_levels: int = 2000
    sigma_min: float = 0.02
    sigma_max: float = 2696.0

    def __post_init__(self) -> None:
        check_levels(self.num_levels, self.sigma_min, self.sigma_max)

    @cached_property
    def chain(self) -> Chain:
        """The geometric levels."""
        return ncsnv2_chain(num_levels=self.num_levels, sigma_min=self.sigma_min, sigma_max=self.sigma_max)

    def denoise(self, model: RawNetwork, x: Tensor, sigma: Tensor) -> Tensor:
        """x (B, *S), sigma (B,) -> D(x, sigma), (B, *S)."""
        wide = sigma.reshape(-1, *[1] * (x.dim() - 1))
        return x + wide**2 / 2 * model((x + 1) / 2, sigma / 2)
