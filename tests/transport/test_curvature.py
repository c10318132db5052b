"""What draws tell about the Hessian, the trends, clumps of near duplicates; the fits that need them."""

import math

import pytest
import torch

from dpmot.seeds import generator
from dpmot.transport import SemiDiscreteProblem, SemiDiscreteSolver
from dpmot.transport.closed_form import closed_form_start, newton_scale
from dpmot.transport.curvature import MOST, Survey, astray, excess, trend_chi2, trends
from dpmot.transport.near_duplicates import near_duplicates
from dpmot.transport.race import Race
from dpmot.transport.tally import Tally, tally


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def uneven(number: int, dim: int) -> SemiDiscreteProblem:
    """Atoms with a structure and masses over a decade."""
    atoms = draws(number, dim) * torch.linspace(0.2, 2, dim) + 2 * draws(5, dim, seed=1).repeat(number // 5, 1)
    masses = torch.logspace(0, -1, number, dtype=torch.float64)
    return SemiDiscreteProblem(atoms, masses=masses / masses.sum())


def surveyed(problem: SemiDiscreteProblem, heights: torch.Tensor, rows: int) -> tuple[Survey, Tally]:
    survey = Survey.empty(problem, trends(problem))
    seen = tally(problem, [heights], rows, generator(0, "survey"), noise="mirrored", runners_up=True)[0]
    survey.add(seen.races)
    return survey, seen


@pytest.mark.parametrize("number", [2, 30, 400])
def test_trends_are_orthonormal_under_the_masses_and_few(number):
    problem = uneven(number - number % 5 or 5, 20)
    smooth = trends(problem)
    inner = smooth.T @ (problem.masses[:, None] * smooth)
    torch.testing.assert_close(inner, torch.eye(len(inner), dtype=torch.float64), rtol=0, atol=1e-9)
    assert (smooth.T @ problem.masses).abs().max() < 1e-9
    assert smooth.shape[1] <= max(len(problem.masses) // 10, 1)


def test_equal_norms_and_masses_leave_trends_that_are_finite():
    atoms = torch.nn.functional.normalize(draws(200, 16), dim=1)
    smooth = trends(SemiDiscreteProblem(atoms))
    assert torch.isfinite(smooth).all() and smooth.shape[1] > 0


def test_the_leads_are_those_of_the_best_over_the_second_best():
    scores = draws(50, 40)
    race = Race(50, scores.device, runners_up=True)
    for i in (0, 15, 30):
        for first, last in ((0, 20), (20, 50)):
            race.meet(scores[first:last, i : i + 15].clone(), i, first)
    top = scores.topk(2)
    assert torch.equal(race.cell, top.indices[:, 0]) and torch.equal(race.second, top.indices[:, 1])
    assert torch.equal(race.lead, top.values[:, 0] - top.values[:, 1])


def test_the_mean_lead_is_one_over_the_slope_of_the_log_mass():
    problem, step = uneven(100, 30), 0.05
    heights = closed_form_start(problem)
    survey, seen = surveyed(problem, heights, 1_000_000)
    heavy = int(problem.masses.argmax())
    nudge = torch.zeros(100, dtype=torch.float64)
    nudge[heavy] = step * float(newton_scale(problem)[heavy])
    ahead = tally(problem, [heights + nudge], 1_000_000, generator(0, "survey"), noise="mirrored")[0]
    slope = math.log(float(ahead.counts[heavy] / seen.counts[heavy])) / float(nudge[heavy])
    tau = float(survey.leads[heavy] / survey.wins[heavy])
    # an exponential lead would give 1 exactly; leads are rounder than that, and the difference quotient adds 2.5 %: .82
    # from 4,000,000 draws, here with a standard error of .015
    assert slope * tau == pytest.approx(1, abs=0.25)


def test_the_step_along_a_trend_undoes_a_small_error_in_it():
    problem = uneven(200, 30)
    solved = SemiDiscreteSolver(chi2=0.002)(problem, seed=0).potential.heights
    smooth = trends(problem)
    error = 0.1 * float(newton_scale(problem).mean()) * smooth[:, 0]
    survey, seen = surveyed(problem, problem.centred_heights(solved) + error, 1_000_000)
    due = seen.draws * problem.masses
    step = survey.step(excess(seen.counts, due, far=False), 1.0, 0.0)
    left = (error - step) - (error - step).mean()
    # leads are not exactly exponential and tau is common to all: the step is right to about a fifth
    assert left.norm() < 0.4 * (error - error.mean()).norm()
    assert trend_chi2(seen, problem.masses, smooth, 1.0) > 0


def test_excess_is_cut_near_the_solution_and_logarithmic_far_from_it():
    counts, due = torch.tensor([0.0, 10.0, 13.0]).double(), torch.tensor([10.0, 10.0, 4.0]).double()
    assert excess(counts, due, far=False).tolist() == [-1.0, 0.0, MOST]
    torch.testing.assert_close(excess(counts, due, far=True), torch.log((counts + 0.5) / (due + 0.5)))


def test_a_cell_whose_count_cannot_be_chance_moves_by_its_logarithm():
    # 1 of 20 draws is 4.2 standard deviations too few, 47 are 6.04 too many
    counts, due = torch.tensor([1.0, 3.0, 46.0, 47.0]).double(), torch.full((4,), 20.0).double()
    assert astray(counts, due).tolist() == [True, False, False, True]
    expected = [math.log(1.5 / 20.5), -0.85, 1.3, math.log(47.5 / 20.5)]
    assert excess(counts, due, far=False).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("spread", [0.003, 0.03])
def test_near_duplicates_form_clumps_and_converge(spread):
    atoms = draws(40, 64).repeat_interleave(5, 0) + spread * draws(200, 64, seed=1)
    problem = SemiDiscreteProblem(atoms)
    clumps = near_duplicates(problem)
    assert torch.equal(clumps.labels, torch.arange(40).repeat_interleave(5))
    solution = SemiDiscreteSolver()(problem, seed=0)
    assert solution.converged
    assert solution.noises <= 400 * 200  # measured 293 N; a diagonal step alone had chi2 4 after 2048 N


def test_atoms_far_apart_form_no_clumps():
    problem = SemiDiscreteProblem(draws(200, 64) * torch.linspace(0.3, 2, 64))
    clumps = near_duplicates(problem)
    assert clumps.merged is problem and clumps.tau.abs().max() == 0


@pytest.mark.parametrize("place", [0, 1, 5])
def test_a_clump_is_seen_wherever_it_stands_in_the_order_of_the_atoms(place):
    # every eighth atom of 6,400 lies in it: 800 neighbours for each of them, 100 on average
    atoms = draws(6400, 16)
    atoms[place::8] = 3 + 1e-3 * draws(800, 16, seed=1)
    clumps = near_duplicates(SemiDiscreteProblem(torch.cat([atoms, atoms[place::8] + 1e-4])))
    assert len(clumps.merged.atoms) == 7200  # too many pairs: given up


def test_a_chain_of_neighbours_that_is_taken_apart_keeps_its_order():
    # far too long for one clump: every atom stays alone, in its own place
    chain = torch.zeros(60, 8)
    chain[:, 0] = torch.linspace(0, 1, 60)
    problem = SemiDiscreteProblem(torch.cat([chain, 5 * draws(140, 8)]))
    clumps = near_duplicates(problem)
    assert clumps.merged is problem and torch.equal(clumps.labels, torch.arange(200))
    torch.testing.assert_close(clumps.start(), closed_form_start(problem) - closed_form_start(problem).mean())


@pytest.mark.parametrize("number", [400, 1000])
def test_outliers_of_a_lognormal_norm_keep_their_cells(number):
    atoms = draws(number, 64) * draws(number, 1, seed=1).exp()
    solution = SemiDiscreteSolver()(SemiDiscreteProblem(atoms), seed=0)
    assert solution.converged and solution.certificate.empty_cells == 0
    assert solution.noises * solution.certificate.chi2 < 2 * number


def test_imbalanced_clusters_converge_at_the_cost_of_counting():
    sizes = torch.tensor([400, 150, 60, 25, 10, 4, 1])
    centres = draws(7, 64).repeat_interleave(sizes, 0)
    number = len(centres)
    solution = SemiDiscreteSolver()(SemiDiscreteProblem(centres + 0.3 * draws(number, 64, seed=1)), seed=0)
    assert solution.converged and solution.certificate.empty_cells == 0
    assert solution.noises * solution.certificate.chi2 < 2 * number
