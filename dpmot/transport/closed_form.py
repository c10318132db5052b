"""Heights and Newton steps that need no noise; on a line the heights are exact.

Scores of noise are close to Gaussian with standard deviation s_i = scale |y_i|; a cell is where its score beats an
almost constant maximum of the others.
"""

import torch
from torch import Tensor

from dpmot.transport.measures import normal_density
from dpmot.transport.problem import SemiDiscreteProblem


def closed_form_start(problem: SemiDiscreteProblem) -> Tensor:
    """h_i = -s_i Phi^-1(1 - w_i), centred heights, float64 (N,)."""
    return problem.measure.scale * problem.norms * torch.special.ndtri(problem.masses)


def quadratic_start(problem: SemiDiscreteProblem) -> Tensor:
    """h_i = -scale |y_i|^2 / (2 r): the Brenier conjugate of isotropic Gaussian atoms, r their standard deviation."""
    square = problem.norms.square()
    spread = (square.mean() / problem.atoms.dim).sqrt()
    return -problem.measure.scale * square / (2 * spread)


def quantile_heights(problem: SemiDiscreteProblem) -> Tensor:
    """Centred heights for d = 1, exact, float64 (N,); the atoms differ.

    Neighbours y < y' meet at the quantile b of the masses so far, so h' - h = -b (y' - y). Masses are summed from the
    nearer end: what is left of 1 has lost its digits.
    """
    y, order = problem.points.block(0, len(problem.masses))[:, 0].sort()
    masses = problem.masses[order]
    low, high = masses.cumsum(0)[:-1], masses.flip(0).cumsum(0).flip(0)[1:]
    bound = torch.where(low < high, problem.measure.quantile(low), -problem.measure.quantile(high))
    heights = torch.zeros_like(y)
    heights[order[1:]] = (-bound * y.diff()).cumsum(0)
    return heights - heights.mean()


def newton_scale(problem: SemiDiscreteProblem) -> Tensor:
    """tau_i = s_i w_i / phi(q_i), float64 (N,); atoms near the mean borrow a tenth of the typical norm."""
    quantile = torch.special.ndtri(problem.masses)
    norms = problem.norms.clamp(min=0.1 * float(problem.norms.square().mean().sqrt()))
    return problem.measure.scale * norms * problem.masses / normal_density(quantile)
