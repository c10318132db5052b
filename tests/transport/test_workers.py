"""Threads side by side: the same counts as one after the other, and the process as it was."""

import os
import time

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from dpmot.transport import BrenierPotential, SemiDiscreteProblem, SemiDiscreteSolver
from dpmot.transport.noise import KINDS
from dpmot.transport.tally import tally
from dpmot.transport.workers import side_by_side

CPU = torch.device("cpu")


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def blas_threads() -> set[int]:
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}


@pytest.mark.parametrize("noise", KINDS)
def test_counts_do_not_depend_on_the_number_of_threads(threads, rounds, noise):
    y = torch.randn(700, 300, generator=torch.Generator().manual_seed(0))
    problem, found = SemiDiscreteProblem(y), []
    for number in (1, 2, 3):
        threads(number)
        found.append(tally(problem, [torch.zeros(700)], 6000, np.random.default_rng(0), noise=noise, rough=True)[0])
    assert all(torch.equal(one.counts, found[0].counts) for one in found)
    assert all(torch.equal(one.together, found[0].together) for one in found)


@pytest.mark.parametrize("number", [1, 2])
def test_products_run_on_one_core_each_and_the_settings_come_back(threads, number):
    threads(number)
    before = blas_threads()
    with side_by_side(CPU) as team, side_by_side(CPU) as inner:
        assert inner is team and team.threads == number and blas_threads() == {1}
        assert list(team.over(lambda a, b: (a + b, torch.get_num_threads()), [1, 2, 3], [4, 5, 6])) == [
            (5, 1),
            (7, 1),
            (9, 1),
        ]
    assert torch.get_num_threads() == number and blas_threads() == before
    with pytest.raises(ZeroDivisionError), side_by_side(CPU) as team:
        list(team.over(lambda a: 1 // a, [1, 0]))
    assert torch.get_num_threads() == number and blas_threads() == before


def test_results_come_in_order_and_an_error_of_the_arguments_is_the_callers(threads):
    threads(2)

    def late(k: int) -> int:
        time.sleep(0.05 * (k == 0))
        return k

    def broken():
        yield 1
        raise OSError("no disk")

    with side_by_side(CPU) as team:
        assert list(team.over(late, range(9))) == list(range(9))
        with pytest.raises(OSError, match="no disk"):
            list(team.over(late, broken()))


def test_another_device_has_a_team_of_its_own():
    with side_by_side(CPU) as team, side_by_side(torch.device("meta")) as other, side_by_side(CPU) as again:
        assert other is not team and again.scratch.device == CPU


@pytest.mark.parametrize("number", [1, 2])
def test_a_callback_may_map_in_a_fit_in_whatever_mode_and_break_it_off(threads, number):
    threads(number)
    problem = SemiDiscreteProblem(torch.randn(300, 8, generator=torch.Generator().manual_seed(1)))
    x, potential = torch.randn(700, 8), BrenierPotential(problem.atoms, torch.zeros(300))
    expected, alone = potential.cell(x), SemiDiscreteSolver(chi2=0.1)(problem, seed=0)

    def maps(seen: dict) -> None:
        with torch.inference_mode():
            assert torch.equal(potential.cell(x), expected)
        assert torch.equal(potential.cell(x), expected)

    def breaks(seen: dict) -> None:
        raise KeyboardInterrupt

    solution = SemiDiscreteSolver(chi2=0.1)(problem, seed=0, callback=maps)
    assert torch.equal(solution.potential.heights, alone.potential.heights)
    before = blas_threads()
    with pytest.raises(KeyboardInterrupt):
        SemiDiscreteSolver(chi2=0.1)(problem, seed=0, callback=breaks)
    assert torch.get_num_threads() == number and blas_threads() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_process_forked_inside_has_a_team_of_its_own(threads):
    threads(2)
    with side_by_side(CPU) as team:
        child = os.fork()
        if not child:
            with side_by_side(CPU) as other:
                os._exit(0 if other is not team else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_map_and_a_fit_work_in_inference_mode_too(threads):
    threads(2)
    y = torch.randn(50, 8, generator=torch.Generator().manual_seed(1))
    x, potential = torch.randn(300, 8), BrenierPotential(y, torch.zeros(50))
    outside = potential.cell(x)
    with torch.inference_mode():
        assert torch.equal(potential.cell(x), outside)
        assert SemiDiscreteSolver(chi2=0.1)(SemiDiscreteProblem(y), seed=0).converged
