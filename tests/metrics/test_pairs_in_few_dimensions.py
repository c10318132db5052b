"""Nearest rows by a tree: what a look at all pairs finds, ties and copies too."""

import numpy as np
import pytest

from dpmot.metrics import _pairs

RANDOM = np.random.default_rng(0)


def gaussian(n, d, *, scale=1.0):
    return (scale * RANDOM.standard_normal((n, d))).astype(np.float32)


FEW = {
    "free": lambda d: gaussian(400, d),
    "copies": lambda d: gaussian(60, d)[RANDOM.integers(0, 60, 400)],
    "one point": lambda d: np.repeat(gaussian(1, d), 400, axis=0),
    "a lattice": lambda d: RANDOM.integers(0, 4, (400, d)).astype(np.float32),
    "far from the origin": lambda d: gaussian(400, d, scale=1e-3) + np.float32(1e3),
}


@pytest.mark.parametrize("name", FEW)
@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("k", [1, 4, 11])
def test_in_few_dimensions_a_tree_finds_what_a_look_at_all_pairs_finds(name, d, k, monkeypatch):
    monkeypatch.setattr(_pairs, "MANY", 1)
    values = FEW[name](d)
    asked, all_pairs = [], _pairs._nearest_of_all
    monkeypatch.setattr(_pairs, "_nearest_of_all", lambda x, y, k: asked.append(len(x)) or all_pairs(x, y, k))
    (rows,) = _pairs.prepare(values)
    y, x = _pairs.prepare(values[:300], values[200:])
    for found, expected in (
        (_pairs.nearest(rows, rows, k), all_pairs(rows, rows, k)),
        (_pairs.nearest(x, y, k), all_pairs(x, y, k)),
    ):
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])
    assert not asked or name != "free"
