"""Nearest neighbours and balls of nearest neighbours in Euclidean distance, exact, computed once for each set.

Threads that ask for the same neighbours before there are any may each compute them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from dpmot.features import Features, remembered
from dpmot.metrics import _pairs

PRECISION_K = 3  # Kynkaanniemi et al. 2019, as torch-fidelity has it
DENSITY_K = 5  # Naeem et al. 2020
SEARCHED = 10
SPARE = 8  # neighbours beyond precision's k that are looked up with it, to have k of them whichever group is left out


@dataclass(frozen=True, eq=False)
class Nearest:
    """The nearest row of a reference for each of n samples.

    Attributes:
        index: row of the reference, int64 (n,); the first of equals.
        distance: Euclidean, float64 (n,).
    """

    index: np.ndarray
    distance: np.ndarray


@dataclass(frozen=True, eq=False)
class Balls:
    """Who lies in whose ball: around each row, out to its k-th nearest other row of the same set, edge included.

    Attributes:
        inside: k -> number of the reference's balls that hold each sample, int64 (n,).
        covered: whether a reference row's ball (k = 5) holds a sample, bool (m,).
        recalled: whether a reference row lies in a sample's ball (k = 3), bool (m,).
    """

    inside: Mapping[int, np.ndarray]
    covered: np.ndarray
    recalled: np.ndarray


def nearest(generated: Features, reference: Features) -> Nearest:
    """The nearest reference row of each sample, computed once for each pair of Features."""
    index, squared = neighbours(generated, reference, 1)
    return Nearest(index[:, 0], np.sqrt(squared[:, 0]))


def neighbours(generated: Features, reference: Features, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest reference rows of each sample: index (n, k) and squared distance (n, k), nearest first.

    Computed once for each pair of Features, and of joined ones once for each of their parts, for ``SEARCHED`` of them
    at least: the products, which more do not add to, are most of a search.

    Raises:
        ValueError: fewer than k rows.
    """
    found = _nearest_in(generated)
    held = found.get(reference)
    if held is None or held[0].shape[1] < k:
        held = found[reference] = _search(generated, reference, max(k, min(SEARCHED, len(reference))))
    index, squared = held
    return index[:, :k], squared[:, :k]


def _search(generated: Features, reference: Features, k: int) -> tuple[np.ndarray, np.ndarray]:
    if generated.parts:
        parts = [neighbours(part, reference, k) for part in generated.parts]
        return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    y, x = _pairs.prepare(reference.values, generated.values)
    return _pairs.nearest(x, y, k)


@remembered
def nearest_other(reference: Features) -> Nearest:
    """For each row of a reference its nearest other row.

    Raises:
        ValueError: fewer than two rows.
    """
    if len(reference) < 2:
        raise ValueError(f"A nearest other image needs at least two images, got {len(reference)}")
    index, squared = _others(reference)[0]
    return Nearest(index[:, 0], np.sqrt(squared[:, 0]))


def distances(x: np.ndarray, y: np.ndarray, j: np.ndarray) -> np.ndarray:
    """|x_i - y_j(i)| for rows x (n, d), y (m, d) and indices j (n,): exactly zero for equal rows."""
    return np.sqrt(_pairs.squared_distances(x, y, np.arange(len(x)), j))


def nearest_others(features: Features, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest other rows of each row, computed once: index (n, k) and squared distance (n, k), nearest first.

    Raises:
        ValueError: not more than k rows.
    """
    searches = _others(features)
    held = searches[0]
    if held[0].shape[1] < k:
        held = searches[0] = _search_within(features, k)
    return held[0][:, :k], held[1][:, :k]


def balls(generated: Features, reference: Features) -> Balls:
    """Which samples lie in which balls, computed once for each pair of Features.

    Raises:
        ValueError: not more than five rows in one of them.
    """
    found = _balls_of(generated)
    if reference not in found:
        found[reference] = _balls(generated, reference)
    return found[reference]


def keep_balls(generated: Features, reference: Features, found: Balls) -> None:
    """What :func:`balls` would find, from who has looked at all pairs already."""
    _balls_of(generated)[reference] = found


def radii(features: Features, k: int) -> np.ndarray:
    """Squared distance to the k-th nearest other row, float64 (n,).

    Raises:
        ValueError: not more than k rows.
    """
    if len(features) <= k:
        raise ValueError(f"The distance to the {k}-th nearest other sample needs {k + 1} samples, got {len(features)}")
    return nearest_others(features, k)[1][:, -1]


def _balls(generated: Features, reference: Features) -> Balls:
    own = {k: radii(reference, k) for k in (PRECISION_K, DENSITY_K)}
    theirs = radii(generated, PRECISION_K)
    y, x = _pairs.prepare(reference.values, generated.values)
    inside = {k: np.zeros(len(x), dtype=np.int64) for k in own}
    covered, recalled = np.zeros(len(y), dtype=bool), np.zeros(len(y), dtype=bool)
    for tile in _pairs.tiles(x, y):
        for k, squared in own.items():
            i, j = tile.within(squared, axis=1)
            inside[k] += np.bincount(i, minlength=len(x))
            if k == DENSITY_K:
                covered[j] = True
        recalled[tile.within(theirs, axis=0)[1]] = True
    return Balls(inside, covered, recalled)


def required(generated: Features, references: Mapping[str, Features], name: str, metric: str) -> Features:
    """The reference ``name``, checked to be comparable.

    Raises:
        ValueError: it is missing, empty, or in another space.
    """
    if name not in references or len(references[name]) == 0:
        raise ValueError(f'{metric} needs the reference "{name}", got {sorted(references) or "none"}')
    generated.check_comparable(references[name], name)
    return references[name]


@remembered
def _others(features: Features) -> list[tuple[np.ndarray, np.ndarray]]:
    """The widest search so far, in a list for a wider one to replace it."""
    return [_search_within(features, min(PRECISION_K + SPARE, len(features) - 1))]


def _search_within(features: Features, k: int) -> tuple[np.ndarray, np.ndarray]:
    (rows,) = _pairs.prepare(features.values)
    return _pairs.nearest(rows, rows, k)


@remembered
def _nearest_in(generated: Features) -> "WeakKeyDictionary[Features, tuple[np.ndarray, np.ndarray]]":
    return WeakKeyDictionary()


@remembered
def _balls_of(generated: Features) -> "WeakKeyDictionary[Features, Balls]":
    return WeakKeyDictionary()
