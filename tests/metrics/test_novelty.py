"""Recovery, authenticity, neighbour distance and distinct neighbours on copies and on held-out draws."""

import numpy as np
import pytest

from dpmot.features import Features
from dpmot.metrics import _neighbours, _pairs, distinct, novelty, recovery
from dpmot.statistics.jackknife import groups, mean_interval


def pixels(values, source=None):
    return Features(values=np.asarray(values, dtype=float), extractor="pixels", source=source)


def draw(n, seed, d=8):
    return np.random.default_rng(seed).standard_normal((n, d))


def recovered(generated, train):
    return recovery.pointwise(generated, {"train": train})["recovery_pixels", "train"]


@pytest.fixture(scope="module")
def train():
    return pixels(draw(400, 0))


def test_neighbours_equal_a_search_by_brute_force():
    x, y = draw(23, 1), draw(30, 2)
    table = np.linalg.norm(x[:, None] - y[None], axis=2)
    found = _neighbours.nearest(pixels(x), pixels(y))
    np.testing.assert_array_equal(found.index, table.argmin(1))
    np.testing.assert_allclose(found.distance, table.min(1), rtol=1e-12)  # float64 sums in another order
    own = np.linalg.norm(y[:, None] - y[None], axis=2) + np.diag(np.full(30, np.inf))
    other = _neighbours.nearest(pixels(y), None)
    np.testing.assert_array_equal(other.index, own.argmin(1))
    np.testing.assert_allclose(other.distance, own.min(1), rtol=1e-12)


def test_copies_recover_their_source_and_are_not_authentic(train):
    source = np.random.default_rng(3).integers(400, size=150)
    copies = pixels(train.values[source] + 0.01 * draw(150, 4), source)
    found = novelty.pointwise(copies, {"train": train})
    assert recovered(copies, train).all()
    assert not found["authenticity_pixels", "train"].any()
    # |0.01 N(0, I_8)| has mean .0274 and standard deviation .01 / sqrt(2)
    assert found["nn_distance_pixels", "train"].mean() == pytest.approx(0.0274, abs=5 * 0.0071 / np.sqrt(150))


def test_independent_draws_recover_their_source_by_chance(train):
    held_out = pixels(draw(4000, 5), np.random.default_rng(6).integers(400, size=4000))
    share = mean_interval(recovered(held_out, train), level=0.99)
    assert share.low <= 1 / 400 <= share.high


@pytest.mark.parametrize(("d", "mutual"), [(1, 2 / 3), (2, 6 * np.pi / (8 * np.pi + 3 * np.sqrt(3)))])
def test_held_out_authenticity_is_one_minus_the_share_of_mutual_nearest_neighbours(d, mutual):
    # A new point is not authentic where it and its nearest image are each other's nearest neighbours; for a smooth
    # density that share is a constant of the dimension (Clark and Evans 1955 for d = 2).
    random = np.random.default_rng(14)
    train, held_out = pixels(random.random((3000, d))), pixels(random.random((3000, d)))
    found = novelty.pointwise(held_out, {"train": train})["authenticity_pixels", "train"]
    # two standard errors of about .009 each, from 3000 points of either kind; three of their sum, .013
    assert found.mean() == pytest.approx(1 - mutual, abs=0.039)


def test_exact_copies_have_distance_zero_and_duplicates_hide_no_recovery():
    images = draw(20, 7) * 1e3
    train = pixels(np.concatenate([images, images]))
    copies = pixels(train.values[[25, 39, 3]], np.array([25, 39, 3]))
    found = novelty.pointwise(copies, {"train": train})
    assert (found["nn_distance_pixels", "train"] == 0).all()
    assert recovered(copies, train).all()


def test_every_reference_gets_a_distance_and_unknown_sources_no_recovery(train):
    x = draw(10, 8)
    test = pixels(draw(50, 9))
    found = novelty.pointwise(pixels(x), {"train": train, "test": test})
    assert set(found) == {
        ("nn_distance_pixels", "train"),
        ("nn_distance_pixels", "test"),
        ("authenticity_pixels", "train"),
        ("exact_duplicates_pixels", "train"),
        ("near_duplicates_pixels", "train"),
    }
    expected = np.linalg.norm(x[:, None] - test.values[None], axis=2).min(1)
    np.testing.assert_allclose(found["nn_distance_pixels", "test"], expected, rtol=1e-12)
    assert recovery.pointwise(pixels(x), {"train": train}) == {}


def test_neighbours_are_searched_once_for_each_pair(train, monkeypatch):
    calls, exact = [], _pairs.nearest
    monkeypatch.setattr(_pairs, "nearest", lambda *a, **k: calls.append(1) or exact(*a, **k))
    generated = pixels(draw(10, 10))
    for _ in range(2):
        novelty.pointwise(generated, {"train": train})
        distinct.evaluate(generated, {"train": train})
    assert len(calls) <= 2  # the samples' search, and train's own unless an earlier test made it


def test_distinct_neighbours_are_counted_by_hand():
    train = pixels([[0.0], [1.0], [2.0]])
    generated = pixels([[0.1], [-3.0], [1.2], [0.2]])
    found = distinct.evaluate(generated, {"train": train})
    assert found == {("distinct_neighbours_pixels", "train"): 2 / 4, ("distinct_samples_pixels", "none"): 1.0}
    twice = pixels(np.repeat(generated.values, 2, axis=0))
    assert distinct.evaluate(twice, {"train": train})["distinct_samples_pixels", "none"] == 0.5


def test_distinct_neighbours_of_uniform_draws_match_the_occupancy_formula(train):
    index = np.random.default_rng(11).integers(400, size=600)
    share = distinct.evaluate(pixels(train.values[index]), {"train": train})["distinct_neighbours_pixels", "train"]
    # standard deviation of the occupied share here is .01
    assert share == pytest.approx(400 / 600 * (1 - (1 - 1 / 400) ** 600), abs=0.04)


def test_leaving_groups_out_of_the_distinct_share_equals_evaluating_the_subsets(train):
    generated, member = pixels(draw(130, 12)), groups(130, 8)
    without = distinct.leave_out(generated, {"train": train}, member)["distinct_neighbours_pixels", "train"]
    for g in range(8):
        exact = distinct.evaluate(generated.subset(member != g), {"train": train})
        assert without[g] == exact["distinct_neighbours_pixels", "train"]


def test_missing_references_and_foreign_sources_are_refused(train):
    with pytest.raises(ValueError, match='Novelty needs the reference "train", got none'):
        novelty.pointwise(pixels(draw(3, 0)), {})
    with pytest.raises(ValueError, match="Source 400 is no row of the 400 training images"):
        recovered(pixels(draw(1, 0), np.array([400])), train)
    with pytest.raises(ValueError, match="Novelty needs 2 images of the reference train, got 1"):
        novelty.pointwise(pixels(draw(3, 0)), {"train": pixels(draw(1, 1))})
    with pytest.raises(ValueError, match="in 5 dimensions"):
        distinct.evaluate(pixels(draw(3, 0, d=5)), {"train": train})
