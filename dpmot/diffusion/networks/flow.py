r"""Flow matching (Lipman et al. 2023; Liu et al. 2023): the network gives the velocity, F(x_t, t) ~ eps - x0.

It sees x_t = (1 - t) x0 + t eps. In sigma units t = sigma / (1 + sigma) and x_t = x / (1 + sigma), so that
D(x, sigma) = x_t - t F(x_t, t).
"""

from dataclasses import dataclass
from functools import cached_property

from dpmot.diffusion.protocols import RawNetwork, Tensor
from dpmot.diffusion.sigmas import Chain, flow_chain


@dataclass(frozen=True)
class Parametrisation:
    """Option: the number of levels T of its full chain, t = (T - 1) / T, ..., 1 / T, 0."""

    num_levels: int = 1000

    def __post_init__(self) -> None:
        if self.num_levels < 3:
            raise ValueError(f"Flow matching needs at least 3 levels, got num_levels {self.num_levels}")

    @cached_property
    def chain(self) -> Chain:
        """The T - 1 levels above 0."""
        return flow_chain(num_levels=self.num_levels)

    def denoise(self, model: RawNetwork, x: Tensor, sigma: Tensor) -> Tensor:
        """x (B, *S), sigma (B,) -> D(x, sigma), (B, *S)."""
        time = sigma / (1 + sigma)
        wide = time.reshape(-1, *[1] * (x.dim() - 1))
        at = (1 - wide) * x
        return at - wide * model(at, time)

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
