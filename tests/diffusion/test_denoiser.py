"""Exact denoisers against direct formulas, quadrature and Tweedie's formula; tiles."""

import numpy as np
import pytest
import torch

from dpmot.diffusion.denoiser import (
    IdealDenoiser,
    MixtureDenoiser,
    NonFiniteOutput,
    TiledDenoiser,
    per_sample,
)
from dpmot.diffusion.network import NetworkDenoiser
from dpmot.diffusion.networks import edm
from dpmot.diffusion.unet import UNet

pytestmark = pytest.mark.usefixtures("one_thread")
SIGMAS = [0.05, 0.4, 3.0]


def unet_denoiser():
    torch.manual_seed(0)
    model = UNet(1, channels=8).eval()
    for parameter in model.parameters():  # the last layers start at zero, which would hide every rounding
        torch.nn.init.normal_(parameter, std=0.1)
    return NetworkDenoiser(edm.Parametrisation(), model.requires_grad_(False))


@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_ideal_denoiser_is_the_softmax_average_of_the_points(sigma):
    random = np.random.default_rng(0)
    points, x = random.standard_normal((5, 1, 2, 3)), random.standard_normal((4, 1, 2, 3)) * (1 + sigma)
    expected = np.zeros_like(x)
    for k in range(4):
        squared = np.array([((x[k] - y) ** 2).sum() for y in points])
        weights = np.exp((squared.min() - squared) / (2 * sigma**2))
        expected[k] = sum(w * y for w, y in zip(weights, points, strict=True)) / sum(weights)
    found = IdealDenoiser(torch.from_numpy(points))(torch.from_numpy(x), torch.tensor(sigma, dtype=torch.float64))
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)  # float64, a few roundings


def image_like():
    """300 points of 768 numbers far from the origin, two of them near duplicates; float32, as images are."""
    torch.manual_seed(0)
    points = 5 + torch.randn(300, 3, 16, 16) * torch.logspace(0, -2, 768).reshape(3, 16, 16)
    points[1] = points[0] + 1e-4
    return points


@pytest.mark.parametrize("sigma", [0.002, 0.02, 0.3, 1.0, 3.0, 10.0, 80.0])
def test_of_many_points_of_many_dimensions_the_ideal_denoiser_is_still_the_softmax_in_float64(sigma):
    points = image_like()
    x = points[:20].double() + sigma * torch.randn(20, 3, 16, 16, dtype=torch.float64)
    squared = (x.flatten(1)[:, None] - points.flatten(1).double()).square().sum(2)
    expected = torch.softmax(-squared / (2 * sigma**2), 1) @ points.flatten(1).double()
    found = IdealDenoiser(points)(x, torch.tensor(sigma, dtype=torch.float64))
    # distances of 768 float64 numbers of size 5 err by 1e-12 at most, over 2 sigma^2 = 8e-6; away from ties far less
    torch.testing.assert_close(found.flatten(1), expected, rtol=0, atol=1e-8)


def test_the_ideal_denoiser_takes_few_points_and_many_points_in_one_batch_to_the_same_bits():
    denoiser = TiledDenoiser(IdealDenoiser(image_like()))
    sigma = torch.tensor([0.02, 10.0, 0.3, 3.0]).repeat(50)
    x = image_like()[:200] + sigma[:, None, None, None] * torch.randn(200, 3, 16, 16)
    whole, order = denoiser(x, sigma), torch.randperm(200)
    assert torch.equal(denoiser(x[order], sigma[order]), whole[order])
    assert torch.equal(denoiser(x[:7], sigma[:7]), whole[:7])


def test_far_from_the_data_the_ideal_denoiser_gives_the_nearest_point_without_overflow():
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    found = IdealDenoiser(points)(torch.tensor([[1000.0, 3.0], [-1000.0, 3.0]]), torch.tensor(0.002))
    assert torch.equal(found, points.flip(0))


