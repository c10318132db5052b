"""Nearest neighbours in Euclidean distance, exact, in blocks: |x - y|^2 = |x|^2 - 2 <x, y> + |y|^2."""

from collections.abc import Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from dpmot.features import Features, remembered

BLOCK = 1 << 23  # distances held at a time, 64 MiB


@dataclass(frozen=True, eq=False)
class Nearest:
    """The nearest row of a reference for each of n samples.

    Attributes:
        index: row of the reference, int64 (n,); the first of equals.
        distance: Euclidean, float64 (n,).
    """

    index: np.ndarray
    distance: np.ndarray


def nearest(generated: Features, reference: Features) -> Nearest:
    """The nearest reference row of each sample, computed once for each pair of Features."""
    found = _found_for(generated)
    if reference not in found:
        x, y = (features.values.astype(np.float64) for features in (generated, reference))
        found[reference] = _search(x, y, exclude_self=False)
    return found[reference]


@remembered
def nearest_other(reference: Features) -> Nearest:
    """For each row of a reference its nearest other row.

    Raises:
        ValueError: fewer than two rows.
    """
    if len(reference) < 2:
        raise ValueError(f"A nearest other image needs at least two images, got {len(reference)}")
    y = reference.values.astype(np.float64)
    return _search(y, y, exclude_self=True)


def distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Euclidean distance row by row, by differences: exactly zero for equal rows."""
    return np.sqrt(((x - y) ** 2).sum(axis=1))


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
def _found_for(generated: Features) -> "WeakKeyDictionary[Features, Nearest]":
    return WeakKeyDictionary()


def _search(x: np.ndarray, y: np.ndarray, *, exclude_self: bool) -> Nearest:
    index = np.empty(len(x), dtype=np.int64)
    half_norms = 0.5 * (y**2).sum(axis=1)
    rows = max(1, BLOCK // len(y))
    for i in range(0, len(x), rows):
        scores = half_norms - x[i : i + rows] @ y.T  # (|x - y|^2 - |x|^2) / 2
        if exclude_self:
            own = np.arange(len(scores))
            scores[own, i + own] = np.inf
        index[i : i + rows] = scores.argmin(axis=1)
    return Nearest(index=index, distance=distances(x, y[index]))
