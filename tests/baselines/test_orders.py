"""The global error of every solver falls with the number of steps at its stated order, on a Gaussian mixture.

The truth is a very fine run of the probability-flow ODE. Grids end above 0, where each method takes its full order. Far
out the denoiser is switched off smoothly: trajectories are straight there, so that the steps of lower order with which
multistep methods begin are exact, and what is seen is the method's own order.
"""

import math

import numpy as np
import pytest
import torch

from baselines import ddim, deis, dpm_solver, dpm_solver_pp, edm, ipndm, unipc
from dpmot.diffusion.denoiser import MixtureDenoiser
from dpmot.diffusion.sigmas import geometric, polynomial, quadratic

pytestmark = pytest.mark.usefixtures("one_thread")
torch.manual_seed(0)
MIXTURE = MixtureDenoiser(torch.randn(3, 2, dtype=torch.float64), 0.6)
HIGH, LOW, OFF = 30.0, 0.1, 20.0
START = HIGH * torch.randn(8, 2, dtype=torch.float64)


def DENOISER(x, sigma):
    """The mixture's denoiser times exp(-u^2 / (1 - u^2)), u = sigma / OFF: 0 from OFF on, with all derivatives."""
    u2 = min(float(sigma) / OFF, 1.0) ** 2
    return MIXTURE(x, sigma) * (math.exp(-u2 / (1 - u2)) if u2 < 1 else 0.0)


GRIDS = {
    "log-SNR": lambda n: geometric(n + 1, HIGH, LOW),
    "quadratic": lambda n: quadratic(n + 1, HIGH, LOW),
    "uniform": lambda n: polynomial(n + 1, HIGH, LOW, rho=1),
}


def grid(name, n):
    """n steps from HIGH to LOW; the last one to 0 is left out."""
    return torch.from_numpy(GRIDS[name](n)[:-1])


@pytest.fixture(scope="module")
def truth():
    return dpm_solver.sample(DENOISER, START, grid("log-SNR", 8000), order=3)


SOLVERS = {
    "DDIM": (ddim.sample, {}, "log-SNR", 1),
    "Euler": (edm.sample, {"correct": False}, "log-SNR", 1),
    "Heun": (edm.sample, {}, "log-SNR", 2),
    "DPM-Solver-1": (dpm_solver.sample, {"order": 1}, "log-SNR", 1),
    "DPM-Solver-2": (dpm_solver.sample, {"order": 2}, "log-SNR", 2),
    "DPM-Solver-3": (dpm_solver.sample, {"order": 3}, "log-SNR", 3),
    "DPM-Solver++(1)": (dpm_solver_pp.sample, {"order": 1}, "log-SNR", 1),
    "DPM-Solver++(2M)": (dpm_solver_pp.sample, {"order": 2}, "log-SNR", 2),
    "DPM-Solver++(3M)": (dpm_solver_pp.sample, {"order": 3}, "log-SNR", 2),  # see dpm_solver_pp.py
    "DPM-Solver++(3M), Taylor": (dpm_solver_pp.sample, {"order": 3, "taylor": True}, "log-SNR", 3),
    "UniP-2": (unipc.sample, {"order": 2, "correct": False}, "log-SNR", 2),
    "UniP-3": (unipc.sample, {"order": 3, "correct": False}, "log-SNR", 3),
    "UniPC-1": (unipc.sample, {"order": 1}, "log-SNR", 2),
    "UniPC-2": (unipc.sample, {"order": 2}, "log-SNR", 3),
    "UniPC-3": (unipc.sample, {"order": 3}, "log-SNR", 4),
    "DEIS tAB0": (deis.sample, {"order": 1}, "quadratic", 1),
    "DEIS tAB1": (deis.sample, {"order": 2}, "quadratic", 2),
    "DEIS tAB2": (deis.sample, {"order": 3}, "quadratic", 3),
    "DEIS tAB3": (deis.sample, {"order": 4}, "quadratic", 4),
    "DEIS log sigma 3": (deis.sample, {"order": 3, "variable": "log_sigma"}, "log-SNR", 3),
    "DEIS sigma 2": (deis.sample, {"order": 2, "variable": "sigma"}, "log-SNR", 2),
    "iPNDM-1": (ipndm.sample, {"order": 1}, "uniform", 1),
    "iPNDM-2": (ipndm.sample, {"order": 2}, "uniform", 2),
    "iPNDM-3": (ipndm.sample, {"order": 3}, "uniform", 3),
    "iPNDM-4": (ipndm.sample, {"order": 4}, "uniform", 4),
}


def slope(sample, options, name, truth, steps):
    errors = [(sample(DENOISER, START, grid(name, n), **options) - truth).abs().max().item() for n in steps]
    return np.log2(errors[0] / errors[1]), errors[1]


@pytest.mark.parametrize("name", SOLVERS)
def test_the_error_falls_at_the_stated_order(name, truth):
    sample, options, family, order = SOLVERS[name]
    steps = (1600, 3200) if family == "uniform" else (320, 640)
    found, error = slope(sample, options, family, truth, steps)
    assert found == pytest.approx(order, abs=0.25) and error < 0.1, (found, error)
