"""DDPM, DDIM and Heun against the schedulers of diffusers, in float64 on an analytic denoiser.

Their tables are float32; cast to float64 and built anew from the betas, they must agree with ours relative to the
samples' size. Their samples live in variance-preserving units, x_t = x / sqrt(1 + sigma^2).
"""

import pytest
import torch

from baselines import ddim, ddpm, edm
from dpmot import seeds
from dpmot.diffusion.denoiser import MixtureDenoiser
from dpmot.diffusion.sigmas import ddpm_chain, karras

scheduling_ddpm = pytest.importorskip("diffusers.schedulers.scheduling_ddpm")
scheduling_ddim = pytest.importorskip("diffusers.schedulers.scheduling_ddim")
scheduling_heun = pytest.importorskip("diffusers.schedulers.scheduling_heun_discrete")

pytestmark = pytest.mark.usefixtures("one_thread")
# Found: rounding, below 1e-13, except 1.4e-10 for the small variance, which they clamp at 1e-20 in the last step
# where ours draws no noise at all. The project asks for 1e-6.
AGREEMENT = 1e-9
torch.manual_seed(0)
DENOISER = MixtureDenoiser(torch.randn(4, 3, dtype=torch.float64), 0.3)
START = torch.randn(16, 3, dtype=torch.float64)  # x_T, in variance-preserving units


def noise(step):
    return seeds.normal(seeds.sample_seeds(0, 16), (3,), "step", step).double()


def in_float64(scheduler, levels, steps):
    """The scheduler on the trailing timesteps T, T - T/n, ..., T/n of our grid, its tables rebuilt in float64."""
    count = len(levels)
    betas = torch.linspace(1e-4, 0.02, count, dtype=torch.float64)
    scheduler.alphas_cumprod, scheduler.one = torch.cumprod(1 - betas, 0), torch.tensor(1.0, dtype=torch.float64)
    scheduler.final_alpha_cumprod = scheduler.one
    scheduler.set_timesteps(steps)
    assert [int(t) for t in scheduler.timesteps] == [count - i * count // steps - 1 for i in range(steps)]
    return scheduler


def run(scheduler, levels, step_options):
    x = START
    for i, t in enumerate(scheduler.timesteps):
        sigma = levels[t]
        scale = (1 + sigma**2).sqrt()
        eps = (x * scale - DENOISER(x * scale, sigma)) / sigma
        x = scheduler.step(eps, int(t), x, **step_options(i)).prev_sample
    return x


def relative(found, expected):
    return ((found - expected).abs().max() / expected.abs().max()).item()


def chain_and_start(count):
    chain = ddpm_chain(num_levels=count)
    return chain, torch.from_numpy(chain.levels), START * chain.prior_std


@pytest.mark.parametrize("steps", [5, 10, 50])
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_ddim_agrees_with_diffusers(steps, eta):
    chain, levels, x = chain_and_start(1000)
    theirs = scheduling_ddim.DDIMScheduler(
        1000, 1e-4, 0.02, "linear", clip_sample=False, set_alpha_to_one=True, timestep_spacing="trailing"
    )
    expected = run(in_float64(theirs, levels, steps), levels, lambda i: {"eta": eta, "variance_noise": noise(i)})
    found = ddim.sample(DENOISER, x, torch.from_numpy(chain.grid(steps, chain.sigma_max)), noise=noise, eta=eta)
    assert relative(found, expected) < AGREEMENT


def ancestral(levels, steps, variance, monkeypatch):
    step = []  # their noise comes from a generator: hand out ours instead, in the same order
    monkeypatch.setattr(scheduling_ddpm, "randn_tensor", lambda *shape, **options: noise(step[-1]))
    theirs = scheduling_ddpm.DDPMScheduler(
        len(levels),
        1e-4,
        0.02,
        "linear",
        variance_type=f"fixed_{variance}",
        clip_sample=False,
        timestep_spacing="trailing",
    )
    return run(in_float64(theirs, levels, steps), levels, lambda i: step.append(i) or {})


@pytest.mark.parametrize("steps", [5, 10, 50])
def test_ddpm_with_the_small_variance_agrees_with_diffusers(steps, monkeypatch):
    chain, levels, x = chain_and_start(1000)
    expected = ancestral(levels, steps, "small", monkeypatch)
    found = ddpm.sample(DENOISER, x, torch.from_numpy(chain.grid(steps, chain.sigma_max)), noise=noise)
    assert relative(found, expected) < AGREEMENT


def test_ddpm_with_the_large_variance_agrees_with_diffusers_on_the_full_chain(monkeypatch):
    chain, levels, x = chain_and_start(60)
    expected = ancestral(levels, 60, "large", monkeypatch)
    found = ddpm.sample(DENOISER, x, torch.from_numpy(chain.sigmas.copy()), noise=noise, variance="large")
    assert relative(found, expected) < AGREEMENT


def test_on_a_short_grid_diffusers_adds_large_variance_noise_even_after_the_last_step(monkeypatch):
    # A difference of definition: their last step is noiseless only at t = 1 of the chain, ours wherever sigma is 0.
    chain, levels, x = chain_and_start(1000)
    expected = ancestral(levels, 10, "large", monkeypatch)
    found = ddpm.sample(DENOISER, x, torch.from_numpy(chain.grid(10, chain.sigma_max)), noise=noise, variance="large")
    abar = 1 / (1 + levels[99] ** 2)
    assert relative(found + (1 - abar).sqrt() * noise(9), expected) < AGREEMENT


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("steps", [3, 10, 18])
def test_heun_agrees_with_diffusers_and_spends_as_many_evaluations(steps):
    sigmas = torch.from_numpy(karras(steps, 80.0, 0.002))
    theirs, calls = scheduling_heun.HeunDiscreteScheduler(), []
    theirs.set_timesteps(steps)
    theirs.sigmas = torch.cat([sigmas[:1], sigmas[1:-1].repeat_interleave(2), sigmas[-1:]])
    theirs.set_begin_index(0)
    x = 80 * START
    for i, t in enumerate(theirs.timesteps):
        sigma = sigmas[(i + 1) // 2]  # sigma_0, sigma_1, sigma_1, sigma_2, sigma_2, ...
        calls.append(sigma)
        x = theirs.step((x - DENOISER(x, sigma)) / sigma, t, x).prev_sample
    assert len(calls) == 2 * steps - 1 and edm.num_steps(len(calls)) == steps
    assert relative(edm.sample(DENOISER, 80 * START, sigmas), x) < AGREEMENT
