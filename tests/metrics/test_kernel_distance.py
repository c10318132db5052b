"""The kernel distance against its definition, its unbiasedness, and leaving groups out."""

import numpy as np
import pytest

from dpmot import plugins
from dpmot.features import Features, joined
from dpmot.metrics import kernel_distance
from dpmot.statistics import jackknife


def by_definition(x, y):
    def kernel(a, b):
        return (a @ b.T / x.shape[1] + 1) ** 3

    def others(a):
        k = kernel(a, a)
        return (k.sum() - np.trace(k)) / (len(a) * (len(a) - 1))

    return others(x) + others(y) - 2 * kernel(x, y).mean()


@pytest.mark.parametrize("tile", [1024, 16])
def test_it_is_its_definition_whatever_the_tile(tile, monkeypatch):
    monkeypatch.setattr(kernel_distance, "TILE", tile)
    draw = np.random.default_rng(0)
    x, y = draw.standard_normal((70, 6)), draw.standard_normal((50, 6)) + 0.5
    assert kernel_distance.distance(x, y) == pytest.approx(by_definition(x, y), rel=1e-12)


def test_two_samples_of_one_law_are_at_distance_zero_on_average():
    draw = np.random.default_rng(1)
    found = [kernel_distance.distance(*draw.standard_normal((2, 40, 5))) for _ in range(400)]
    assert abs(np.mean(found)) < 3 * np.std(found) / 20


def test_fewer_samples_than_a_subset_or_than_two_are_refused():
    x = np.zeros((10, 3))
    with pytest.raises(ValueError, match="Subsets of 1000 need that many samples on both sides, got 10 and 10"):
        kernel_distance.subsets(x, x)
    with pytest.raises(ValueError, match="needs at least two samples, got 1"):
        kernel_distance.evaluate(Features(values=x[:1], extractor="x"), {})


def test_joined_samples_take_the_sums_of_their_parts(monkeypatch):
    draw = np.random.default_rng(2)
    one, two, real = (Features(values=draw.standard_normal((n, 4)), extractor="x") for n in (30, 20, 40))
    whole = Features(values=np.concatenate([one.values, two.values]), extractor="x")
    groups = np.arange(50) % 5
    expected = kernel_distance.leave_out(whole, {"test": real}, groups)["kd_x", "test"]
    for part in (one, two):
        kernel_distance.evaluate(part, {"test": real})
    monkeypatch.setattr(kernel_distance, "_sums_across", None)  # all is there
    found = kernel_distance.leave_out(joined([one, two]), {"test": real}, groups)["kd_x", "test"]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def stratified(draw, n, labelled=True):
    labels = np.arange(n) % 4
    values = 2 * np.eye(5)[labels] + 0.3 * draw.standard_normal((n, 5))
    return Features(values=values, extractor="x", labels=labels if labelled else None)


def test_two_samples_that_hold_each_class_in_its_share_are_at_distance_zero_on_average():
    draw, found = np.random.default_rng(3), {True: [], False: []}
    for labelled, values in found.items():
        for _ in range(200):
            one, two = (stratified(draw, 40, labelled) for _ in range(2))
            values.append(kernel_distance.evaluate(one, {"test": two})["kd_x", "test"])
    assert abs(np.mean(found[True])) < 3 * np.std(found[True]) / 200**0.5
    assert np.mean(found[False]) < -30 * np.std(found[False]) / 200**0.5  # what independent samples would be spared


def test_two_parts_of_the_digits_are_at_a_distance_whose_interval_holds_zero():
    parts = plugins.find("data", "digits").load()
    images = {name: parts.part(name) for name in "AC"}
    one, two = (Features(values=x.reshape(len(x), -1) / 255, extractor="x", labels=y) for x, y in images.values())
    key, group = ("kd_x", "test"), jackknife.stratified_groups(one.labels, np.random.default_rng(0))
    full, *parts = kernel_distance.leave_out(one, {"test": two}, group + 1)[key]
    theirs = jackknife.variance_of_mean(kernel_distance.reference_rows(one, {"test": two})[key], two.labels)
    found = jackknife.interval(full, np.array(parts), debias=False, reference=theirs, same_law=True)
    assert found.low < 0 < found.high


def test_copies_of_reference_images_are_not_compared_with_themselves():
    draw = np.random.default_rng(4)
    real = Features(values=draw.standard_normal((50, 6)), extractor="x")
    kernel = (real.values @ real.values.T / 6 + 1) ** 3
    others = (kernel.sum() - np.trace(kernel)) / (50 * 49)
    found = kernel_distance.evaluate(Features(values=real.values[np.arange(5000) % 50], extractor="x"), {"test": real})
    # the law of the copies, of which two are the same image once in 50, against independent images
    expected = (np.trace(kernel) / 50 - others) / 50
    assert found["kd_x", "test"] == pytest.approx(expected, rel=0.02) and expected > 0  # 5,000 of them, no law
    some = Features(values=np.concatenate([real.values[:3], draw.standard_normal((20, 6))]), extractor="x")
    across = (some.values @ real.values.T / 6 + 1) ** 3
    across[np.arange(3), np.arange(3)] = np.nan
    within = by_definition(some.values, real.values) + 2 * ((some.values @ real.values.T / 6 + 1) ** 3).mean()
    found = kernel_distance.evaluate(some, {"test": real})["kd_x", "test"]
    assert found == pytest.approx(within - 2 * np.nanmean(across, axis=1).mean(), rel=1e-12)


def test_sets_of_one_and_the_same_image_are_at_distance_zero():
    one = Features(values=np.ones((30, 3)), extractor="x")
    assert kernel_distance.evaluate(one, {"test": one})["kd_x", "test"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("labels", [np.arange(30), np.minimum(np.arange(30), 27), np.r_[np.zeros(29, int), 1]])
def test_classes_of_one_image_are_taken_together(labels):
    values = np.random.default_rng(5).standard_normal((30, 3))
    one = Features(values=values, extractor="x", labels=labels)
    groups = np.arange(30) % 10
    found = kernel_distance.leave_out(one, {"test": one.subset(np.arange(29, -1, -1))}, groups)["kd_x", "test"]
    assert np.isfinite(found).all()
