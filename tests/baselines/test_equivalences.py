"""Samplers that must agree with one another, and the errors of their options."""

from itertools import pairwise

import pytest
import torch

from baselines import ddim, ddpm, edm
from dpmot import seeds
from dpmot.diffusion.denoiser import IdealDenoiser, MixtureDenoiser
from dpmot.diffusion.sigmas import ddpm_chain, karras

pytestmark = pytest.mark.usefixtures("one_thread")
torch.manual_seed(0)
DENOISER = MixtureDenoiser(torch.randn(4, 3, dtype=torch.float64), 0.3)
X = 10 * torch.randn(20, 3, dtype=torch.float64)
GRIDS = {"karras": torch.from_numpy(karras(12, 10.0, 0.01)), "vp": torch.from_numpy(ddpm_chain().grid(12, 10.0))}


def noise(step):
    return seeds.normal(seeds.sample_seeds(0, 20), (3,), "step", step).double()


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_ddim_with_eta_one_is_ddpm_with_the_small_variance(grid):
    found, expected = ddim.sample(DENOISER, X, grid, noise=noise, eta=1.0), ddpm.sample(DENOISER, X, grid, noise=noise)
    torch.testing.assert_close(
        found, expected, rtol=1e-12, atol=1e-12
    )  # the same formula in another order of operations


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_ddim_with_eta_zero_is_eulers_method(grid):
    x = X
    for sigma, to in pairwise(grid):
        x = x + (to - sigma) * (x - DENOISER(x, sigma)) / sigma
    torch.testing.assert_close(ddim.sample(DENOISER, X, grid), x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_where_trajectories_are_straight_heuns_correction_changes_nothing(grid):
    point = IdealDenoiser(torch.randn(1, 3, dtype=torch.float64))  # x - D shrinks in proportion to sigma
    halfway = grid[:6]  # ends above zero, where the trajectories have not yet met
    found = edm.sample(point, X, halfway)
    torch.testing.assert_close(found, ddim.sample(point, X, halfway), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(edm.sample(DENOISER, X, halfway), ddim.sample(DENOISER, X, halfway), rtol=1e-3)


@pytest.mark.parametrize("sample", [ddim.sample, ddpm.sample, edm.sample], ids=["ddim", "ddpm", "edm"])
def test_one_step_to_zero_is_the_denoiser(sample):
    grid = torch.tensor([3.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(sample(DENOISER, X, grid, noise=noise), DENOISER(X, grid[0]), rtol=1e-13, atol=1e-13)


def test_on_a_small_data_set_every_sampler_ends_on_the_data():
    points = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]], dtype=torch.float64)
    grid, x = torch.from_numpy(karras(40, 20.0, 0.01)), 20 * torch.randn(20, 2, dtype=torch.float64)

    def noise(step):
        return seeds.normal(seeds.sample_seeds(0, 20), (2,), "step", step).double()

    for sample in (ddim.sample, ddpm.sample, edm.sample):
        end = sample(IdealDenoiser(points), x, grid, noise=noise)
        assert torch.cdist(end, points).min(1).values.max() < 1e-6  # at sigma .01 the softmax is a choice


def test_no_noise_is_drawn_where_none_is_used():
    drawn = []

    def counted(step):
        drawn.append(step)
        return noise(step)

    ddim.sample(DENOISER, X, GRIDS["karras"], noise=counted, eta=0.0)
    edm.sample(DENOISER, X, GRIDS["karras"], noise=counted)
    assert drawn == []
    ddpm.sample(DENOISER, X, GRIDS["karras"], noise=counted)
    assert drawn == list(range(11))  # twelve steps, none in the last


@pytest.mark.parametrize("eta", [-0.1, 1.5, float("nan")])
def test_eta_outside_its_range_is_refused(eta):
    with pytest.raises(ValueError, match=r"eta must lie in \[0, 1\], got"):
        ddim.sample(DENOISER, X, GRIDS["karras"], noise=noise, eta=eta)


def test_a_stochastic_sampler_without_noise_says_so():
    with pytest.raises(ValueError, match=r"DDIM with eta = 0\.3 is stochastic: pass noise"):
        ddim.sample(DENOISER, X, GRIDS["karras"], eta=0.3)
    with pytest.raises(ValueError, match="DDPM is stochastic: pass noise"):
        ddpm.sample(DENOISER, X, GRIDS["karras"])


def test_an_unknown_variance_lists_those_that_exist():
    with pytest.raises(ValueError, match='must be "small" or "large", got \'learned\''):
        ddpm.sample(DENOISER, X, GRIDS["karras"], noise=noise, variance="learned")
