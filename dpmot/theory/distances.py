r"""Squared distances of two samples, and of laws known by samples, without what n samples alone add.

    W2^2       the best pairing of n with n, exactly
    sliced     d E_theta W2^2(<theta, x>, <theta, y>), theta uniform on the sphere: at most W2^2, for the best pairing
               pairs projections too and E <theta, u>^2 = |u|^2 / d; equal to it for shifts and scalings

Between samples both are far above 0 where the laws are equal. With P, P' and Q, Q' samples of n of the two laws,

    E d(P, Q) - E d(P, P') / 2 - E d(Q, Q') / 2

is 0 there. For a shift it is exact, for a scaling by a it is the true one times 1 - E W2^2(Q, Q') / (2 E |y - my|^2):
what is left of the error of n samples is then a share of the distance, not an amount beside it. Against N stored points
neither holds: the difference lies below W2^2, the further the higher the dimension. A term *finite N* is a lower bound.
"""

from collections.abc import Callable

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from dpmot import seeds as streams

Distance = Callable[[Tensor, Tensor], float]


def squared_w2(x: Tensor, y: Tensor) -> float:
    """W2^2 of two samples, (n, d) each: a cost of n^3."""
    cost = torch.cdist(x, y).square().numpy()
    return float(cost[linear_sum_assignment(cost)].mean())


def sliced_w2(x: Tensor, y: Tensor, directions: Tensor) -> float:
    """The sliced distance, along unit vectors (d, k)."""
    apart = (x @ directions).sort(0).values - (y @ directions).sort(0).values
    return x.shape[1] * float(apart.square().mean())


def unit_vectors(dim: int, number: int, *key: int | str) -> Tensor:
    """Random directions, float64 (d, k), from the stream of this key."""
    drawn = torch.from_numpy(streams.generator(*key).standard_normal((dim, number)))
    return drawn / drawn.norm(dim=0)


class Judge:
    """Debiased distances to one law, of which 2 n samples are given.

    Args:
        real: (2 n, d).
    """

    def __init__(self, real: Tensor) -> None:
        self.real, self._own = real, dict[Distance, float]()

    def __call__(self, distance: Distance, x: Tensor) -> float:
        """The distance of the law of x (2 n, d)."""
        n = len(self.real) // 2
        (first, second), (one, other) = x.split(n), self.real.split(n)
        if distance not in self._own:
            self._own[distance] = distance(one, other)
        across = (distance(first, one) + distance(second, other)) / 2
        return across - (distance(first, second) + self._own[distance]) / 2
