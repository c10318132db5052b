"""Source measures: products of one symmetric law per coordinate, N(0, 1) or U[0, 1].

Everything here is about the *centred* coordinate z = x - centre: its law is symmetric, so -z is as good a draw
as z, and the cell of x = centre + z under heights h is the cell of z under h_i + centre * sum_j y_ij.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Measure:
    """One coordinate x = centre + z, z symmetric with standard deviation `scale` and support [-bound, bound].

    `moment` is an antiderivative of t * density(t); `bound` is where 1 - cdf falls below float64's resolution.
    """

    centre: float
    scale: float
    bound: float
    draw: Callable[[tuple[int, int], torch.Generator], Tensor]  # z of that shape, on the generator's device
    density: Callable[[Tensor], Tensor]
    cdf: Callable[[Tensor], Tensor]
    quantile: Callable[[Tensor], Tensor]
    moment: Callable[[Tensor], Tensor]


def normal_density(t: Tensor) -> Tensor:
    """phi(t)."""
    return torch.exp(-0.5 * t * t) / math.sqrt(2 * math.pi)


NORMAL = Measure(
    centre=0.0,
    scale=1.0,
    bound=9.0,
    draw=lambda shape, own: torch.randn(shape, generator=own, device=own.device),
    density=normal_density,
    cdf=torch.special.ndtr,
    quantile=torch.special.ndtri,
    moment=lambda t: -normal_density(t),
)

UNIFORM = Measure(
    centre=0.5,
    scale=1 / math.sqrt(12),
    bound=0.5,
    draw=lambda shape, own: torch.rand(shape, generator=own, device=own.device) - 0.5,
    density=torch.ones_like,
    cdf=lambda t: t + 0.5,
    quantile=lambda p: p - 0.5,
    moment=lambda t: 0.5 * t * t,
)

MEASURES = {"normal": NORMAL, "uniform": UNIFORM}


def measure_named(name: str) -> Measure:
    """The source measure of that name; a ValueError names those there are."""
    if not isinstance(name, str) or name not in MEASURES:
        raise ValueError(f'Source measure "{name}" is unknown; choose "normal" (N(0, I)) or "uniform" (U[0, 1]^d)')
    return MEASURES[name]
