"""Flow matching: Euler's method in its own time is DDIM on the flow grid, and its noise end is where samples start."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import norm

from baselines import ddim
from dpmot.diffusion.denoiser import MixtureDenoiser
from dpmot.diffusion.network import NetworkDenoiser
from dpmot.diffusion.networks import flow
from dpmot.diffusion.sigmas import flow_chain

pytestmark = pytest.mark.usefixtures("one_thread")
torch.manual_seed(0)
EXACT = MixtureDenoiser(torch.tensor([[-0.6, 0.2], [0.5, 0.5], [0.1, -0.7]], dtype=torch.float64), 0.15)
NOISE = torch.randn(50, 2, dtype=torch.float64)


def velocity(x, t):
    """eps - x0 of (x_t, t) by the exact denoiser."""
    wide, sigma = t.reshape(-1, 1), t / (1 - t)
    x0 = EXACT(x / (1 - wide), sigma)
    return (x - x0) / wide


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
@pytest.mark.parametrize("sigma_max", [999.0, 1e4, 1e5])
def test_eulers_method_in_flow_time_is_ddim_on_the_flow_grid(steps, sigma_max):
    parametrisation = flow.Parametrisation(sigma_max=sigma_max)
    sigmas = torch.from_numpy(parametrisation.chain.grid(steps, sigma_max).copy())
    times = sigmas / (1 + sigmas)
    x = times[0] * NOISE
    for t, to in pairwise(times):
        x = x + (to - t) * velocity(x, t.expand(len(x)))
    through_sigmas = ddim.sample(NetworkDenoiser(parametrisation, velocity), sigma_max * NOISE, sigmas)
    torch.testing.assert_close(through_sigmas, x, rtol=0, atol=1e-10)  # sigma_max times float64's last bit is 2e-11
    assert torch.equal(times.diff().sign(), -torch.ones(steps, dtype=torch.float64))
    # equal steps in t, but for sigma_max's own rounding
    torch.testing.assert_close(times.diff(), (-times[0] / steps).expand(steps), rtol=1e-9, atol=0)


def test_the_chain_begins_at_sigma_max_above_its_equal_steps_in_time():
    chain = flow_chain(num_levels=8, sigma_max=1e5)
    np.testing.assert_allclose(chain.sigmas[1:], flow_chain(num_levels=8).sigmas, rtol=0)
    assert chain.sigmas[0] == chain.sigma_max == chain.prior_std == 1e5 and chain.sigma_min == 1 / 7
    assert flow_chain(num_levels=8, sigma_max=7).sigmas.tolist() == flow_chain(num_levels=8).sigmas.tolist()
    for wrong in (6.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="finite and at least num_levels - 1 = 7"):
            flow_chain(num_levels=8, sigma_max=wrong)


@pytest.mark.parametrize("sigma_max", [1e4, 1e5, 1e6])
def test_in_float32_a_large_sigma_max_costs_no_digits(sigma_max):
    parametrisation = flow.Parametrisation(sigma_max=sigma_max)
    sigma = torch.full((50,), sigma_max, dtype=torch.float64)
    seen = []

    def model(x, t):
        seen.append((x, t))
        return torch.tanh(x)

    exact = parametrisation.denoise(model, sigma_max * NOISE, sigma)
    found = parametrisation.denoise(model, (sigma_max * NOISE).float(), sigma.float())
    (at, time), (at_32, time_32) = seen
    # numbers of order 3, a few roundings of 6e-8 each
    torch.testing.assert_close(at_32.double(), at, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=2e-6)
    torch.testing.assert_close(time_32.double(), time, rtol=0, atol=6e-8)
    assert (time_32 < 1).all()


@pytest.mark.parametrize("sigma", [300.0, 1e4, 1e5])
def test_the_share_of_prior_draws_in_the_gaps_of_a_coupling_is_its_correlation_with_the_noise_over_sigma(sigma):
    """In one dimension the map to sorted points is known, and so are its gaps: y_k to y_k+1 at each wall."""
    y = torch.sort(torch.randn(40, dtype=torch.float64, generator=torch.Generator().manual_seed(1))).values.numpy()
    walls = norm.ppf(np.arange(1, 40) / 40)
    gaps = norm.cdf(walls + y[1:] / sigma) - norm.cdf(walls + y[:-1] / sigma)
    cells = np.concatenate([[-np.inf], walls, [np.inf]])
    correlation = (y * (norm.pdf(cells[:-1]) - norm.pdf(cells[1:]))).sum()  # E<eps, T(eps)>
    assert gaps.sum() == pytest.approx(correlation / sigma, rel=5 / sigma + 1e-9)  # the next order in 1 / sigma
    assert correlation <= y.std()  # tr C^(1/2)


def test_training_reaches_the_level_where_samples_start():
    parametrisation = flow.Parametrisation()
    u = torch.tensor([0.0, 0.5, 1 - 2**-24])
    assert parametrisation.level(u).tolist() == pytest.approx([1 / 999, 1.0, 1e5], rel=1e-2)
