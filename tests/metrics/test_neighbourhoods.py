"""Fidelity, diversity, label entropy and duplicates on sets whose answers are known."""

import numpy as np
import pytest

from dpmot.features import Features, joined
from dpmot.metrics import _pairs, diversity, fidelity, label_entropy, novelty


def features(values, extractor="x", **more):
    return Features(values=np.asarray(values, dtype=float), extractor=extractor, **more)


def draw(n, seed, d=8):
    return np.random.default_rng(seed).standard_normal((n, d))


def all_four(generated, real):
    references = {"test": features(real)}
    found = {key[0]: value.mean() for key, value in fidelity.pointwise(features(generated), references).items()}
    return found | {key[0]: value for key, value in diversity.evaluate(features(generated), references).items()}


@pytest.mark.parametrize("real", [draw(50, 0), np.ones((50, 3)), draw(50, 0)[np.arange(50) % 20]])
def test_identical_sets_have_precision_recall_and_coverage_one(real):
    found = all_four(real, real)
    assert found["precision_x"] == found["recall_x"] == found["coverage_x"] == 1


def test_sets_far_apart_have_none():
    assert set(all_four(draw(50, 0) + 100, draw(60, 1)).values()) == {0}


def test_a_collapsed_generator_is_faithful_and_not_diverse():
    real = draw(200, 2)
    found = all_four(np.repeat(real[:1], 100, axis=0), real)
    assert found["precision_x"] == 1 and found["recall_x"] == 1 / 200 and found["coverage_x"] < 0.1


def test_half_of_the_modes_halve_recall_and_coverage():
    modes = np.array([[-50.0], [50.0]]) * np.ones(4)
    real = draw(400, 3, 4) + modes[np.arange(400) % 2]
    found = all_four(draw(400, 4, 4) + modes[0], real)
    assert found["precision_x"] > 0.8 and found["recall_x"] < 0.5 and found["coverage_x"] <= 0.5


def test_too_few_samples_say_how_many_are_needed():
    with pytest.raises(ValueError, match="Precision needs 4 samples, got 3"):
        all_four(draw(3, 5), draw(50, 6))
    with pytest.raises(ValueError, match="Precision needs 6 images of the reference test, got 5"):
        all_four(draw(50, 5), draw(5, 6))


def test_order_changes_no_count():
    generated, real = draw(90, 7), draw(80, 8)
    order = np.random.default_rng(9)
    assert all_four(generated, real) == all_four(order.permutation(generated), order.permutation(real))


def test_label_entropy_is_zero_within_a_class_and_log_two_between_two():
    labels = np.repeat([3, 7], 10)
    train = features(np.where(labels == 3, -1.0, 1.0)[:, None] + 1e-3 * draw(20, 10, 1), "pixels", labels=labels)
    found = label_entropy.pointwise(features([[-1.0], [1.0]], "pixels"), {"train": train})
    np.testing.assert_allclose(found["label_entropy_pixels", "train"], 0, atol=1e-15)
    mixed = features(np.where(np.arange(20) % 2, -1.0, 1.0)[:, None], "pixels", labels=np.arange(20) % 4 // 2)
    found = label_entropy.pointwise(
        features([[1.0]], "pixels"), {"train": mixed, "test": features(draw(20, 1, 1), "pixels")}
    )
    assert found == {("label_entropy_pixels", "train"): pytest.approx(np.log(2))}


def test_duplicates_are_found_and_held_out_images_have_one_in_a_hundred_near_ones():
    train, test = features(draw(500, 11), "pixels"), features(draw(1000, 12), "pixels")
    references = {"train": train, "test": test}
    found = novelty.pointwise(test, references)
    assert not found["exact_duplicates_pixels", "train"].any()
    assert found["near_duplicates_pixels", "train"].mean() == pytest.approx(0.01, abs=0.001)
    copies = train.values[:40] + np.where(np.arange(40) < 10, 0, 1e-3)[:, None]
    found = novelty.pointwise(features(copies, "pixels"), references)
    assert found["exact_duplicates_pixels", "train"].sum() == 10 and found["near_duplicates_pixels", "train"].all()


def test_copies_are_near_duplicates_also_where_held_out_images_hold_duplicates():
    train = features(draw(500, 11), "pixels")
    test = features(np.concatenate([train.values[:20], draw(480, 12)]), "pixels")  # 4 % of them at distance 0
    found = novelty.pointwise(features(train.values[:40], "pixels"), {"train": train, "test": test})
    assert found["near_duplicates_pixels", "train"].all()


def test_what_is_asked_of_each_sample_is_looked_up_once_and_joined_sets_take_it_from_their_parts(monkeypatch):
    train = features(draw(300, 21), "pixels", labels=np.arange(300) % 3)
    references = {"train": train, "test": features(draw(100, 22), "pixels", labels=np.arange(100) % 3)}
    parts = [features(draw(40, seed), "pixels") for seed in (23, 24)]
    whole = features(np.concatenate([part.values for part in parts]), "pixels")
    asked = []
    search = _pairs.nearest
    monkeypatch.setattr(_pairs, "nearest", lambda x, y, k: asked.append((len(x), len(y))) or search(x, y, k))
    for metric in (novelty, label_entropy):
        for part in parts:
            metric.pointwise(part, references)
        found, expected = metric.pointwise(joined(parts), references), metric.pointwise(whole, references)
        assert found.keys() == expected.keys()
        for key, values in found.items():
            np.testing.assert_array_equal(values, expected[key])
    of_parts, of_whole = [*[(40, 100)] * 2, *[(40, 300)] * 2], [(80, 100), (80, 300)]
    assert sorted(pair for pair in asked if pair[0] in (40, 80)) == of_parts + of_whole


def test_who_leaves_groups_out_of_recall_has_seen_the_balls_of_precision(monkeypatch):
    generated, reference = draw(60, 31), draw(90, 32)
    asked = features(generated), {"test": features(reference)}
    expected = [module(*asked) for module in (fidelity.pointwise, diversity.evaluate)]
    again = features(generated), {"test": features(reference)}
    diversity.leave_out(*again, np.arange(60) % 6)
    monkeypatch.setattr(_pairs, "tiles", None)  # all pairs were looked at
    for module, wanted in zip((fidelity.pointwise, diversity.evaluate), expected, strict=True):
        found = module(*again)
        assert found.keys() == wanted.keys()
        for key, values in found.items():
            np.testing.assert_array_equal(values, wanted[key])
