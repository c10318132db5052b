"""Neighbours and balls by float32 products agree with all distances taken one by one in float64."""

import numpy as np
import pytest

from dpmot.metrics import _pairs

RANDOM = np.random.default_rng(0)


def gaussian(n, d, offset=0.0, scale=1.0, dtype=np.float32):
    return (offset + scale * RANDOM.standard_normal((n, d))).astype(dtype)


ORDINARY = gaussian(70, 40)
SETS = {
    "ordinary": ORDINARY,
    "float64": gaussian(70, 40, dtype=np.float64),
    "one dimension": gaussian(70, 1),
    "far from the origin": gaussian(70, 40, offset=1e4),
    "huge": gaussian(70, 40, scale=1e25),
    "tiny": gaussian(70, 40, scale=1e-30),
    "one far outlier": np.concatenate([gaussian(69, 40, scale=1e-4), gaussian(1, 40, scale=1e4)]),
    "duplicates": ORDINARY[RANDOM.integers(0, 20, 70)],
    "near duplicates": (ORDINARY[RANDOM.integers(0, 20, 70)] + gaussian(70, 40, scale=1e-6)).astype(np.float32),
    "collapsed": np.repeat(ORDINARY[:1], 70, axis=0),
    "zero": np.zeros((70, 40), dtype=np.float32),
    "integers, many ties": RANDOM.integers(0, 3, (70, 3)).astype(np.float32),
}


@pytest.fixture(params=[(1024, 1024), (16, 7), (7, 2)], ids="tiles of {0[0]}, pieces of {0[1]}".format, autouse=True)
def small_tiles(request, monkeypatch):
    tile, piece = request.param
    monkeypatch.setattr(_pairs, "TILE", tile)
    monkeypatch.setattr(_pairs, "PIECE", piece)
    monkeypatch.setattr(_pairs, "PENDING", 40 * tile)
    monkeypatch.setattr(_pairs, "CHUNK", 100)


def all_squared(x, y):
    return ((x.astype(np.float64)[:, None] - y.astype(np.float64)) ** 2).sum(axis=-1)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("k", [1, 3, 69])
def test_the_nearest_others_of_a_set_are_those_of_all_distances(name, k):
    (rows,) = _pairs.prepare(SETS[name])
    index, squared = _pairs.nearest(rows, rows, k)
    expected = all_squared(SETS[name], SETS[name])
    np.fill_diagonal(expected, np.inf)
    np.testing.assert_allclose(squared, np.sort(expected, axis=1)[:, :k], rtol=1e-13)
    np.testing.assert_allclose(squared, np.take_along_axis(expected, index, axis=1), rtol=1e-13)
    assert (index != np.arange(70)[:, None]).all()
    assert all(len(set(row)) == k for row in index)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("k", [1, 3])
def test_the_nearest_in_another_set_are_those_of_all_distances_the_first_of_equals(name, k):
    x, y = SETS[name][:33], SETS[name][20:]
    index, squared = _pairs.nearest(*_pairs.prepare(x, y), k)
    expected = all_squared(x, y)
    np.testing.assert_allclose(squared, np.sort(expected, axis=1)[:, :k], rtol=1e-13)
    exact = np.stack([_pairs.squared_distances(x, y, np.full(50, i), np.arange(50)) for i in range(33)])
    np.testing.assert_array_equal(index, exact.argsort(axis=1, kind="stable")[:, :k])


@pytest.mark.parametrize("name", SETS)
def test_the_pairs_within_balls_are_those_of_all_distances_on_the_edge_too(name):
    x, y = SETS[name][:33], SETS[name][20:]
    left, right = _pairs.prepare(x, y)
    exact = np.stack([_pairs.squared_distances(x, y, np.full(50, i), np.arange(50)) for i in range(33)])
    for axis in (0, 1):
        radius = np.sort(exact, axis=1 - axis).take(3, axis=1 - axis)  # a distance that occurs
        found = np.zeros((33, 50), dtype=bool)
        for tile in _pairs.tiles(left, right):
            i, j = tile.within(radius, axis)
            assert not found[i, j].any()
            found[i, j] = True
        np.testing.assert_array_equal(found, exact <= (radius[:, None] if axis == 0 else radius))


def test_distances_are_symmetric_and_zero_to_the_bit():
    i, j = np.divmod(np.arange(4900), 70)
    x = SETS["far from the origin"]
    there, back = _pairs.squared_distances(x, x, i, j), _pairs.squared_distances(x, x, j, i)
    np.testing.assert_array_equal(there, back)
    assert (there[i == j] == 0).all()


def test_asking_for_more_neighbours_than_there_are_says_how_many():
    (rows,) = _pairs.prepare(ORDINARY)
    with pytest.raises(ValueError, match="70 nearest of 69 rows are asked for: give 1 <= k <= 69"):
        _pairs.nearest(rows, rows, 70)


def test_of_long_rows_few_distances_are_taken_in_float64(monkeypatch):
    monkeypatch.setattr(_pairs, "PIECE", 64)
    asked, exact = [], _pairs.squared_distances
    monkeypatch.setattr(_pairs, "squared_distances", lambda x, y, i, j: asked.append(len(i)) or exact(x, y, i, j))
    _pairs.nearest(*_pairs.prepare(gaussian(50, 65536), gaussian(50, 65536)), 1)
    assert sum(asked) < 2 * 50  # of 2500 pairs; in one piece each row would leave more open
