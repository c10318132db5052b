r"""The ideal denoiser of the data set itself: nothing to train, the network *is* the images of one split.

D(x, sigma) is their posterior mean (:class:`dpmot.diffusion.denoiser.IdealDenoiser`): with split A, the training
images, what a network that fits finite data perfectly does (it memorises); with split C what a network does that knows
the held-out images by heart. Its levels are NCSNv2's, those of CIFAR-10 by default, doubled for images in [-1, 1].
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from dpmot.diffusion.networks._of_data import SPLITS
from dpmot.diffusion.protocols import RawNetwork, Tensor
from dpmot.diffusion.sigmas import Chain, check_levels, ncsnv2_chain

SHAPE = (2,)


@dataclass(frozen=True)
class Parametrisation:
    """Options: the split whose images it is, and the geometric levels (232 from 50 to 0.01 in [0, 1])."""

    split: str = "A"
    num_levels: int = 232
    sigma_min: float = 0.02
    sigma_max: float = 100.0

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise ValueError(f"The ideal denoiser is of split {', '.join(SPLITS)}; got {self.split!r}")
        check_levels(self.num_levels, self.sigma_min, self.sigma_max)

    @cached_property
    def chain(self) -> Chain:
        """The geometric levels."""
        return ncsnv2_chain(num_levels=self.num_levels, sigma_min=self.sigma_min, sigma_max=self.sigma_max)

    def model(self, tensors: Mapping[str, Tensor]) -> RawNetwork:
        """The raw network of the tensor "points": images uint8 (N, C, H, W), or points float (N, d)."""
        from dpmot.diffusion.denoiser import IdealDenoiser
        from dpmot.images import to_float

        points = tensors["points"]
        return IdealDenoiser(points if points.is_floating_point() else to_float(points))

    def denoise(self, model: RawNetwork, x: Tensor, sigma: Tensor) -> Tensor:
        """x (B, *S), sigma (B,) -> (B, *S); ``model`` is a :class:`dpmot.diffusion.denoiser.IdealDenoiser`."""
        return model(x, sigma)


def example() -> tuple[dict[str, Tensor], Tensor]:
    """Six points of the plane, which are their own clean inputs."""
    import torch

    points = torch.tensor([[0.0, 0.0], [1.0, 0.2], [-0.5, 0.9], [0.3, -1.1], [-1.2, -0.4], [0.8, 1.5]])
    return {"points": points}, points
