"""A fit by several processes has the bits of one alone; one that dies, stands still or does something else ends it."""

import multiprocessing
import os
import time
from dataclasses import asdict
from datetime import timedelta

import numpy as np
import pytest
import torch

from dpmot.transport import (
    AuthorsSchedule,
    NoisyImages,
    Processes,
    SemiDiscreteProblem,
    SemiDiscreteSolver,
    certify,
    race,
    tally,
)
from dpmot.transport.closed_form import closed_form_start

LAST = 2  # rank
SOON, PATIENT = timedelta(seconds=2), timedelta(seconds=60)


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def near(number: int) -> torch.Tensor:
    """Every second atom has another one next to it."""
    y = draws(number // 2, 8)
    return torch.cat([y, y + 1e-3 * draws(number // 2, 8, seed=1)])


def problems() -> dict[str, tuple[SemiDiscreteProblem, dict]]:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (120, 1, 4, 4), dtype=np.uint8))
    flat = draws(200, 8)
    return {
        "mirrored": (SemiDiscreteProblem(flat), {}),
        "plain": (SemiDiscreteProblem(flat, source_measure="uniform"), {"noise": "plain"}),
        "recycled": (SemiDiscreteProblem(draws(150, 260)), {}),
        "structured": (SemiDiscreteProblem(flat), {"noise": "structured"}),
        "near duplicates": (SemiDiscreteProblem(near(200)), {}),
        "copies": (SemiDiscreteProblem(torch.cat([flat, flat[:50]])), {}),
        "streamed": (SemiDiscreteProblem(NoisyImages(images, 1.0, 0), memory=0), {}),
        "on a plane": (SemiDiscreteProblem(draws(60, 2)), {}),
        "authors": (SemiDiscreteProblem(flat), {"method": "authors", "schedule": AuthorsSchedule(iterations=3)}),
    }


def found(processes: Processes | None) -> dict[str, tuple]:
    """Of every problem what must be the same to the bit."""
    return {name: solved(problem, processes, **options) for name, (problem, options) in problems().items()} | {
        "certificate": looked(processes)
    }


def solved(problem: SemiDiscreteProblem, processes: Processes | None, *, resume=None, states=None, **options) -> tuple:
    def watch(seen):
        if states is not None:
            states.append(seen["state"]())

    solve = SemiDiscreteSolver(chi2=0.1, processes=processes, **options)
    solution = solve(problem, seed=0, resume=resume, callback=watch)
    facts = asdict(solution.certificate) | {"seconds": 0}
    return solution.potential.heights, facts, solution.noises, solution.history[-1], solution.reason


def looked(processes: Processes | None) -> dict:
    """A certificate by recycled noise, and over groups."""
    problem = SemiDiscreteProblem(draws(1000, 256))
    heights = problem.original_heights(closed_form_start(problem))
    return asdict(certify(problem, heights, seed=0, target=0.5, processes=processes)) | {"seconds": 0}


def same(one, other) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, tuple):
        return all(same(a, b) for a, b in zip(one, other, strict=True))
    return one == other


def refused(processes: Processes, *, callback=None, seed: int = 0) -> str:
    """What a fit in which something happens says."""
    try:
        SemiDiscreteSolver(chi2=0.01, processes=processes)(problems()["mirrored"][0], seed=seed, callback=callback)
    except RuntimeError as error:
        return str(error)
    return "nothing"


def child(rank: int, folder, shape: tuple, state: dict) -> None:
    """All that a process does in these tests; what it found is in a file of its own."""
    torch.set_num_threads(1)
    race.SHAPES = tally.SHAPES = (shape,)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=LAST + 1, timeout=PATIENT
    )
    pair, hasty = (torch.distributed.new_group([0, 1], timeout=patience) for patience in (PATIENT, SOON))
    problem, states, told = problems()["mirrored"][0], [], {}
    told["3"] = found(Processes())
    solved(problem, Processes(), states=states)
    told["state"] = states[1]
    if rank < LAST:
        told["2"] = found(Processes(pair))
        told["resumed"] = solved(problem, Processes(pair), resume=state)
        told["apart"] = refused(Processes(pair), seed=rank)
    if not rank:
        told["still"] = refused(Processes(hasty))
        (folder / "waited").touch()
    while not (folder / "waited").exists():  # process 1 stands still
        time.sleep(0.1)

    def dies(seen) -> None:
        if rank == LAST and len(alive) == 1:
            os._exit(3)
        alive.append(seen)

    alive: list = []
    told["dead"] = refused(Processes(), callback=dies)
    torch.save(told, folder / f"{rank}.pt")
    os._exit(0)  # without destroying groups whose members are dead


