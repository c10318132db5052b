"""The variance of D along a sampler's way, against closed forms, and without a trace in the samples."""

import numpy as np
import pytest
import torch

from dpmot.diffusion import metering
from dpmot.diffusion.sigmas import karras
from dpmot.diffusion.trajectory import Spread

pytestmark = pytest.mark.usefixtures("one_thread")
STD = 0.6
SIGMAS = torch.from_numpy(karras(8, 20.0, 0.02))


class Gaussian:
    """The denoiser of N(0, STD^2 I): D(x, sigma) = STD^2 / (STD^2 + sigma^2) x."""

    sigma_min, sigma_max = 0.002, 80.0

    def __call__(self, x, sigma):
        level = torch.as_tensor(sigma, dtype=x.dtype).expand(len(x)).reshape(-1, *[1] * (x.ndim - 1))
        return STD**2 / (STD**2 + level**2) * x


def of_run(sampler, x, sigmas=SIGMAS, denoiser=None, **options):
    spread = Spread(len(x), sigmas)
    end, nfe = metering.run(sampler, denoiser or Gaussian(), x, sigmas, noise=None, spread=spread, **options)
    return end, nfe, spread.variance()


@pytest.mark.parametrize("steps", [2, 3, 8, 9])
def test_of_gaussian_data_under_ddim_it_is_known_in_closed_form(steps):
    sigmas = torch.from_numpy(karras(steps, 20.0, 0.02))
    x = 20 * torch.randn(50, 3, 4, dtype=torch.float64)
    c = (STD**2 / (STD**2 + sigmas[:-1] ** 2)).numpy()
    ratio = (sigmas[1:] / sigmas[:-1]).numpy()
    at = np.cumprod([1, *(c + ratio * (1 - c))[:-1]])  # x_i = at_i x_0, for x_i+1 = D_i + ratio_i (x_i - D_i)
    first = {2: 0, 3: 1, 8: 4, 9: 4}[steps]
    expected = (x**2).flatten(1).mean(1) * np.var((c * at)[first:])
    assert torch.allclose(of_run("ddim", x, sigmas)[2].double(), expected, rtol=1e-6)  # float32's


def test_an_answer_that_stays_has_none_and_one_that_jumps_has_its_own():
    x, mean = torch.randn(6, 5, dtype=torch.float64), 1e6
    here = Spread(6, SIGMAS)
    for k, sigma in enumerate(SIGMAS[:-1]):
        here.add(sigma, torch.full_like(x, mean) + x * (k % 2) * (x > 0))
    # the last four of eight: 0, x, 0, x where x > 0; the mean of a million takes none of their digits
    assert torch.allclose(here.variance().double(), (x.clamp(min=0) ** 2 / 4).mean(1), rtol=1e-6)


@pytest.mark.parametrize("sampler", ["ddim", "edm", "dpm_solver", "unipc", "ipndm"])
def test_watching_changes_no_sample_and_asks_for_no_evaluation(sampler):
    x = 20 * torch.randn(30, 3, dtype=torch.float64)
    end, nfe, variance = of_run(sampler, x)
    alone, counted = metering.run(sampler, Gaussian(), x, SIGMAS, noise=None)
    assert torch.equal(end, alone) and nfe == counted and (variance > 0).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_sample_has_the_same_bits_beside_any_others(dtype):
    x = 20 * torch.randn(200, 3, 32, 32, dtype=dtype)
    whole = of_run("ddim", x)[2]
    for rows in ([0], [7, 199], list(range(100, 200))):
        assert torch.equal(of_run("ddim", x[rows])[2], whole[rows])


def test_the_evaluation_after_the_end_counts_and_those_above_the_second_half_do_not():
    x = 20 * torch.randn(5, 3, dtype=torch.float64)
    assert not torch.equal(of_run("ddim", x)[2], of_run("ddim", x, final=0.02)[2])
    watched, few = Spread(5, SIGMAS), Spread(5, SIGMAS)
    for k, sigma in enumerate(SIGMAS[:-1]):
        watched.add(sigma, x * k)
        if k >= 4:
            few.add(float(sigma), x * k)
    assert torch.equal(watched.variance(), few.variance())


def test_levels_of_each_sample_are_judged_for_each():
    x = torch.ones(2, 3, dtype=torch.float64)
    spread = Spread(2, SIGMAS)
    for k, level in enumerate((10.0, 0.3, 0.1)):
        spread.add(torch.tensor([0.2, level], dtype=torch.float64), x * k)
    assert spread.variance().tolist() == pytest.approx([2 / 3, 1 / 4])


@pytest.mark.parametrize(
    "asked",
    [
        lambda one, x: None,
        lambda one, x: one.add(0.1, x),
        lambda one, x: [one.add(0.1, x), one.add(0.05, x, span=True), one.add(0.02, x)],
        lambda one, x: [one.add(0.1, x), one.add(0.05, x.repeat(2, 1)), one.add(0.02, x)],
        lambda one, x: [one.add(9.0, x), one.add(8.0, x), one.add(0.0, x)],
    ],
)
def test_without_two_answers_at_one_level_each_it_is_not_known(asked):
    one = Spread(4, SIGMAS)
    asked(one, torch.ones(4, 3))
    assert one.variance().isnan().all() and one.variance().shape == (4,)


def test_a_single_step_has_no_variance():
    assert of_run("ddim", torch.ones(3, 2).double(), torch.tensor([5.0, 0.0]).double())[2].isnan().all()