@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_mixture_denoiser_is_the_posterior_mean_by_quadrature(sigma):
    means, std, x = np.array([-1.0, 0.3, 0.8]), 0.2, np.linspace(-3, 3, 7)
    x0 = np.linspace(-4, 4, 40001)  # smooth and zero at both ends: the trapezium rule is exact to rounding
    prior = np.exp(-((x0[:, None] - means) ** 2) / (2 * std**2)).sum(1)
    logs = np.log(prior + 1e-300) - (x[:, None] - x0) ** 2 / (2 * sigma**2)
    weights = np.exp(logs - logs.max(1, keepdims=True))
    expected = (weights * x0).sum(1) / weights.sum(1)
    denoiser = MixtureDenoiser(torch.from_numpy(means[:, None]), std)
    found = denoiser(torch.from_numpy(x[:, None]), torch.tensor(sigma, dtype=torch.float64))
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_mixture_denoiser_obeys_tweedies_formula(sigma):
    torch.manual_seed(0)
    means, std = torch.randn(4, 3, dtype=torch.float64), 0.3
    x = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    squared = (x[:, None] - means).square().sum(-1)
    log_density = torch.logsumexp(-squared / (2 * (std**2 + sigma**2)), 1).sum()
    (score,) = torch.autograd.grad(log_density, x)
    found = MixtureDenoiser(means, std)(x.detach(), torch.tensor(sigma, dtype=torch.float64))
    torch.testing.assert_close(found, x.detach() + sigma**2 * score, rtol=1e-10, atol=1e-12)


def test_a_mixture_of_vanishing_width_is_the_ideal_denoiser():
    torch.manual_seed(0)
    points, x = torch.randn(5, 3, dtype=torch.float64), torch.randn(8, 3, dtype=torch.float64)
    sigma = torch.rand(8, dtype=torch.float64) + 0.3
    torch.testing.assert_close(MixtureDenoiser(points, 1e-9)(x, sigma), IdealDenoiser(points)(x, sigma))


@pytest.mark.parametrize("denoiser", [IdealDenoiser(torch.randn(5, 4)), MixtureDenoiser(torch.randn(3, 4), 0.2)])
def test_one_sigma_for_all_is_the_same_as_one_each(denoiser):
    x = torch.randn(7, 4, dtype=torch.float64)
    assert torch.equal(denoiser(x, torch.tensor(0.7)), denoiser(x, torch.full((7,), 0.7)))


def test_per_sample_takes_the_type_of_x():
    x = torch.zeros(3, 2, dtype=torch.float64)
    assert torch.equal(per_sample(0.5, x), torch.full((3,), 0.5, dtype=torch.float64))
    assert per_sample(torch.tensor([1.0, 2.0, 3.0]), x).dtype == torch.float64


def test_a_network_in_tiles_gives_a_sample_the_same_bits_in_every_batch_and_order():
    denoiser = TiledDenoiser(unet_denoiser())
    torch.manual_seed(1)
    x, sigma = torch.randn(500, 1, 8, 8, dtype=torch.float64), torch.rand(500, dtype=torch.float64) + 0.1
    whole, order = denoiser(x, sigma), torch.randperm(500)
    assert whole.dtype == torch.float64
    assert torch.equal(denoiser(x[order], sigma[order]), whole[order])
    for size in (1, 7, 64, 100):
        assert torch.equal(denoiser(x[:size], sigma[:size]), whole[:size])


def test_tiles_change_a_network_by_rounding_only():
    denoiser, x = unet_denoiser(), torch.randn(100, 1, 8, 8)
    torch.testing.assert_close(TiledDenoiser(denoiser)(x, torch.tensor(0.5)), denoiser(x, torch.tensor(0.5)))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_network_that_returns_nan_or_infinity_stops_with_the_sigma(value):
    denoiser = IdealDenoiser(torch.tensor([[value, 0.0]]))
    with pytest.raises(NonFiniteOutput, match=r"NaN or infinity at sigma 2\.5"):
        TiledDenoiser(denoiser)(torch.zeros(3, 2), torch.tensor(2.5))


def test_one_bad_row_in_the_last_tile_is_enough_to_stop():
    def denoiser(x, sigma):
        return torch.where(x > 9, torch.nan, x)

    denoiser.sigma_min, denoiser.sigma_max = 0.1, 10
    x = torch.zeros(70, 2)
    TiledDenoiser(denoiser)(x, torch.tensor(1.0))
    x[69, 1] = 10
    with pytest.raises(NonFiniteOutput):
        TiledDenoiser(denoiser)(x, torch.tensor(1.0))
