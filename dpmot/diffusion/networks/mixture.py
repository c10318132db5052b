"""The exact denoiser of a Gaussian mixture: nothing to train, its parameters are the data set's own."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from dpmot.diffusion.protocols import RawNetwork, Tensor
from dpmot.diffusion.sigmas import Chain, check_levels, edm_chain

SHAPE = (2,)


@dataclass(frozen=True)
class Parametrisation:
    """Options: the Karras grid of its chain."""

    num_levels: int = 18
    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        check_levels(self.num_levels, self.sigma_min, self.sigma_max)

    @cached_property
    def chain(self) -> Chain:
        """The Karras grid of EDM's preset."""
        return edm_chain(num_levels=self.num_levels, sigma_min=self.sigma_min, sigma_max=self.sigma_max)

    def model(self, tensors: Mapping[str, Tensor]) -> RawNetwork:
        """The raw network of the data set's own parameters: tensors "means" (K, d) and "std" ()."""
        from dpmot.diffusion.denoiser import MixtureDenoiser

        return MixtureDenoiser(tensors["means"], float(tensors["std"]))

    def denoise(self, model: RawNetwork, x: Tensor, sigma: Tensor) -> Tensor:
        """x (B, d), sigma (B,) -> (B, d); ``model`` is a :class:`dpmot.diffusion.denoiser.MixtureDenoiser`."""
        return model(x, sigma)


def example() -> tuple[dict[str, Tensor], Tensor]:
    """A mixture of two components, and points (6, 2) between them."""
    import torch

    means = torch.tensor([[0.5, 0.5], [-0.5, 0.0]])
    return {"means": means, "std": torch.tensor(0.1)}, torch.linspace(-0.5, 0.5, 12).reshape(6, 2)
