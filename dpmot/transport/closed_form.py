"""Heights and Newton steps that need no noise.

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


def newton_scale(problem: SemiDiscreteProblem) -> Tensor:
    """tau_i = s_i w_i / phi(q_i), float64 (N,); atoms near the mean borrow a tenth of the typical norm."""
    quantile = torch.special.ndtri(problem.masses)
    norms = problem.norms.clamp(min=0.1 * float(problem.norms.square().mean().sqrt()))
    return problem.measure.scale * norms * problem.masses / normal_density(quantile)
