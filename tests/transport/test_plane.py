"""Cells of the plane against closed forms, derivatives and lines; solutions on a line and in the plane."""

import math

import numpy as np
import pytest
import torch

from dpmot.transport import SemiDiscreteProblem, SemiDiscreteSolver
from dpmot.transport.lines import cut
from dpmot.transport.measures import NORMAL, UNIFORM
from dpmot.transport.plane import cells

CORNERS = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
LAWS = pytest.mark.parametrize("law", [NORMAL, UNIFORM])


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def falling(number: int, decades: float = 3) -> torch.Tensor:
    masses = torch.logspace(0, -decades, number, dtype=torch.float64)
    return masses / masses.sum()


@LAWS
def test_four_corners_share_the_plane_in_quarters_to_the_last_digits(law):
    seen = cells(CORNERS, np.zeros(4), law)
    assert seen.masses == pytest.approx(0.25, abs=1e-15)
    # each wall is half an axis, |y_i - y_j| = 2: integral phi(0) phi(t) dt / 2 = phi(0) / 4, or half a side / 2
    assert seen.walls[0, 1] == pytest.approx(1 / math.sqrt(2 * math.pi) / 4 if law is NORMAL else 0.25, rel=1e-12)


@LAWS
def test_the_walls_are_the_derivative_of_the_masses_in_the_plane(law):
    atoms, heights, step = draws(40, 2).numpy(), 0.05 * draws(40, seed=1).numpy(), 1e-5 * draws(40, seed=2).numpy()
    ahead, behind = (cells(atoms, heights + sign * step, law) for sign in (1, -1))
    walls = cells(atoms, heights, law).walls
    assert ahead.masses.sum() == pytest.approx(1, abs=1e-14)
    # a central difference: relative error of the square of the step over the size of a cell
    assert walls.sum(1) * step - walls @ step == pytest.approx((ahead.masses - behind.masses) / 2, rel=1e-4, abs=1e-11)


@LAWS
def test_the_masses_are_those_that_many_lines_see(law):
    atoms, heights = draws(12, 2), 0.1 * draws(12, seed=1)
    exact = cells(atoms.numpy(), heights.numpy(), law).masses
    # lines are exact along one axis; across it 16,384 points of a lattice miss a piecewise smooth function by some 1e-4
    assert exact == pytest.approx(cut(atoms, heights, law, lines=16_384).masses.numpy(), abs=2e-4)


@pytest.mark.parametrize("measure", ["normal", "uniform"])
@pytest.mark.parametrize(("dim", "even"), [(1, True), (1, False), (2, True), (2, False)])
def test_a_thousand_atoms_of_few_dimensions_converge_after_few_looks(dim, even, measure):
    problem = SemiDiscreteProblem(draws(1000, dim), None if even else falling(1000), measure)
    solution = SemiDiscreteSolver()(problem, seed=0)
    assert solution.converged and solution.noises <= 60_000 * (dim - 1)  # 60 looks at all cells; none on a line
    # the masses are right to 1e-8: what is seen is the certificate's own noise, sqrt(2 N) / draws = .0007
    assert abs(solution.certificate.chi2) < 4 * math.sqrt(2 * 1000) / solution.certificate.noises


@pytest.mark.parametrize("measure", ["normal", "uniform"])
@pytest.mark.parametrize("kind", ["three", "grid", "circle", "near pairs", "outliers", "collinear", "duplicates"])
def test_odd_atoms_of_the_plane_converge(kind, measure):
    turns = 2 * math.pi * torch.arange(60, dtype=torch.float64) / 60
    atoms = {
        "three": draws(3, 2),
        "grid": torch.cartesian_prod(torch.arange(12.0), torch.arange(12.0)),
        "circle": torch.stack([turns.cos(), turns.sin()], 1),
        "near pairs": draws(50, 2).repeat_interleave(2, 0) + 1e-5 * draws(100, 2, seed=1),
        "outliers": draws(100, 2) * draws(100, 1, seed=1).mul(1.5).exp(),
        "collinear": torch.tensor([[1.0, 2.0]]) * torch.arange(8.0)[:, None],
        "duplicates": draws(20, 2).repeat(3, 1),
    }[kind]
    solution = SemiDiscreteSolver()(SemiDiscreteProblem(atoms, source_measure=measure), seed=0)
    assert solution.converged, solution.reason


def test_many_atoms_of_the_plane_on_one_line_are_told():
    atoms = torch.linspace(-1, 1, 2100)[:, None] * torch.tensor([[1.0, 1.0]])
    solution = SemiDiscreteSolver()(SemiDiscreteProblem(atoms), seed=0)
    assert not solution.converged and "on one line" in solution.reason


def test_draws_on_a_line_fall_where_the_quantiles_say():
    # neighbours are 1e-4 apart and closer: scores in float32 sent a tenth of the draws to cells beside theirs
    atoms = draws(4000, 1).float()
    problem = SemiDiscreteProblem(atoms)
    potential = SemiDiscreteSolver()(problem, seed=0).potential
    x, order = draws(2000, 1, seed=1).float(), atoms[:, 0].argsort()
    edges = torch.special.ndtri(torch.arange(1, 4000, dtype=torch.float64) / 4000)
    rank = torch.searchsorted(edges, x[:, 0].double())
    assert torch.equal(potential.transport(x)[:, 0], atoms[order[rank], 0])
