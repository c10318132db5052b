"""Annealed Langevin dynamics: the authors' step sizes from their own rule, and its law on Gaussian data."""

import pytest
import torch

from baselines import ncsnv2
from dpmot.diffusion.denoiser import MixtureDenoiser
from dpmot.diffusion.sigmas import UnattainableBudget

pytestmark = pytest.mark.usefixtures("one_thread")
# Levels, largest and smallest sigma, steps a level and step_lr of NCSNv2's configurations (images in [0, 1]).
PUBLISHED = {
    "CIFAR-10": (232, 50.0, 0.01, 5, 6.2e-6),
    "CelebA 64": (500, 90.0, 0.01, 5, 3.3e-6),
    "FFHQ 256": (2311, 348.0, 0.01, 3, 9e-7),
}
S = 0.5
GAUSSIAN = MixtureDenoiser(torch.zeros(1, 1, dtype=torch.float64), S)


@pytest.mark.parametrize("name", PUBLISHED)
def test_technique_four_gives_the_published_step_sizes(name):
    levels, first, last, steps, rate = PUBLISHED[name]
    found = ncsnv2.best_step((first / last) ** (1 / (levels - 1)), steps)
    assert found == pytest.approx(rate / last**2, rel=0.05)  # printed with one or two digits


def test_on_one_level_the_variance_becomes_that_of_the_discretised_dynamics():
    # x <- (1 - a) x + sqrt(2 step) sigma z, a = step sigma^2 / (s^2 + sigma^2): variance (s^2 + sigma^2) 2 / (2 - a)
    sigma, step, length = 2.0, 0.2, 200
    unit = torch.eye(length + 1, dtype=torch.float64)[:, :, None]
    sigmas = torch.tensor([sigma, 0.0], dtype=torch.float64)
    response = ncsnv2.sample(
        GAUSSIAN,
        unit[:, 0],
        sigmas,
        noise=lambda k: unit[:, k + 1],
        steps_per_level=length,
        step=step,
        denoise=False,
    )
    a = step * sigma**2 / (S**2 + sigma**2)
    assert response.square().sum().item() == pytest.approx((S**2 + sigma**2) * 2 / (2 - a), rel=1e-9)


def test_the_final_denoising_is_one_look_at_the_finest_level():
    sigmas = torch.tensor([2.0, 0.5, 0.0], dtype=torch.float64)
    x = torch.ones(4, 1, dtype=torch.float64)
    plain = ncsnv2.sample(GAUSSIAN, x, sigmas, noise=lambda k: x, denoise=False)
    torch.testing.assert_close(ncsnv2.sample(GAUSSIAN, x, sigmas, noise=lambda k: x), GAUSSIAN(plain, sigmas[1]))


def test_levels_take_their_steps_in_order_each_with_its_own_noise():
    asked, drawn = [], []

    def denoiser(x, sigma):
        asked.append(float(sigma))
        return GAUSSIAN(x, sigma)

    def noise(k):
        drawn.append(k)
        return torch.zeros(1, 1, dtype=torch.float64)

    sigmas = torch.tensor([4.0, 2.0, 1.0, 0.0], dtype=torch.float64)
    ncsnv2.sample(denoiser, torch.ones(1, 1, dtype=torch.float64), sigmas, noise=noise, steps_per_level=2)
    assert asked == [4, 4, 2, 2, 1, 1, 1] and drawn == list(range(6))
    assert ncsnv2.num_steps(7, steps_per_level=2) == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps_per_level": 0}, "at least 1 step a level, got steps_per_level 0"),
        ({"step": 0.0}, r"must lie in \(0, 1\], got 0.0"),
        ({"step": 1.5}, r"must lie in \(0, 1\], got 1.5"),
        ({"noise": None}, r"is stochastic: pass noise\(k\)"),
    ],
)
def test_options_outside_their_range_are_refused(options, said):
    x = torch.ones(1, 1, dtype=torch.float64)
    with pytest.raises(ValueError, match=said):
        ncsnv2.sample(GAUSSIAN, x, torch.tensor([1.0, 0.0]), **{"noise": lambda k: x, **options})


def test_a_budget_below_one_level_says_what_would_do():
    with pytest.raises(UnattainableBudget, match="with 5 steps a level needs at least 6 evaluations, NFE 5 was given"):
        ncsnv2.num_steps(5)
