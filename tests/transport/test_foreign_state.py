"""Fits, maps, recipes and starts have the same bits whatever the caller set for all code, and leave it as it was."""

import contextlib

import numpy as np
import pytest
import torch

from dpmot.diffusion.sigmas import edm_chain
from dpmot.starts import Setting, copy, fresh_noise, gaussian, prior, transport
from dpmot.transport import BrenierPotential, NoisyImages, SemiDiscreteProblem, SemiDiscreteSolver, SmoothedPotential

ROWS = list(range(20))


def numbers(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape, dtype=np.float32))


IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (30, 1, 4, 4), dtype=np.uint8))
LABELS = torch.from_numpy(np.arange(30) % 3)
NARROW, FLAT, WIDE, HEIGHTS, X = numbers(60, 16), numbers(30, 2), numbers(40, 300), numbers(60, seed=1), numbers(99, 16)


def everything() -> list[torch.Tensor]:
    """What the public functions give, of every method and kind of noise."""
    found, states = [], []
    for atoms in (NARROW, FLAT, WIDE, torch.cat([NARROW, NARROW[:9]])):
        solution = SemiDiscreteSolver(chi2=0.1)(
            SemiDiscreteProblem(atoms), seed=0, callback=lambda seen: states.append(seen["state"])
        )
        found += [solution.potential.heights, torch.from_numpy(np.array([solution.certificate.high]))]
    problem = SemiDiscreteProblem(NARROW, source_measure="uniform")
    found.append(SemiDiscreteSolver(chi2=0.1)(problem, seed=0, heights=HEIGHTS).potential.heights)
    found.append(SemiDiscreteSolver(method="authors", max_noises=1200)(problem, seed=0).potential.heights)
    potential = BrenierPotential(NARROW, HEIGHTS)
    found += [potential(X), potential.cell(X), potential.cells(X, 3), potential.transport(X)]
    found += [SmoothedPotential(potential, 0.5, k).transport(X) for k in (None, 3)]
    recipe = NoisyImages(IMAGES, 1.0, 0)
    found += [recipe[ROWS], recipe.rows(LABELS), SemiDiscreteProblem(recipe, memory=0).norms]
    setting = Setting(edm_chain(), IMAGES, 0.7, 0, HEIGHTS[:30], labels=LABELS)
    starts = [start.Start(setting) for start in (prior, copy, fresh_noise, gaussian, transport)]
    starts += [transport.Start(setting, singular="smooth", tau=0.5), transport.Start(setting, heights="zero")]
    for start in starts:
        points = start(ROWS)
        found += [points.x, points.labels]
    return [one.clone() for one in found]


@pytest.fixture(scope="module")
def ordinary():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield everything()
    torch.set_num_threads(threads)


@contextlib.contextmanager
def switched(switch, value, back):
    switch(value)
    try:
        yield
    finally:
        switch(back)


MODES = {
    "float64": lambda: switched(torch.set_default_dtype, torch.float64, torch.float32),
    "bfloat16": lambda: switched(torch.set_default_dtype, torch.bfloat16, torch.float32),
    "device": lambda: switched(torch.set_default_device, "meta", None),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "inference": torch.inference_mode,
    "deterministic": lambda: switched(torch.use_deterministic_algorithms, True, False),
    "precision": lambda: switched(torch.set_float32_matmul_precision, "medium", "highest"),
    "numpy": lambda: np.errstate(all="raise"),
}


def state():
    return (
        torch.get_default_dtype(), torch.get_num_threads(), torch.get_float32_matmul_precision(),
        torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"),
        torch.get_rng_state().numpy().tobytes(), np.random.get_state()[1].tobytes(), np.geterr(),
    )  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
def test_nothing_depends_on_what_the_caller_set_and_nothing_is_set(ordinary, mode):
    with MODES[mode]():
        before = state()
        found = everything()
        assert state() == before
    assert [one.dtype for one in found] == [one.dtype for one in ordinary]
    assert [k for k, (a, b) in enumerate(zip(found, ordinary, strict=True)) if not torch.equal(a, b)] == []
    assert not any(one.is_inference() or one.requires_grad for one in found) or mode == "inference"


def test_a_caller_that_draws_numbers_draws_the_same_ones():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    SemiDiscreteSolver(chi2=0.1)(SemiDiscreteProblem(FLAT), seed=0)
    assert torch.equal(torch.rand(3), expected)


def test_a_potential_is_differentiable_where_the_caller_records_gradients():
    potential, x = BrenierPotential(NARROW, HEIGHTS), X[:5].clone().requires_grad_()
    (slope,) = torch.autograd.grad(potential(x).sum(), x)
    assert torch.equal(slope, potential.transport(x))
