"""Heights in at most three dimensions: a closed form on a line, damped Newton on cell masses above.

In the plane the masses are exact (`plane`). In space, and for atoms of the plane that lie on one line, they are those
that lines see (`lines`), which miss cells of very small mass.

The start comes from the entropic dual on a lattice cloud of source points x_b, with the temperature eps annealed:

    h_i += eps log(w_i / mean_b softmax_i((<x_b, y> + h) / eps)).

It leaves no cell empty, which is what Newton's method needs: a step is halved until no cell loses too much mass and
the energy falls (Kitagawa, Merigot, Thibert 2019).
"""

import math

import torch
from torch import Tensor

from dpmot.transport import plane
from dpmot.transport.closed_form import quadratic_start, quantile_heights
from dpmot.transport.ledger import Ledger
from dpmot.transport.lines import MAX_ATOMS, Slice, cut, lattice
from dpmot.transport.problem import SemiDiscreteProblem

COOLING, COLDEST = 0.8, 0.003  # eps falls by COOLING a pass, from the spread of the scores to COLDEST times that
SPACE = 3  # dimensions
POINTS = 4  # cloud points per atom
LINES = 16  # lines of one axis across one cell, roughly
KEEP = 0.1  # a step may take at most 1 - KEEP of a cell's mass
SHORTEST = 1e-4  # a step below this share of Newton's is no step
PRECISION = 0.01  # chi2 on the lines over the target


def fit(
    problem: SemiDiscreteProblem, *, target: float, ledger: Ledger, start: Tensor | None = None
) -> tuple[Tensor, str | None]:
    """Centred heights (N,) float64, and the reason why the fit gave up, if it did; see `SemiDiscreteSolver`.

    Args:
        problem: d <= 3, N >= 2, not all atoms equal.
        start: centred heights to try beside the solver's own.
    """
    if problem.atoms.dim == 1:
        return quantile_heights(problem), None
    exact = plane.fit(problem, target=target, ledger=ledger, start=start) if problem.atoms.dim == 2 else None
    if exact is None and len(problem.atoms) > MAX_ATOMS:
        heights = quadratic_start(problem)
        return heights - heights.mean(), f"atoms of the plane on one line are solved for N <= {MAX_ATOMS} only"
    return exact or _on_lines(problem, target=target, ledger=ledger, start=start)


def _on_lines(
    problem: SemiDiscreteProblem, *, target: float, ledger: Ledger, start: Tensor | None
) -> tuple[Tensor, str | None]:
    atoms = problem.points.block(0, len(problem.atoms)).double().cpu()
    masses, measure = problem.masses.cpu(), problem.measure
    number, dim = atoms.shape
    lines = max(256, math.ceil(LINES * number ** (1 - 1 / dim)))

    def see(heights: Tensor) -> tuple[Slice, float, float]:
        """Slice, chi2 and energy."""
        slice_ = cut(atoms, heights, measure, lines=lines)
        ledger.noises += slice_.rows
        chi2 = float(((slice_.masses - masses).square() / masses).sum())
        return slice_, chi2, slice_.energy - float(masses @ heights)

    starts = [_annealed(problem, atoms, ledger)] + ([] if start is None else [start.cpu()])
    views = [see(heights) for heights in starts]
    best = min(range(len(starts)), key=lambda k: views[k][1])
    heights, (seen, chi2, energy) = starts[best], views[best]
    ledger.record(chi2)
    while chi2 > PRECISION * target:
        if reason := ledger.spent():
            return heights, reason
        step, length = _direction(seen, masses, float(problem.norms.max())), 1.0
        while True:
            trial = heights + length * step
            after = see(trial)
            if (after[0].masses >= KEEP * torch.minimum(seen.masses, masses)).all() and after[2] < energy:
                break
            length /= 2
            if length < SHORTEST or ledger.spent():
                return heights, ledger.spent() or f"Newton's step shrank below {SHORTEST} at chi2 {chi2:.3g}"
        heights, (seen, chi2, energy) = trial - trial.mean(), after
        ledger.record(chi2)
    return heights, None


def least_noises(number: int, dim: int) -> int:
    """Rows of the shortest fit: none on a line, one look at all cells in the plane, the annealed start in space."""
    if dim < SPACE:
        return (dim - 1) * number
    return math.ceil(math.log(COLDEST) / math.log(COOLING)) * _points(number)


def _points(number: int) -> int:
    return max(1024, POINTS * number)


def _direction(seen: Slice, masses: Tensor, scale: float) -> Tensor:
    """Solve (diag(W 1) - W) step = w - p. Cells that no wall bounds (empty ones) rise by a fixed small amount."""
    degree = seen.walls.sum(1)
    floor = 10 * masses / scale
    # the constant vector is the gauge: any curvature along it will do
    hessian = torch.diag(torch.maximum(degree, floor)) - seen.walls + degree.mean() / len(masses)
    return torch.linalg.solve(hessian, masses - seen.masses)


def _annealed(problem: SemiDiscreteProblem, atoms: Tensor, ledger: Ledger) -> Tensor:
    points = _points(len(atoms))
    scores = (problem.measure.quantile(lattice(points, atoms.shape[1])) @ atoms.T).float()
    spread = problem.measure.scale * float(problem.norms.square().mean() / atoms.shape[1]) ** 0.5
    heights, target, eps = quadratic_start(problem).cpu().float(), problem.masses.cpu().log().float(), spread
    while eps > COLDEST * spread:
        masses = torch.softmax((scores + heights) / eps, 1).mean(0).clamp(min=1e-30)
        heights = heights + eps * (target - masses.log())
        eps *= COOLING
        ledger.noises += points
    return heights.double()
