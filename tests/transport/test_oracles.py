"""Cells and heights against exact answers: power diagrams, linear programmes, samples."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment, linprog
from scipy.spatial import ConvexHull, HalfspaceIntersection

from dpmot.transport import BrenierPotential, SemiDiscreteProblem, SemiDiscreteSolver, certify


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def power_cell(atoms: np.ndarray, heights: np.ndarray, i: int) -> np.ndarray:
    """Corners of {x in [0, 1]^2: <x, y_i> + h_i >= <x, y_j> + h_j for every j}, (k, 2); empty for an empty cell."""
    others = np.arange(len(atoms)) != i
    walls = np.column_stack([atoms[others] - atoms[i], heights[others] - heights[i]])
    square = np.array([[1.0, 0, -1], [-1, 0, 0], [0, 1, -1], [0, -1, 0]])
    halves = np.concatenate([walls, square])  # a x + b <= 0
    lengths = np.linalg.norm(halves[:, :2], axis=1)
    # the centre of the largest ball inside
    ball = linprog(
        [0, 0, -1], A_ub=np.column_stack([halves[:, :2], lengths]), b_ub=-halves[:, 2], bounds=[(None, None)] * 3
    )
    if ball.status or ball.x[2] <= 1e-9:
        return np.empty((0, 2))
    return HalfspaceIntersection(halves, ball.x[:2]).intersections


def area(corners: np.ndarray) -> float:
    return ConvexHull(corners).volume if len(corners) else 0.0


def test_cells_in_the_square_have_the_areas_of_the_exact_power_diagram():
    atoms, masses = draws(40, 2), torch.softmax(0.5 * draws(40, seed=1).double(), 0)
    problem = SemiDiscreteProblem(atoms, masses=masses, source_measure="uniform")
    solution = SemiDiscreteSolver(chi2=0.001)(problem, seed=0)
    heights = solution.potential.heights.numpy()
    areas = np.array([area(power_cell(atoms.double().numpy(), heights, i)) for i in range(40)])
    exact = float((((torch.from_numpy(areas) - masses) ** 2) / masses).sum())
    assert areas.sum() == pytest.approx(1, abs=1e-9)
    assert solution.converged
    # Newton stops at 1 % of the target on its lines; the lines themselves see areas to about 1 %
    assert exact < 0.001
    assert solution.certificate.low <= exact <= solution.certificate.high


def test_the_certificate_agrees_with_the_exact_power_diagram_of_wrong_heights():
    atoms = draws(30, 2, seed=2)
    problem, heights = SemiDiscreteProblem(atoms, source_measure="uniform"), 0.05 * draws(30, seed=3).double()
    areas = np.array([area(power_cell(atoms.double().numpy(), heights.numpy(), i)) for i in range(30)])
    exact = 30 * float((areas**2).sum()) - 1
    look = certify(problem, heights, seed=0, target=exact)
    assert abs(look.chi2 - exact) < 1.5 * (look.high - look.low) / 2  # 3 standard errors


@pytest.mark.parametrize("dim", [2, 16])
def test_the_map_costs_what_the_best_assignment_of_samples_costs(dim):
    # 20 atoms, each repeated 100 times, against 2000 noises: the discrete problem is solved exactly by assignment
    atoms, noise = draws(20, dim), draws(2000, dim, seed=1)
    potential = SemiDiscreteSolver()(SemiDiscreteProblem(atoms), seed=0).potential
    copies = atoms.repeat(100, 1)
    gain = (noise @ copies.T).double().numpy()
    rows, columns = linear_sum_assignment(gain, maximize=True)
    best = gain[rows, columns].mean()
    # the dual bounds it from above: mean u(x) - <w, h> >= best; and it is tight up to the noise of 2000 samples
    bound = float(potential(noise).mean() - potential.heights.mean())
    assert best <= bound + 1e-6
    assert bound - best < 0.02 * abs(best)


def test_heights_fit_a_discrete_source_as_its_linear_programme_does():
    # masses of the cells on one fixed set of noises, under the exact dual potential of that set, are the targets
    noise, atoms = draws(600, 8, seed=4).double(), draws(6, 8)
    gain = noise @ atoms.double().T
    number = len(noise)
    # minimise mean_b t_b - mean h  subject to  t_b >= <x_b, y_i> + h_i
    cost = np.concatenate([np.full(number, 1 / number), np.full(6, -1 / 6)])
    bound = np.zeros((number * 6, number + 6))
    bound[np.arange(number * 6), np.repeat(np.arange(number), 6)] = -1
    bound[np.arange(number * 6), number + np.tile(np.arange(6), number)] = 1
    answer = linprog(cost, A_ub=bound, b_ub=-gain.flatten().numpy(), bounds=[(None, None)] * (number + 6))
    exact = torch.from_numpy(answer.x[number:])
    shares = torch.bincount(BrenierPotential(atoms, exact - exact.mean()).cell(noise.float()), minlength=6) / number
    assert (shares - 1 / 6).abs().max() <= 6 / number  # ties on the walls: at most a few of the 600
    fitted = SemiDiscreteSolver(chi2=0.001)(SemiDiscreteProblem(atoms), seed=0).potential.heights
    # 600 noises leave chi2 N / n = .01 between the two: heights agree to a tenth of their slope, tau about .7
    assert (fitted - (exact - exact.mean())).abs().max() < 0.25


@pytest.mark.parametrize("dim", [1, 8, 300])
def test_two_atoms_a_millionth_apart_are_told_apart_or_not_called_converged(dim):
    atoms = draws(20, dim, seed=5)
    atoms = torch.cat([atoms, atoms[:1] + 1e-6])
    problem = SemiDiscreteProblem(atoms)
    solution = SemiDiscreteSolver(max_noises=400_000)(problem, seed=0)
    again = certify(problem, solution.potential.heights, seed=9)
    if solution.converged:
        assert again.low < 0.01
    else:
        assert "not below 0.01" in solution.reason and solution.certificate.high >= 0.01
