"""Few atoms of many dimensions: the same problem in coordinates of their span."""

import numpy as np
import pytest
import torch

from dpmot.transport import SemiDiscreteProblem, SemiDiscreteSolver
from dpmot.transport.certificate import certify
from dpmot.transport.tally import tally


def problem_of(number=40, dim=900, **options):
    y = torch.randn(number, dim, generator=torch.Generator().manual_seed(0)) * torch.linspace(2, 0.1, dim) + 3
    return SemiDiscreteProblem(y, **options)


def test_distances_and_masses_are_kept():
    problem = problem_of(masses=torch.arange(1, 41) / 820)
    narrow = problem.in_span()
    assert narrow.atoms.dim == 40 and torch.equal(narrow.masses, problem.masses)
    wide = torch.cdist(problem.points.values.double(), problem.points.values.double())
    near = torch.cdist(narrow.points.values.double(), narrow.points.values.double())
    torch.testing.assert_close(near, wide, rtol=1e-5, atol=1e-4)


def test_cells_have_the_same_masses_under_the_same_heights():
    problem, heights = problem_of(), torch.linspace(-20, 20, 40)
    shares = []
    for one in (problem, problem.in_span()):
        seen = tally(one, [heights], 40_000, np.random.default_rng(1), noise="plain")[0]
        shares.append(seen.counts / seen.draws)
    error = (shares[0] * (1 - shares[0]) / 20_000).sqrt().clamp(min=1e-4)
    assert float(((shares[0] - shares[1]) / error).abs().max()) < 5


def test_solved_heights_are_for_the_atoms_as_given():
    problem = problem_of()
    solution = SemiDiscreteSolver(chi2=0.02)(problem, seed=0)
    assert solution.converged and solution.potential.problem.atoms.dim == 900
    look = certify(problem, solution.potential.heights, seed=1, target=0.02)  # on rows of 900 numbers
    assert look.low < 0.02


@pytest.mark.parametrize(
    "options", [{"number": 300}, {"number": 600, "dim": 2400}, {"source_measure": "uniform"}, {"memory": 100}]
)
def test_other_problems_stay_as_they_are(options):
    problem = problem_of(**options)
    assert problem.in_span() is problem
