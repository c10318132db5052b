"""The share of copies among images and points, as the harness asks for it."""

import numpy as np
import pytest

from dpmot.metrics import _registered
from dpmot.metrics.copies import Copies


def images(n, seed):
    """Smooth random images, uint8 (n, 1, 12, 12)."""
    x = np.random.default_rng(seed).standard_normal((n, 1, 12, 12)).astype(np.float32)
    x = _registered.blurred(_registered.blurred(x))
    return (127.5 + 60 * x / x.std()).clip(0, 255).astype(np.uint8)


def points(n, seed, dim=2):
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


@pytest.fixture(scope="module", params=["images", "points of 2", "points of 64"])
def kind(request):
    """(what draws new samples, the real ones ready to be searched)"""
    dim = int(request.param.split()[-1]) if request.param != "images" else 0
    draw = (lambda n, seed: points(n, seed, dim)) if dim else images
    return draw, Copies({"A": draw(600, 0), "B": draw(300, 1), "C": draw(300, 2)})


def test_new_samples_are_no_copies_and_copies_of_either_split_are(kind):
    draw, copies = kind
    for seed in range(3):
        shares = copies.shares(copies.search(draw(400, 10 + seed)))
        assert shares["train"].low < 0.01 and shares["test"].low < 0.01
    for split, name, other in (("A", "train", "test"), ("C", "test", "train")):
        taken = copies._real[copies.rows(split)[:80]]
        shares = copies.shares(copies.search(np.concatenate([taken, draw(320, 20)])))
        assert shares[name].low > 0.1 and shares[name].low < 0.2 < shares[name].high + 0.02
        assert shares[other].low < 0.01


def test_every_copy_is_flagged_with_its_split_and_row(kind):
    draw, copies = kind
    flagged = copies.flags(copies.search(np.concatenate([draw(100, 30), copies._real[copies.rows("C")[5:15]]])))
    assert {(flag.sample, copies.image(flag.nearest)) for flag in flagged[:10]} == {
        (100 + k, ("C", 5 + k)) for k in range(10)
    }
    assert {flag.space for flag in flagged} <= set(copies.kinds)


def test_equal_samples_are_searched_once_and_told_each(kind):
    draw, copies = kind
    few = draw(5, 40)
    once, again = copies.search(few), copies.search(np.repeat(few, 3, axis=0))
    for one, other in zip(once, again, strict=True):
        # products of other shapes differ in their last bits: float32 correlations of 144 pixels, 1e-6, near 1
        np.testing.assert_allclose(np.repeat(one.distance, 3, axis=0), other.distance, atol=1e-4)
        np.testing.assert_array_equal(np.repeat(one.index[:, 0], 3), other.index[:, 0])


def test_a_real_image_is_not_its_own_neighbour(kind):
    _, copies = kind
    rows = copies.rows("C")[:50]
    for one in copies.of_real(rows):
        assert not (one.index == rows[:, None]).any()


def test_distances_of_points_are_euclidean():
    real = points(50, 0)
    copies = Copies({"A": real[:30], "B": real[30:]})
    (found,) = copies.search(points(20, 1))
    expected = np.sort(np.linalg.norm(points(20, 1)[:, None].astype(float) - real.astype(float), axis=2), axis=1)
    np.testing.assert_allclose(found.distance, expected[:, : found.distance.shape[1]], rtol=1e-12)


def test_without_split_b_or_with_too_few_points_nothing_is_told():
    with pytest.raises(ValueError, match="split B, which no method copies, and another, got A, C"):
        Copies({"A": points(5, 0), "C": points(5, 1)})
    with pytest.raises(ValueError, match="split B, which no method copies, and another, got B"):
        Copies({"B": points(5, 0)})
    with pytest.raises(ValueError, match=r"three images \(n, C, H, W\) or points \(n, d\), got \(2, 2\)"):
        Copies({"A": points(1, 0), "B": points(1, 1)}).search(points(3, 2))


@pytest.mark.parametrize("doubled", ["A", "BC"])
def test_images_that_are_there_twice_mirrored_or_not_do_not_hide_copies(doubled):
    splits = {"A": images(300, 0), "B": images(200, 1), "C": images(200, 2)}
    twice = {name: np.concatenate([x, x[..., ::-1]]) if name in doubled else x for name, x in splits.items()}
    plain, copies = Copies(splits), Copies(twice)
    assert copies.sizes == plain.sizes
    samples = np.concatenate([splits["A"][:40], images(260, 50)])
    assert copies.shares(copies.search(samples)) == plain.shares(plain.search(samples))
    assert copies.shares(copies.search(samples))["train"].low > 0.05


def test_an_image_of_two_splits_is_one_of_training_and_keeps_its_row():
    a, b, c = images(30, 0), images(30, 1), images(30, 2)
    copies = Copies({"A": a, "B": np.concatenate([a[:3], b, c[:2]]), "C": np.concatenate([a[4:5], c])})
    assert copies.sizes == {"A": 30, "B": 30, "C": 30}
    assert copies.image(copies.rows("B")[0]) == ("B", 3) and copies.image(copies.rows("C")[5]) == ("C", 6)
    with pytest.raises(ValueError, match="Every image of split B is in another split too"):
        Copies({"A": a, "B": a[..., ::-1], "C": c})


def test_where_copies_cannot_be_told_the_upper_end_is_1():
    """Images of one colour are all alike."""
    grey = np.repeat(np.arange(240, dtype=np.uint8), 64).reshape(-1, 1, 8, 8)
    copies = Copies({"A": grey[::3], "B": grey[1::3], "C": grey[2::3]})
    for samples in (grey[::3], images(80, 3)[..., :8, :8]):
        assert {one.high for one in copies.shares(copies.search(samples)).values()} == {1.0}


def test_among_fewer_than_500_held_out_images_copies_are_flagged_too():
    copies = Copies({"A": images(60, 0), "B": images(40, 1), "C": images(40, 2)})
    flagged = copies.flags(copies.search(images(60, 0)[:10]))
    assert {flag.sample for flag in flagged} == set(range(10))
