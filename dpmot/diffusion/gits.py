r"""GITS (Chen et al. 2024, ICML): a grid by dynamic programming.

A teacher's trajectory x_0, ..., x_N on a fine Karras grid t_0 > ... > t_N is cut into n steps, so that the sum of

    c(i, j) = |deviation of x_i + (t_j - t_i) eps_i| - |deviation of x_j|,

the means over trajectories, is least; the deviation of a point is its distance from the straight line between the ends
x_0 and x_N of its trajectory. Later steps weigh ``WEIGHT`` times the one before. The n-th step ends at sigma = 0.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dpmot.diffusion.protocols import Tensor
from dpmot.diffusion.sigmas import Grid, UnattainableBudget, karras

TEACHER = 60  # steps of the fine grid: DDIM's, an evaluation each
WEIGHT = 1.15
STARTS = 256  # trajectories


def check(steps: int) -> None:
    """Refuse more steps than the fine grid has.

    Raises:
        UnattainableBudget: so many.
    """
    if steps > TEACHER:
        raise UnattainableBudget(f"GITS cuts {TEACHER} fine steps into fewer; {steps} steps do not fit")


def levels(denoiser: Callable[[Tensor, Tensor], Tensor], x: Tensor, steps: int, *, finest: float, start: float) -> Grid:
    """The grid of so many steps for starts like x, (steps + 1,), descending from ``start`` to 0.

    Args:
        denoiser: D.
        x: (B, *S) at sigma ``start``.
        steps: 1 to TEACHER.
        finest: the finest level of the network.
        start: sigma.
    """
    check(steps)
    fine = karras(TEACHER, start, finest)
    if steps == 1:
        return np.array([start, 0.0])
    return fine[cut(costs(denoiser, x, fine), steps)]


def costs(denoiser: Callable[[Tensor, Tensor], Tensor], x: Tensor, fine: Grid) -> NDArray:
    """c(i, j) for i < j, (N + 1, N + 1); infinite elsewhere."""
    states, slopes = [x], []
    for sigma, to in pairwise(fine):
        slopes.append((states[-1] - denoiser(states[-1], x.new_tensor(sigma))) / sigma)
        states.append(states[-1] + (to - sigma) * slopes[-1])
    first, last = states[0].flatten(1), states[-1].flatten(1)
    along = (last - first) / (last - first).norm(dim=1, keepdim=True)

    def deviation(point: Tensor) -> float:
        way = last - point.flatten(1)
        return float((way - (way * along).sum(1, keepdim=True) * along).norm(dim=1).mean())

    own = [deviation(state) for state in states]
    found = np.full((len(fine), len(fine)), np.inf)
    for i, slope in enumerate(slopes):
        for j in range(i + 1, len(fine)):
            found[i, j] = deviation(states[i] + (fine[j] - fine[i]) * slope) - own[j]
    return found


def cut(cost: NDArray, steps: int) -> list[int]:
    """The cheapest way from 0 to N by so many steps: the numbers of the levels on it."""
    size = len(cost)
    least, chosen = cost[:, -1].copy(), []
    for _ in range(steps - 1):  # least[i]: of the steps that are left, from level i
        through = cost + WEIGHT * least[None, :]
        through[:, -1] = np.inf
        chosen.append(through.argmin(1))
        least = through.min(1)
    way = [0]
    for follow in reversed(chosen):
        way.append(int(follow[way[-1]]))
    return [*way, size - 1]
