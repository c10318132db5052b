"""Samplers where everything is known: data N(mean, s^2), whose exact denoiser is linear.

The probability-flow ODE then has the solution x(sigma) - mean = (x(sigma_0) - mean) sqrt((s^2 + sigma^2) / (s^2 +
sigma_0^2)), and every sampler is an affine map of the start and its noises, so its output variance can be computed.
"""

import numpy as np
import pytest
import torch

from baselines import ddim, ddpm, dpm_solver_pp, edm, restart
from dpmot.diffusion.denoiser import MixtureDenoiser
from dpmot.diffusion.sigmas import karras

pytestmark = pytest.mark.usefixtures("one_thread")
MEAN, S, SIGMA = 0.3, 0.5, 4.0
GAUSSIAN = MixtureDenoiser(torch.tensor([[MEAN]], dtype=torch.float64), S)
STARTS = torch.linspace(-3, 3, 7, dtype=torch.float64)[:, None] * SIGMA


def uniform(n):
    """n equal steps from SIGMA to 0: every step shrinks with n, as a measured order needs."""
    return torch.linspace(SIGMA, 0, n + 1, dtype=torch.float64)


def error(sample, n):
    exact = MEAN + (STARTS - MEAN) * S / np.sqrt(S**2 + SIGMA**2)
    return (sample(GAUSSIAN, STARTS.clone(), uniform(n)) - exact).abs().max().item()


@pytest.mark.parametrize(("sample", "order"), [(ddim.sample, 1), (edm.sample, 2)], ids=["euler", "heun"])
def test_the_error_falls_with_the_order_of_the_method(sample, order):
    steps = np.array([80, 160, 320, 640])
    errors = [error(sample, n) for n in steps]
    slopes = -np.diff(np.log(errors)) / np.log(2)
    assert errors[-1] < 0.02**order
    np.testing.assert_allclose(slopes[-1], order, atol=0.05)  # the next term of the expansion, O(1/n) of the slope
    assert abs(slopes[-1] - order) < abs(slopes[0] - order) + 1e-3


def output_variance(sample, sigmas, **options):
    """Exact variance of the output: the squared responses to the start and to the noise of every step, summed."""
    n = len(sigmas) - 1
    unit = torch.eye(n + 1, dtype=torch.float64)[:, :, None]  # row j excites input j: the start, then each noise
    centred = MixtureDenoiser(torch.zeros(1, 1, dtype=torch.float64), S)
    start = unit[:, 0] * (S**2 + float(sigmas[0]) ** 2) ** 0.5
    response = sample(centred, start, sigmas, noise=lambda i: unit[:, i + 1], **options)
    return response.square().sum().item()


STOCHASTIC = {
    "ddpm small": (ddpm.sample, {"variance": "small"}),
    "ddpm large": (ddpm.sample, {"variance": "large"}),
    "ddim eta 0": (ddim.sample, {"eta": 0.0}),
    "ddim eta 0.5": (ddim.sample, {"eta": 0.5}),
    "ddim eta 1": (ddim.sample, {"eta": 1.0}),
}


@pytest.mark.parametrize("name", STOCHASTIC)
def test_with_many_steps_the_output_has_the_variance_of_the_data(name):
    sample, options = STOCHASTIC[name]
    errors = []
    for n in (50, 100, 200):
        sigmas = torch.from_numpy(karras(n, SIGMA, 0.002))
        errors.append(abs(output_variance(sample, sigmas, **options) / S**2 - 1))
    assert errors[-1] < 0.05
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.2) and errors[1] / errors[2] == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize(
    ("sample", "options"),
    [
        (edm.sample, {"churn": 20.0, "churn_noise": 1.0}),
        (dpm_solver_pp.sample, {"sde": True}),
        (restart.sample, {"high": 2.0, "inner": 30}),
        (restart.sample, {"restarts": 3, "low": 0.5, "high": 2.0, "inner": 30}),
    ],
    ids=["churn", "SDE-2M", "restart", "restarts in the middle"],
)
def test_the_stochastic_methods_of_higher_order_end_with_the_variance_of_the_data(sample, options):
    sigmas = torch.from_numpy(karras(100, SIGMA, 0.002))
    assert output_variance(sample, sigmas, **options) == pytest.approx(S**2, rel=0.01)


def test_restarts_forget_an_error_that_the_flow_would_keep():
    # with the noise held at 0 the flow from high to low multiplies an error by sqrt((s^2 + low^2) / (s^2 + high^2))
    grid = torch.from_numpy(karras(60, SIGMA, 0.002))
    still = {"noise": lambda k: torch.zeros(1, 1, dtype=torch.float64)}
    low, high = float(grid[40]), 2.0
    one, other = torch.tensor([[1.0]], dtype=torch.float64), torch.tensor([[2.0]], dtype=torch.float64)
    for restarts in (1, 2):
        found = [
            restart.sample(GAUSSIAN, x, grid, restarts=restarts, inner=60, low=low, high=high, **still)
            for x in (one, other)
        ]
        plain = [edm.sample(GAUSSIAN, x, grid) for x in (one, other)]
        kept = ((found[1] - found[0]) / (plain[1] - plain[0])).item()
        assert kept == pytest.approx(((S**2 + low**2) / (S**2 + high**2)) ** (restarts / 2), rel=0.01)


def test_one_stochastic_step_has_the_variance_of_the_posterior():
    # q(x_1 | x_0 data point, x_s) has variance to^2 (s^2 - to^2) / s^2; data at one point, so that D is exact
    point = MixtureDenoiser(torch.zeros(1, 1, dtype=torch.float64), 1e-12)
    sigmas = torch.tensor([2.0, 0.5], dtype=torch.float64)  # stops at 0.5, before the last step
    noise = torch.ones(1, 1, dtype=torch.float64)
    zero = torch.zeros(1, 1, dtype=torch.float64)
    expected = 0.5**2 * (2**2 - 0.5**2) / 2**2
    for sample, options in ((ddpm.sample, {}), (ddim.sample, {"eta": 1.0})):
        found = sample(point, zero, sigmas, noise=lambda i: noise, **options)
        assert found.item() ** 2 == pytest.approx(expected, rel=1e-12)
    large = ddpm.sample(point, zero, sigmas, noise=lambda i: noise, variance="large")
    assert large.item() ** 2 == pytest.approx((1 + 0.5**2) * (2**2 - 0.5**2) / (1 + 2**2), rel=1e-12)


def test_ancestral_sampling_of_a_single_point_keeps_the_marginal_of_every_level():
    # from x ~ N(0, sigma_0^2), each x_i must be N(0, sigma_i^2): the definition of the posterior
    point = MixtureDenoiser(torch.zeros(1, 1, dtype=torch.float64), 1e-12)
    sigmas = torch.from_numpy(karras(12, SIGMA, 0.01))
    unit = torch.eye(13, dtype=torch.float64)[:, :, None]
    variances = []
    ddpm.sample(
        point,
        unit[:, 0] * SIGMA,
        sigmas,
        noise=lambda i: unit[:, i + 1],
        callback=lambda i, x, denoised: variances.append(x.square().sum().item()),
    )
    np.testing.assert_allclose(variances, sigmas[:-1].square(), rtol=1e-12)
