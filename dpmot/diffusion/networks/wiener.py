"""The Wiener filter of the data set itself: nothing to train, the network is the mean and covariance of one split.

It is the ideal denoiser of a Gaussian with these (:class:`dpmot.diffusion.analytic.WienerDenoiser`): what any denoiser
is at high noise, and all that a linear one can be. Its levels are EDM's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from dpmot.diffusion.networks._of_data import SPLITS
from dpmot.diffusion.protocols import RawNetwork, Tensor
from dpmot.diffusion.sigmas import Chain, check_levels, edm_chain


@dataclass(frozen=True)
class Parametrisation:
    """Options: the split whose images it is of, and the Karras grid of its chain."""

    split: str = "A"
    num_levels: int = 18
    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise ValueError(f"The Wiener filter is of split {', '.join(SPLITS)}; got {self.split!r}")
        check_levels(self.num_levels, self.sigma_min, self.sigma_max)

    @cached_property
    def chain(self) -> Chain:
        """The Karras grid of EDM's preset."""
        return edm_chain(num_levels=self.num_levels, sigma_min=self.sigma_min, sigma_max=self.sigma_max)

    def model(self, tensors: Mapping[str, Tensor]) -> RawNetwork:
        """The raw network of the tensor "points": images uint8 (N, C, H, W), or points float (N, *S)."""
        from dpmot.diffusion.analytic import WienerDenoiser
        from dpmot.images import to_float

        points = tensors["points"]
        return WienerDenoiser(points if points.is_floating_point() else to_float(points))

    def denoise(self, model: RawNetwork, x: Tensor, sigma: Tensor) -> Tensor:
        """x (B, *S), sigma (B,) -> (B, *S); ``model`` is a :class:`dpmot.diffusion.analytic.WienerDenoiser`."""
        return model(x, sigma)


def example() -> tuple[dict[str, Tensor], Tensor]:
    """Forty images 1 x 8 x 8, of which six are clean inputs."""
    import torch

    points = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return {"points": points}, points[:6].clone()
