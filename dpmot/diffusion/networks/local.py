"""The local denoiser of the data set itself: nothing to train, the network is the patches of one split's images.

Each pixel is the posterior mean given the patch around it (:class:`dpmot.diffusion.analytic.LocalDenoiser`): it
remembers patches and no images, as networks of small fields of view do. Its levels are EDM's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from dpmot.diffusion.networks._of_data import SPLITS
from dpmot.diffusion.protocols import RawNetwork, Tensor
from dpmot.diffusion.sigmas import Chain, check_levels, edm_chain


@dataclass(frozen=True)
class Parametrisation:
    """Options: the split, the side of a patch (odd), and the Karras grid of its chain."""

    split: str = "A"
    patch_size: int = 5
    num_levels: int = 18
    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise ValueError(f"The local denoiser is of split {', '.join(SPLITS)}; got {self.split!r}")
        if self.patch_size < 1 or self.patch_size % 2 == 0:
            raise ValueError(f"The local denoiser's patch_size must be odd and at least 1, got {self.patch_size}")
        check_levels(self.num_levels, self.sigma_min, self.sigma_max)

    @cached_property
    def chain(self) -> Chain:
        """The Karras grid of EDM's preset."""
        return edm_chain(num_levels=self.num_levels, sigma_min=self.sigma_min, sigma_max=self.sigma_max)

    def model(self, tensors: Mapping[str, Tensor]) -> RawNetwork:
        """The raw network of the tensor "points": images (N, C, H, W), uint8 or float."""
        from dpmot.diffusion.analytic import LocalDenoiser
        from dpmot.images import to_float

        points = tensors["points"]
        return LocalDenoiser(points if points.is_floating_point() else to_float(points), self.patch_size)

    def denoise(self, model: RawNetwork, x: Tensor, sigma: Tensor) -> Tensor:
        """x (B, C, H, W), sigma (B,) -> the same; ``model`` is a :class:`dpmot.diffusion.analytic.LocalDenoiser`."""
        return model(x, sigma)


def example() -> tuple[dict[str, Tensor], Tensor]:
    """Forty images 1 x 8 x 8, of which six are clean inputs."""
    import torch

    points = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return {"points": points}, points[:6].clone()
