"""The Wiener filter and the local denoiser, where their answers are known otherwise."""

import pytest
import torch

from dpmot.diffusion import analytic
from dpmot.diffusion.analytic import LocalDenoiser, WienerDenoiser
from dpmot.diffusion.denoiser import IdealDenoiser
from dpmot.diffusion.networks import local, wiener

pytestmark = pytest.mark.usefixtures("one_thread")
DRAWN = torch.Generator().manual_seed(0)
IMAGES = torch.rand(30, 2, 4, 6, dtype=torch.float64, generator=DRAWN) * 2 - 1
NOISY = IMAGES[:8] + torch.randn(8, 2, 4, 6, dtype=torch.float64, generator=DRAWN)


@pytest.mark.parametrize("sigma", [0.01, 0.5, 3.0, 80.0])
def test_the_wiener_filter_is_the_solution_of_its_normal_equations(sigma):
    flat = IMAGES.flatten(1)
    covariance = torch.cov(flat.T, correction=0)
    gain = torch.linalg.solve(covariance + sigma**2 * torch.eye(48).double(), covariance)
    expected = flat.mean(0) + (NOISY.flatten(1) - flat.mean(0)) @ gain
    found = WienerDenoiser(IMAGES)(NOISY, torch.tensor(sigma))
    torch.testing.assert_close(found.flatten(1), expected, rtol=0, atol=1e-9)  # float64; the solve is worst at .01


def test_the_wiener_filter_of_a_gaussian_line_is_known():
    points = torch.tensor([[-3.0], [3.0]], dtype=torch.float64)  # mean 0, variance 9
    found = WienerDenoiser(points)(torch.tensor([[2.0], [2.0]]).double(), torch.tensor([3.0, 1.0]))
    torch.testing.assert_close(found, torch.tensor([[1.0], [1.8]]).double())


@pytest.mark.parametrize("sigma", [0.05, 0.5, 3.0])
def test_a_patch_that_covers_the_image_is_the_ideal_denoiser(sigma):
    for patch in (11, 101):
        found = LocalDenoiser(IMAGES, patch)(NOISY, torch.tensor(sigma))
        torch.testing.assert_close(found, IdealDenoiser(IMAGES)(NOISY, torch.tensor(sigma)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("patch", [1, 3])
def test_each_pixel_is_the_posterior_mean_given_its_patch(patch, monkeypatch):
    monkeypatch.setattr(analytic, "AT_ONCE", 7 * NOISY.numel())  # several blocks
    sigma = torch.linspace(0.2, 2, 8).double()
    found, reach = LocalDenoiser(IMAGES, patch)(NOISY, sigma), patch // 2
    for row, column in ((0, 0), (1, 5), (2, 3)):
        near = (..., slice(max(0, row - reach), row + reach + 1), slice(max(0, column - reach), column + reach + 1))
        squared = (NOISY[near][:, None] - IMAGES[near]).square().flatten(2).sum(2)
        weights = torch.softmax(-squared / (2 * sigma[:, None] ** 2), 1)
        torch.testing.assert_close(found[..., row, column], weights @ IMAGES[..., row, column], rtol=0, atol=1e-12)


def test_the_local_denoiser_makes_images_that_the_data_do_not_hold():
    one, other = torch.zeros(1, 1, 1, 9).double(), torch.ones(1, 1, 1, 9).double()
    mixed = torch.cat([one[..., :4], other[..., :5]], -1)
    data, sigma = torch.cat([one, other]), torch.tensor(0.1)
    torch.testing.assert_close(LocalDenoiser(data, 1)(mixed, sigma), mixed, rtol=0, atol=1e-12)
    torch.testing.assert_close(IdealDenoiser(data)(mixed, sigma), other, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: local.Parametrisation(patch_size=4), "odd and at least 1, got 4"),
        (lambda: local.Parametrisation(split="D"), "split A, B, C; got 'D'"),
        (lambda: wiener.Parametrisation(split="D"), "split A, B, C; got 'D'"),
        (lambda: LocalDenoiser(torch.zeros(3, 2), 3), "of images"),
    ],
)
def test_what_they_cannot_be_is_refused(made, said):
    with pytest.raises(ValueError, match=said):
        made()
