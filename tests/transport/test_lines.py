"""Cells along lines against closed forms and derivatives; Newton against quantiles."""

import math

import pytest
import torch

from dpmot.transport import SemiDiscreteProblem, newton
from dpmot.transport.ledger import Ledger
from dpmot.transport.lines import cut, lattice
from dpmot.transport.measures import NORMAL, UNIFORM

CORNERS = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_four_corners_share_the_plane_in_quarters():
    seen = cut(CORNERS, torch.zeros(4, dtype=torch.float64), NORMAL, lines=256)
    torch.testing.assert_close(seen.masses, torch.full((4,), 0.25, dtype=torch.float64))
    # each wall is half an axis: integral_0^inf phi(0) phi(t) dt / |y_i - y_j| = phi(0) / 4; none on the diagonal
    wall = 1 / math.sqrt(2 * math.pi) / 4
    assert seen.walls[0, 1] == pytest.approx(wall, rel=1e-9) and seen.walls[0, 3] == 0
    # E max_i <x, y_i> = E |x_1| + |x_2|; 256 midpoints resolve the tails of |x_2| to 1e-3
    assert seen.energy == pytest.approx(2 * math.sqrt(2 / math.pi), abs=2e-3)


@pytest.mark.parametrize("law", [NORMAL, UNIFORM])
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_the_masses_are_the_gradient_of_the_energy(law, dim):
    atoms, heights, step = draws(12, dim), 0.1 * draws(12, seed=1), 1e-5 * draws(12, seed=2)
    ahead, behind = (cut(atoms, heights + sign * step, law, lines=64) for sign in (1, -1))
    masses = cut(atoms, heights, law, lines=64).masses
    assert masses.sum() == pytest.approx(1, abs=1e-12)
    # central difference of a C^1 function with piecewise bounded second derivative: error O(step)
    assert (ahead.energy - behind.energy) / 2 == pytest.approx(float(masses @ step), rel=1e-3, abs=1e-10)


@pytest.mark.parametrize("law", [NORMAL, UNIFORM])
def test_the_walls_are_the_derivative_of_the_masses(law):
    atoms, heights = draws(12, 2), 0.1 * draws(12, seed=1)
    step = 0.01 * draws(12, seed=2)
    ahead, behind = (cut(atoms, heights + sign * step, law, lines=4096).masses for sign in (1, -1))
    walls = cut(atoms, heights, law, lines=4096).walls
    predicted = walls.sum(1) * step - walls @ step
    # 4096 lines an axis see a wall to about 1 %, the finite step adds its curvature
    assert (predicted - (ahead - behind) / 2).norm() < 0.03 * predicted.norm()
    assert torch.equal(walls, walls.T)


def test_lattices_fill_the_cube_evenly():
    for dim in (1, 2, 3):
        points = lattice(1000, dim)
        assert points.shape == (1000, dim) and (points > 0).all() and (points < 1).all()
        # random points would miss these by 1 / sqrt(12000) = .009
        assert (points.mean(0) - 0.5).abs().max() < 0.003


@pytest.mark.parametrize("measure", ["normal", "uniform"])
def test_heights_on_a_line_are_the_quantile_heights(measure):
    atoms = draws(9, 1, seed=3).float()
    masses = torch.softmax(draws(9, seed=4), 0)
    problem = SemiDiscreteProblem(atoms, masses=masses, source_measure=measure)
    heights, reason = newton.fit(problem, target=1e-11, ledger=Ledger(10**7))
    order = atoms[:, 0].argsort()
    y, found = atoms[order, 0].double(), problem.original_heights(heights)[order]
    # neighbours meet at the quantile b_k of the masses so far: h_{k+1} - h_k = -b_k (y_{k+1} - y_k)
    edges = masses[order].cumsum(0)[:-1]
    quantiles = torch.special.ndtri(edges) if measure == "normal" else edges
    assert reason is None
    # a closed form: rounding of float64, and of the masses' sums times 1 / density
    torch.testing.assert_close(found.diff(), -quantiles * y.diff(), rtol=1e-9, atol=1e-12)


def test_newton_in_the_plane_follows_a_permutation_of_the_atoms():
    atoms, order = draws(40, 2).float(), torch.randperm(40, generator=torch.Generator().manual_seed(1))
    one, _ = newton.fit(SemiDiscreteProblem(atoms), target=1e-8, ledger=Ledger(10**7))
    other, _ = newton.fit(SemiDiscreteProblem(atoms[order]), target=1e-8, ledger=Ledger(10**7))
    # both stop at chi2 <= 1e-10 on the lines: heights agree to about 1e-5 of their spread
    torch.testing.assert_close(other, one[order], rtol=0, atol=1e-4)


def test_newton_tells_when_a_cell_cannot_be_filled():
    twice = draws(10, 2).float().repeat(2, 1)
    _, reason = newton.fit(SemiDiscreteProblem(twice), target=0.01, ledger=Ledger(10**6))
    assert "shrank" in reason