@pytest.fixture(scope="module")
def shape():
    return 64, 2048


@pytest.fixture(scope="module")
def alone(shape):
    """By one process, in products as small as those of the others; and a state in the midst of a fit."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (race, tally):
            patch.setattr(module, "SHAPES", (shape,))
        threads, states = torch.get_num_threads(), []
        torch.set_num_threads(1)
        solutions = found(None)
        solved(problems()["mirrored"][0], None, states=states)
        torch.set_num_threads(threads)
    return solutions, states[1]


@pytest.fixture(scope="module")
def together(tmp_path_factory, shape, alone):
    """What processes 0 and 1 found, and how the three ended."""
    folder, context = tmp_path_factory.mktemp("processes"), multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dpmot.transport"])  # torch is imported once
    children = [context.Process(target=child, args=(rank, folder, shape, alone[1])) for rank in range(LAST + 1)]
    for one in children:
        one.start()
    for one in children:
        one.join(120)
        one.kill()
    ends = [one.exitcode for one in children]
    return [torch.load(folder / f"{rank}.pt") for rank in range(LAST)], ends


@pytest.mark.slow
@pytest.mark.parametrize("number", ["2", "3"])
def test_all_processes_find_what_one_alone_finds_to_the_bit(alone, together, number):
    for told in together[0]:
        differ = [name for name, one in alone[0].items() if not same(one, told[number][name])]
        assert not differ and len(told[number]) == len(alone[0]) == 10


@pytest.mark.slow
def test_a_fit_goes_on_in_another_number_of_processes(alone, together, shape, multiply_in):
    multiply_in(*shape)
    whole = alone[0]["mirrored"]
    assert all(same(whole[:3], told["resumed"][:3]) for told in together[0])
    again = solved(problems()["mirrored"][0], None, resume=together[0][0]["state"])
    assert same(whole[:3], again[:3])


@pytest.mark.slow
def test_a_process_that_dies_ends_the_others_with_its_number(together):
    told, ends = together
    assert ends == [0, 0, 3]
    for rank in range(LAST):
        assert f"Process {rank + 1} of 3 waits for one that is gone" in told[rank]["dead"]


@pytest.mark.slow
def test_a_process_that_stands_still_is_waited_for_as_long_as_the_group_says(together):
    assert "Process 1 of 2 waits for one that is gone or stands still" in together[0][0]["still"]


@pytest.mark.slow
def test_processes_that_fit_different_things_say_so(together):
    assert all("would count different draws" in told["apart"] for told in together[0])


def test_processes_need_a_group():
    with pytest.raises(ValueError, match="init_process_group"):
        Processes()
    with pytest.raises(ValueError, match="give a Processes"):
        SemiDiscreteSolver(processes=3)


def test_a_group_of_one_finds_the_same(tmp_path, shape, multiply_in):
    multiply_in(*shape)
    problem = problems()["recycled"][0]
    alone = solved(problem, None), looked(None)
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        one = solved(problem, Processes()), looked(Processes())
        with pytest.raises(
            ValueError, match=r"^The atoms are on meta, and the group of the fit speaks between cpu:gloo"
        ):
            Processes().agree([torch.empty(3, device="meta")])
    finally:
        torch.distributed.destroy_process_group()
    assert same(one, alone)
