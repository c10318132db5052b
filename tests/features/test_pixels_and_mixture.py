"""Extractors without a network."""

import numpy as np
import pytest
import torch

from dpmot.features import mixture, pixels, thumbnails


def test_pixels_are_the_images_in_minus_one_to_one():
    images = torch.tensor([0, 255, 51, 204], dtype=torch.uint8).reshape(2, 1, 1, 2)
    features = pixels.extract(images)
    # u / 127.5 - 1 in float32: two roundings of 2^-24 relative
    np.testing.assert_allclose(features.values, [[-1, 1], [-0.6, 0.6]], atol=2e-7)
    assert features.values.dtype == np.float32 and features.extractor == "pixels"
    assert features.probabilities is None


def test_pixels_of_points_are_the_points():
    points = torch.randn(5, 2, dtype=torch.float64)
    np.testing.assert_array_equal(pixels.extract(points).values, points.numpy())


@pytest.mark.parametrize("images", [torch.zeros(2, 1, 4, 4), torch.zeros(2, 4, dtype=torch.uint8), torch.zeros(4)])
def test_pixels_refuse_float_images_and_flat_bytes(images):
    with pytest.raises(ValueError, match="must be uint8 images"):
        pixels.extract(images)


def test_thumbnails_are_the_means_of_blocks():
    images = torch.randint(256, (3, 2, 3, 8, 4, 8, 4), dtype=torch.uint8)[:, 0]  # blocks of 4 x 4
    features = thumbnails.extract(images.reshape(3, 3, 32, 32))
    expected = images.double().mean((3, 5)) / 127.5 - 1
    # sixteen float32 roundings of numbers up to one
    np.testing.assert_allclose(features.values, expected.flatten(1), atol=2e-6)
    assert features.extractor == "thumbnails" and features.probabilities is None


def test_thumbnails_of_any_size_but_smaller_ones():
    grey = torch.full((2, 1, 28, 30), 51, dtype=torch.uint8)
    np.testing.assert_allclose(thumbnails.extract(grey).values, np.full((2, 64), -0.6), atol=2e-7)
    with pytest.raises(ValueError, match="at least 8 x 8 pixels: images of 7 x 30 are too small"):
        thumbnails.extract(grey[:, :, :7])


def test_the_posterior_of_two_gaussians_is_a_logistic_function():
    x, std = np.linspace(-3, 3, 13)[:, None], 0.7
    features = mixture.extract(x, means=np.array([[-1.0], [1.0]]), std=std)
    # p(+1 | x) = 1 / (1 + exp(-2 x / s^2)); float64 rounding
    np.testing.assert_allclose(features.probabilities[:, 1], 1 / (1 + np.exp(-2 * x[:, 0] / std**2)), rtol=1e-12)
    np.testing.assert_array_equal(features.values, x)


def test_the_posterior_agrees_with_bayes_rule_on_scipy_densities():
    from scipy.stats import multivariate_normal

    random = np.random.default_rng(0)
    means, x = random.standard_normal((5, 3)), random.standard_normal((20, 3))
    density = np.stack([multivariate_normal(mean, 0.25).pdf(x) for mean in means], axis=1)
    found = mixture.extract(x, means=means, std=0.5).probabilities
    # float64 rounding of exponents of size about 30
    np.testing.assert_allclose(found, density / density.sum(axis=1, keepdims=True), rtol=1e-11)


def test_the_posterior_stays_finite_far_from_every_centre():
    features = mixture.extract(np.array([[1e4, 0.0]]), means=np.array([[1.0, 0], [0, 1]]), std=0.05)
    np.testing.assert_array_equal(features.probabilities, [[1, 0]])


@pytest.mark.parametrize(
    ("means", "std", "message"),
    [
        (np.zeros((3, 4)), 1.0, "must share d"),
        (np.zeros((3, 2)), 0.0, "must be positive"),
        (np.zeros((3, 2)), np.inf, "means and it finite"),
        (np.zeros((0, 2)), 1.0, "got 1.0 and 0 means"),
        (np.full((3, 2), np.nan), 1.0, "got 1.0 and 3 means, some of them not finite"),
    ],
)
def test_a_mixture_that_does_not_fit_the_points_is_refused(means, std, message):
    with pytest.raises(ValueError, match=message):
        mixture.extract(np.zeros((5, 2)), means=means, std=std)


def test_points_beyond_three_deviations_of_every_mean_are_off_mode():
    means = np.array([[0.0, 0.0], [10.0, 0.0]])
    points = np.array([[0.0, 0.29], [0.0, 0.31], [10.2, 0.0], [5.0, 0.0]])
    assert mixture.extract(points, means=means, std=0.1).off_mode.tolist() == [False, True, False, True]
    draw = np.random.default_rng(0).standard_normal((20_000, 2))
    assert mixture.extract(draw, means=means[:1], std=1.0).off_mode.mean() == pytest.approx(np.exp(-4.5), abs=0.003)


def test_a_mixture_far_from_zero_has_the_same_posteriors():
    points, means = np.random.default_rng(0).standard_normal((99, 2)), np.array([[-1.0, 0.0], [1.0, 0.5]])
    near, far = (mixture.extract(points + k, means=means + k, std=0.5) for k in (0, 1e8))
    # 1e8 leaves 1e-8 of a point; logits change by some 1e-8 |mu| / std^2
    np.testing.assert_allclose(far.probabilities, near.probabilities, atol=1e-6)
    np.testing.assert_array_equal(far.off_mode, near.off_mode)
