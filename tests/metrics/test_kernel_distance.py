"""The kernel distance against its definition, its unbiasedness, and leaving groups out."""

import numpy as np
import pytest

from dpmot.features import Features, joined
from dpmot.metrics import kernel_distance


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
