r"""NCSNv2 (Song & Ermon 2020): the network gives the score times sigma, s(x, sigma) = F(x) / sigma, technique 3.

D(x, sigma) = x + sigma^2 s = x + sigma F(x / sqrt(1 + sigma^2), c), c = 0 (their network sees no sigma), or ln(sigma) /
4 with ``conditional``. The input is scaled, which theirs is not: our U-Net's skips would carry its size. Levels are
geometric; images are in [-1, 1], so that their sigmas, for images in [0, 1], double.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from dpmot.diffusion.protocols import RawNetwork, Tensor
from dpmot.diffusion.sigmas import Chain, check_levels, ncsnv2_chain


@dataclass(frozen=True)
class Parametrisation:
    """Options: the geometric levels; the defaults are those of CIFAR-10 (232 levels from 50 to 0.01 in [0, 1])."""

    num_levels: int = 232
    sigma_min: float = 0.02
    sigma_max: float = 100.0
    conditional: bool = False
    of_levels: ClassVar[tuple[str, ...]] = ("num_levels", "sigma_min", "sigma_max")

    def __post_init__(self) -> None:
        check_levels(self.num_levels, self.sigma_min, self.sigma_max)

    @cached_property
    def chain(self) -> Chain:
        """The geometric levels."""
        return ncsnv2_chain(num_levels=self.num_levels, sigma_min=self.sigma_min, sigma_max=self.sigma_max)

    def denoise(self, model: RawNetwork, x: Tensor, sigma: Tensor) -> Tensor:
        """x (B, *S), sigma (B,) -> D(x, sigma), (B, *S)."""
        wide = sigma.reshape(-1, *[1] * (x.dim() - 1))
        return x + wide * self._raw(model, x, sigma, wide)

    def level(self, u: Tensor) -> Tensor:
        """The noise level that u in [0, 1) chooses in training, (B,) -> (B,)."""
        return u.new_tensor(self.chain.levels)[(u * self.num_levels).long()]

    def loss(self, model: RawNetwork, x0: Tensor, noise: Tensor, u: Tensor) -> Tensor:
        """Denoising score matching |sigma s + eps|^2 (Song & Ermon 2019, eq. 5-6, lambda = sigma^2), levels uniform."""
        sigma = self.level(u)
        wide = sigma.reshape(-1, *[1] * (x0.dim() - 1))
        return (self._raw(model, x0 + wide * noise, sigma, wide) + noise).square().flatten(1).mean(1)

    def _raw(self, model: RawNetwork, x: Tensor, sigma: Tensor, wide: Tensor) -> Tensor:
        return model(x / (1 + wide**2).sqrt(), sigma.log() / 4 if self.conditional else 0 * sigma)
