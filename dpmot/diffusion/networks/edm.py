r"""EDM (Karras et al. 2022): D(x, sigma) = c_skip x + c_out F(c_in x, ln(sigma) / 4), table 1, eq. 7.

c_skip = s^2 / (sigma^2 + s^2), c_out = sigma s / sqrt(sigma^2 + s^2), c_in = 1 / sqrt(sigma^2 + s^2), s = sigma_data.
Where the prediction is v (diffusers' name for it), c_out is -c_out.
A consistency model (Song et al. 2023, app. C) has sigma - b for sigma in c_skip and in the numerator of c_out, so that
D(x, b) = x at its ``boundary`` b.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from dpmot.diffusion.protocols import RawNetwork, Tensor
from dpmot.diffusion.sigmas import Chain, check_levels, edm_chain


@dataclass(frozen=True)
class Parametrisation:
    """Options: the preset Karras grid, sigma_data, the normal law of ln sigma in training, the boundary of a
    consistency model (0: a denoiser), and the sign of F, "epsilon" or "v_prediction"."""

    num_levels: int = 18
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    sigma_data: float = 0.5
    mean: float = -1.2
    std: float = 1.2
    boundary: float = 0.0
    prediction: str = "epsilon"
    of_levels: ClassVar[tuple[str, ...]] = ("num_levels", "sigma_min", "sigma_max", "mean", "std")

    def __post_init__(self) -> None:
        check_levels(self.num_levels, self.sigma_min, self.sigma_max)
        if not (self.sigma_data > 0 and self.std > 0 and 0 <= self.boundary <= self.sigma_min):
            raise ValueError(
                f"EDM needs sigma_data > 0, std > 0 and 0 <= boundary <= sigma_min, got sigma_data {self.sigma_data}, "
                f"std {self.std}, boundary {self.boundary}"
            )
        if self.prediction not in ("epsilon", "v_prediction"):
            raise ValueError(f"EDM's prediction is epsilon or v_prediction, got {self.prediction!r}")

    @cached_property
    def chain(self) -> Chain:
        """The preset Karras grid."""
        return edm_chain(
            num_levels=self.num_levels, sigma_min=self.sigma_min, sigma_max=self.sigma_max, data_std=self.sigma_data
        )

    def denoise(self, model: RawNetwork, x: Tensor, sigma: Tensor) -> Tensor:
        """x (B, *S), sigma (B,) -> D(x, sigma), (B, *S)."""
        wide = sigma.reshape(-1, *[1] * (x.dim() - 1))
        total = wide**2 + self.sigma_data**2
        raw = model(x / total.sqrt(), sigma.log() / 4)
        above = wide - self.boundary
        skip = self.sigma_data**2 / (above**2 + self.sigma_data**2)
        sign = 1 if self.prediction == "epsilon" else -1
        return skip * x + sign * above * self.sigma_data / total.sqrt() * raw

    def level(self, u: Tensor) -> Tensor:
        """The noise level that u in [0, 1) chooses in training, (B,) -> (B,)."""
        quantile = 2**0.5 * (2 * u.clamp(1e-6, 1 - 1e-6) - 1).erfinv()
        return (self.mean + self.std * quantile).exp()

    def loss(self, model: RawNetwork, x0: Tensor, noise: Tensor, u: Tensor) -> Tensor:
        """lambda(sigma) |D(x0 + sigma eps, sigma) - x0|^2 with lambda = (sigma^2 + s^2) / (sigma s)^2, eq. 2 and 8."""
        sigma = self.level(u)
        weight = (sigma**2 + self.sigma_data**2) / (sigma * self.sigma_data) ** 2
        x = x0 + sigma.reshape(-1, *[1] * (x0.dim() - 1)) * noise
        return weight * (self.denoise(model, x, sigma) - x0).square().flatten(1).mean(1)
