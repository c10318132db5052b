r"""MeanFlow (Geng et al. 2025): the network gives the average velocity of the flow between two times, r <= t.

On x_t = (1 - t) x0 + t eps, whose flow has the velocity v(x_t, t) = E[eps - x0 | x_t], it is

    u(x_t, r, t) = 1 / (t - r) int_r^t v(x_s, s) ds,    so that    x_r = x_t - (t - r) u(x_t, r, t)

is one step, however long, and u(x_t, t, t) = v. Differentiating (t - r) u by t along the flow gives the identity

    u(x_t, r, t) = v(x_t, t) - (t - r) du/dt,    du/dt = v . d_x u + d_t u,

whose right side, with eps - x0 for v and no gradient, is what u is drawn to. du/dt is one product of the Jacobian with
the tangent (v, 0, 1). The network is told t and t - r. In sigma units D(x, sigma, to) = x_t - t u(x_t, r, t), from
which Euler's step, x_r = x_t - (t - r) u or x' = D + to / sigma (x - D), lands at x_r. D(x, sigma) = D(x, sigma, sigma)
is the flow network's denoiser: any sampler runs on it.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from dpmot.diffusion.networks._velocity import FlowMatching
from dpmot.diffusion.protocols import RawNetwork, Tensor

FLOOR = 1e-3  # of the squared error, below which it is not weighted up


@dataclass(frozen=True)
class Parametrisation(FlowMatching):
    """Options: those of kind flow; the share of the images that are trained on r < t; and the power p of the weight
    1 / (|error|^2 + 0.001)^p of each, 1 as their best, 0 for the plain square."""

    spanned: float = 0.25
    power: float = 1.0
    spans: ClassVar[bool] = True
    conditions: ClassVar[int] = 2
    of_levels: ClassVar[tuple[str, ...]] = ("num_levels", "sigma_max", "spanned", "power")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 < self.spanned <= 1 and 0 <= self.power <= 2):
            given = f"spanned {self.spanned}, power {self.power}"
            raise ValueError(f"MeanFlow needs 0 < spanned <= 1 and 0 <= power <= 2, got {given}")

    def denoise(self, model: RawNetwork, x: Tensor, sigma: Tensor, to: Tensor | None = None) -> Tensor:
        """x (B, *S), sigma (B,), to (B,) at most sigma, None for sigma itself -> D(x, sigma, to), (B, *S)."""
        t, wide = sigma / (1 + sigma), sigma.reshape(-1, *[1] * (x.dim() - 1))
        # t - r by its own formula: the difference of two times next to 1 cancels in float32
        length = 0 * t if to is None else (sigma - to) / ((1 + sigma) * (1 + to))
        at = x / (1 + wide)
        return at - wide / (1 + wide) * model(at, _told(t, length))

    def loss(self, model: RawNetwork, x0: Tensor, noise: Tensor, u: Tensor) -> Tensor:
        """The weighted squared error of the identity (their algorithm 1): t uniform over the levels, r in [0, t]."""
        import torch

        sigma = self.level(u)
        t = sigma / (1 + sigma)
        chosen, share = torch.rand(2, len(t)).to(t)  # by the processor's stream, which training seeds at each step
        length = torch.where(chosen < self.spanned, share * t, 0 * t)
        wide = t.reshape(-1, *[1] * (x0.dim() - 1))
        at, velocity = (1 - wide) * x0 + wide * noise, noise - x0
        target, rows = velocity.clone(), length.nonzero()[:, 0]
        if len(rows):  # elsewhere du/dt counts nothing
            rate = _rate(_of_rows(model, rows), at[rows], t[rows], length[rows], velocity[rows])
            target[rows] -= length[rows].reshape(-1, *wide.shape[1:]) * rate
        error = (model(at, _told(t, length)) - target).square().flatten(1).mean(1)
        return error / (error.detach() + FLOOR) ** self.power


def _rate(model: RawNetwork, at: Tensor, t: Tensor, length: Tensor, velocity: Tensor) -> Tensor:
    """du/dt along the velocity, r fixed, (B, *S), without gradient: as fast as t do t - r and x_t go."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    def average(at: Tensor, t: Tensor, length: Tensor) -> Tensor:
        return model(at, _told(t, length))

    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):  # the only one that is differentiated forwards
        one = torch.ones_like(t)
        return torch.func.jvp(average, (at, t, length), (velocity, one, one))[1]


def _of_rows(model: RawNetwork, rows: Tensor) -> RawNetwork:
    """The network with the labels of some rows, where it was given labels."""
    if not isinstance(model, partial) or "labels" not in model.keywords:
        return model
    return partial(model.func, labels=model.keywords["labels"][rows])


def _told(t: Tensor, length: Tensor) -> Tensor:
    """What the network is told of each image: t and t - r, (B, 2)."""
    import torch

    return torch.stack([t, length], dim=1)
