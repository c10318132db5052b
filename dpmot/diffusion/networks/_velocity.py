r"""Flow matching (Lipman et al. 2023; Liu et al. 2023): the network gives the velocity, F(x_t, t) ~ eps - x0.

It sees x_t = (1 - t) x0 + t eps. In sigma units t = sigma / (1 + sigma) and x_t = x / (1 + sigma), so that
D(x, sigma) = x_t - t F(x_t, t).

**The noise end.** A network that is trained on pairs x0 = T(eps) of a transport map sees x = T(eps) + sigma eps: that
leaves gaps at the walls of the map's cells, and samples start at sigma_max eps, some of them in a gap, where the
network has seen nothing. To first order in 1 / sigma_max their share is E<eps, T(eps)> / sigma_max, by Gauss's theorem
at the walls, which no map exceeds tr(C^(1/2)) / sigma_max with, C the covariance of the data (Gelbrich 1990): 24 for
digits, 213 for Fashion-MNIST and 453 for CIFAR-10. Hence the default, under one percent for all of them. The network
sees x_t, which a large sigma does not trouble: x / (1 + sigma) and not (1 - t) x, whose 1 - t cancels in float32.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from dpmot.diffusion.protocols import RawNetwork, Tensor
from dpmot.diffusion.sigmas import Chain, flow_chain

LARGEST = 1e6  # from which float32 does not tell t from 1


@dataclass(frozen=True)
class FlowMatching:
    """Options: the levels T of its full chain, t = (T - 1) / T, ..., 1 / T, 0, and the level above them where samples
    start; None: T - 1, the coarsest of them."""

    num_levels: int = 1000
    sigma_max: float | None = 1e5
    of_levels: ClassVar[tuple[str, ...]] = ("num_levels", "sigma_max")

    def __post_init__(self) -> None:
        if self.num_levels < 3:
            raise ValueError(f"Flow matching needs at least 3 levels, got num_levels {self.num_levels}")
        least, given = self.num_levels - 1, self.sigma_max
        if given is not None and not least <= given <= LARGEST:
            raise ValueError(f"Flow matching needs sigma_max in num_levels - 1 = {least} to {LARGEST:g}, got {given:g}")

    @cached_property
    def chain(self) -> Chain:
        """The T - 1 levels above 0, below sigma_max."""
        return flow_chain(num_levels=self.num_levels, sigma_max=self.sigma_max)

    def denoise(self, model: RawNetwork, x: Tensor, sigma: Tensor) -> Tensor:
        """x (B, *S), sigma (B,) -> D(x, sigma), (B, *S)."""
        time, wide = sigma / (1 + sigma), sigma.reshape(-1, *[1] * (x.dim() - 1))
        at = x / (1 + wide)
        return at - wide / (1 + wide) * model(at, time)

    def level(self, u: Tensor) -> Tensor:
        """The noise level that u in [0, 1) chooses in training, (B,) -> (B,)."""
        levels = u.new_tensor(self.chain.levels)
        return levels[(u * len(levels)).long()]

    def loss(self, model: RawNetwork, x0: Tensor, noise: Tensor, u: Tensor) -> Tensor:
        """|F(x_t, t) - (eps - x0)|^2 (Lipman et al. 2023, eq. 23), t uniform over the levels."""
        sigma = self.level(u)
        time = sigma / (1 + sigma)
        wide = time.reshape(-1, *[1] * (x0.dim() - 1))
        return (model((1 - wide) * x0 + wide * noise, time) - (noise - x0)).square().flatten(1).mean(1)
