"""Copies are found whatever was done to them, and their distance is the one that a plain search gives."""

import numpy as np
import pytest

from dpmot.metrics import _registered
from dpmot.metrics._registered import SPACES, Moves, flags, gallery, moved, nearest


def images(n, seed, shape=(1, 16, 16)):
    """Smooth random images, uint8."""
    x = np.random.default_rng(seed).standard_normal((n, *shape)).astype(np.float32)
    x = _registered.blurred(_registered.blurred(x))
    return (127.5 + 60 * x / x.std()).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def real():
    return images(300, 0)


@pytest.fixture(scope="module")
def hung(real):
    return gallery(real)


def noisy(x, sd, seed=1):
    return (x + 255 * sd * np.random.default_rng(seed).standard_normal(x.shape)).clip(0, 255).astype(np.uint8)


CHANGES = {
    "nothing": lambda x: x,
    "contrast": lambda x: (0.5 * x + 30).round().astype(np.uint8),
    "inverted": lambda x: 255 - x,
    "mirrored": lambda x: x[..., ::-1],
    "moved": lambda x: moved(x, 2, -1, mode="constant"),
    "mirrored, inverted and moved": lambda x: 255 - moved(x[..., ::-1], -1, 2),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_as_near_as_its_image(real, hung, change):
    copies = CHANGES[change](real[:40])
    found, _ = nearest(copies, hung)
    np.testing.assert_array_equal(found.index[:, 0], np.arange(40))
    # rounding to 256 levels at half contrast: .3 of a level's .29 over a spread of 30 levels, and float32 products
    assert found.distance[:, 0].max() < 0.02
    assert (found.ratio < 0.05).all()
    assert (found.inverted[:, 0] == ("inverted" in change)).all()
    assert (found.mirrored[:, 0] == ("mirrored" in change)).all()


def test_the_move_that_is_told_takes_the_sample_back(real, hung):
    found, _ = nearest(moved(real[:40], 2, -1, mode="constant"), hung)
    assert {hung.moves.steps[move] for move in found.move[:, 0]} == {(-2, 1)}


def test_noisy_and_blurred_copies_find_their_image(real, hung):
    blurred = _registered.blurred(real[:40].astype(np.float32)).astype(np.uint8)
    for found in (*nearest(noisy(real[:40], 0.2), hung), *nearest(blurred, hung)):
        assert (found.index[:, 0] == np.arange(40)).mean() > 0.95


def test_noise_of_its_own_leaves_a_copy_its_ratio_of_correlations(real, hung):
    exact, _ = nearest(real[:40], hung)
    found, _ = nearest(noisy(real[:40], 0.2), hung)
    new, _ = nearest(images(100, 2), hung)
    assert (np.diff([np.median(one.ratio) for one in (exact, found)]) > 0.4).all()
    # 256 pixels: correlations err by about 1/16 of what noise takes from them, which is a sixth
    np.testing.assert_allclose(np.median(found.correlation_ratio), np.median(exact.correlation_ratio), atol=0.03)
    assert np.quantile(found.correlation_ratio, 0.9) < np.quantile(new.correlation_ratio, 0.1)


def test_new_images_are_about_as_near_to_the_second_image_as_to_the_first(hung):
    for found in nearest(images(100, 2), hung):
        assert np.median(found.ratio) > 0.9
        assert (np.diff(found.distance, axis=1) >= 0).all()


def plain_distance(x, y, most):
    """The registered distance of two images (H, W), by numpy's correlation of every overlap."""
    h, w = x.shape
    best = 0.0
    for one in (x, x[:, ::-1]):
        for down in range(-most, most + 1):
            for right in range(-most, most + 1):
                own = one[max(0, -down) : h - max(0, down), max(0, -right) : w - max(0, right)]
                other = y[max(0, down) : h + min(0, down), max(0, right) : w + min(0, right)]
                best = max(best, abs(np.corrcoef(own.ravel(), other.ravel())[0, 1]))
    return np.sqrt(2 - 2 * best)


def test_distances_are_those_of_a_plain_search(real):
    few, samples = gallery(real[:30]), images(8, 3)
    found, _ = nearest(samples, few)
    assert few.moves.most == 2
    for k, row in enumerate(samples[:, 0].astype(float)):
        expected = np.sort([plain_distance(row, other[0].astype(float), 2) for other in real[:30]])
        # float32 correlations of 256 pixels: 1e-6, which is 2e-6 of a distance near 1
        np.testing.assert_allclose(found.distance[k], expected[: _registered.KEPT], atol=1e-5)


def test_a_real_image_is_not_its_own_neighbour(real, hung):
    found, blurred = nearest(real[:20], hung, own=np.arange(20))
    for one in (found, blurred):
        assert not (one.index == np.arange(20)[:, None]).any()


def test_images_of_one_colour_are_near_to_none(hung):
    for found in nearest(np.full((2, 1, 16, 16), 77, dtype=np.uint8), hung):
        np.testing.assert_allclose(found.distance, np.sqrt(2), rtol=1e-6)
        assert (found.ratio == 1).all()


@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 70, 90), (1, 8, 8), (1, 28, 28), (1, 1, 200), (1, 200, 4)])
def test_images_of_any_size_and_colour_are_searched(shape):
    real = images(60, 4, shape)
    for found in nearest(255 - real[:10, :, :, ::-1], gallery(real)):
        np.testing.assert_array_equal(found.index[:, 0], np.arange(10))


def test_windows_of_a_few_pixels_make_no_copies():
    """Two pixels always correlate; of 2 x 3 pixels a move by one in both directions leaves two."""
    real, samples = (np.random.default_rng(seed).integers(0, 256, (200, 1, 2, 3), dtype=np.uint8) for seed in (0, 1))
    found, _ = nearest(samples, gallery(real))
    assert np.median(found.distance[:, 0]) > 0.01


def test_duplicates_in_the_gallery_are_no_reason_for_a_ratio():
    real = images(30, 5)
    found, _ = nearest(real[:5], gallery(np.concatenate([real, real])))
    assert (found.distance[:, :2] < 2e-3).all()  # float32 correlations of 1: sqrt(2e-6)


def test_flags_tell_the_image_and_what_was_done(real, hung):
    held_out = nearest(images(200, 6), hung)
    samples = np.concatenate([images(10, 7), 255 - moved(real[[7]][..., ::-1], -1, 2)])
    found = nearest(samples, hung)
    told = flags(found, *([one.ratio for one in some] for some in (found, held_out)), hung.moves, SPACES, most=0.005)
    assert [(flag.sample, flag.nearest) for flag in told] == [(10, 7)]
    (flag,) = told
    assert (flag.mirrored, flag.inverted, flag.down, flag.right) == (True, True, 1, 2)
    assert flag.distance < 0.01 and flag.chance == 1 / 201


def test_points_and_too_few_images_are_refused(real, hung):
    with pytest.raises(ValueError, match=r"uint8 images \(n, C, H, W\), got float64 \(5, 2\)"):
        nearest(np.zeros((5, 2)), hung)
    with pytest.raises(ValueError, match="three real images at least, got 2"):
        gallery(real[:2])
    with pytest.raises(ValueError, match="among samples, got none"):
        nearest(real[:0], hung)


def test_moves_are_told_in_one_order():
    assert Moves(1).steps[:4] == [(-1, -1), (-1, 0), (-1, 1), (0, -1)]
