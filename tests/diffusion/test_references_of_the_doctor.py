"""What the doctor judges by: the Wiener filter in closed form, and the ideal denoiser as a bound."""

import numpy as np
import pytest
import torch

from dpmot.diffusion.references import WIDEST, Trial, Wiener, _block

pytestmark = pytest.mark.usefixtures("one_thread")


def gaussian(n, variances, mean=0.3):
    drawn = torch.Generator().manual_seed(0)
    turned, _ = torch.linalg.qr(torch.randn(len(variances), len(variances), generator=drawn))
    return mean + (torch.randn(n, len(variances), generator=drawn) * variances.sqrt()) @ turned.T


def test_on_gaussian_data_the_filter_errs_by_its_closed_form():
    variances = torch.tensor([1.0, 0.3, 0.05, 0.01])
    images = gaussian(20_000, variances)
    trial = Trial.of(images, None, [0.1, 0.5, 2.0], rows=4000, seed=0)
    exact = [float((variances * s**2 / (variances + s**2)).mean()) for s in trial.sigmas]
    np.testing.assert_allclose(trial.wiener, exact, rtol=0.05)  # 4,000 rows of 4: a standard error of 1.3 %


def test_the_ideal_denoiser_errs_least_and_the_filter_less_than_identity_and_mean():
    images = gaussian(3000, torch.tensor([1.0, 0.3, 0.05, 0.01]))
    trial = Trial.of(images, None, np.geomspace(0.01, 20, 6), rows=2000, seed=0)
    for s, wiener, ideal in zip(trial.sigmas, trial.wiener, trial.ideal, strict=True):
        assert ideal <= 1.02 * wiener <= 1.02**2 * min(s**2, float(images.var(0).mean()))


def test_with_labels_the_ideal_denoiser_knows_the_class():
    labels = torch.arange(600) % 2
    images = torch.randn(600, 3, generator=torch.Generator().manual_seed(0)) * 0.1 + labels[:, None].float()
    plain, told = (Trial.of(images, given, [1.0], rows=200, seed=0).ideal[0] for given in (None, labels))
    assert told < 0.2 * plain


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 30, 20), (1, 29, 31), (3, 64, 64), (5000,), (2,)])
def test_large_images_are_filtered_in_blocks_that_fill_them(shape):
    images = torch.randn(40, *shape, generator=torch.Generator().manual_seed(0))
    filtered = Wiener(images)
    assert np.prod(_block(shape)) * (shape[0] if len(shape) == 3 else 1) <= WIDEST
    torch.testing.assert_close(filtered._joined(filtered._split(images), images.shape), images)
    assert filtered(images, 1e-4).shape == images.shape
    torch.testing.assert_close(filtered(images, 1e-6), images, rtol=0, atol=1e-3)  # nothing to filter at sigma 0
