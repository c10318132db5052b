"""The authors' Adam: steps, schedule and stop rule as their code has them."""

import itertools
import math

import pytest
import torch

from dpmot.seeds import generator
from dpmot.transport import SemiDiscreteProblem, SemiDiscreteSolver
from dpmot.transport.authors import AuthorsSchedule, fit
from dpmot.transport.ledger import Ledger
from dpmot.transport.tally import tally

TWO = torch.tensor([[1.0, 0.0], [-1.0, 0.5]])


def run(problem, schedule, budget=10**9):
    ledger = Ledger(budget)
    heights, reason = fit(problem, seed=0, ledger=ledger, schedule=schedule)
    return heights, reason, ledger


def test_two_steps_match_adam_by_hand_without_bias_correction():
    problem = SemiDiscreteProblem(torch.cat([TWO, torch.tensor([[3.0, 1.0]])]))
    heights, m, v = torch.zeros(3, dtype=torch.float64), 0.0, 0.0
    for k in range(2):
        seen = tally(problem, [heights], 30, generator(0, "transport", "authors", k), noise="plain")[0]
        g = seen.counts / 30 - 1 / 3
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        heights = heights - 0.1 * m / (v.sqrt() + 1e-8)
        heights = heights - heights.mean()
    found, reason, ledger = run(problem, AuthorsSchedule(iterations=2))
    torch.testing.assert_close(found, heights, rtol=1e-12, atol=1e-12)
    assert ledger.noises == 60 and "in 2 iterations, their rule asks for 0.0008" in reason


def test_the_rule_fires_where_the_noise_allows_it_and_never_below_its_floor():
    easy = run(SemiDiscreteProblem(TWO), AuthorsSchedule(noises_per_atom=2000, gradient=0.02))
    assert easy[1] is None
    # 30 noises give shares in steps of 1/30: none is within .01 of these masses
    problem = SemiDiscreteProblem(torch.cat([TWO, torch.tensor([[0.0, 2.0]])]), masses=torch.tensor([0.35, 0.35, 0.3]))
    assert run(problem, AuthorsSchedule(iterations=50))[1] is not None


def test_a_stall_doubles_the_noises_and_only_so_often():
    problem = SemiDiscreteProblem(TWO)
    schedule = AuthorsSchedule(iterations=40, patience=1, stalls=2, gradient=1e-12, learning_rate=1e-9)
    noises = [n for n, _ in run(problem, schedule)[2].history]
    spent = {b - a for a, b in itertools.pairwise(noises)}
    assert spent == {20, 40, 80}


def test_the_solver_offers_it_and_says_when_the_budget_ended_it():
    problem = SemiDiscreteProblem(torch.randn(30, 8, generator=torch.Generator().manual_seed(0)))
    one, other = (SemiDiscreteSolver(method="authors", max_noises=3000)(problem, seed=1) for _ in range(2))
    assert one.noises == 3000 and not one.converged
    assert "budget of 3000 noises was spent" in one.reason
    assert torch.equal(one.potential.heights, other.potential.heights)
    fast = SemiDiscreteSolver(method="authors", max_noises=3000, schedule=AuthorsSchedule(learning_rate=20))
    assert fast(problem, seed=1).potential.heights.norm() > 50 * one.potential.heights.norm()


@pytest.mark.parametrize(
    "bad", [{"learning_rate": 0.0}, {"iterations": -1}, {"gradient": math.nan}, {"stalls": -1}, {"iterations": 1.5}]
)
def test_a_schedule_that_is_not_positive_is_refused(bad):
    with pytest.raises(ValueError, match=r"in the authors' schedule; give a (positive|whole) number"):
        AuthorsSchedule(**bad)


def test_an_unknown_method_names_those_there_are():
    with pytest.raises(ValueError, match="Method \"adam\" is unknown; choose 'auto', "):
        SemiDiscreteSolver(method="adam")
    with pytest.raises(ValueError, match='"newton" takes d <= 3'):
        SemiDiscreteSolver(method="newton")(SemiDiscreteProblem(torch.randn(5, 8)), seed=0)
