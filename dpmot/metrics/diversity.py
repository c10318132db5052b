"""Diversity: is every real image's neighbourhood reached? Shares of the real images of a reference.

- recall (Kynkaanniemi et al. 2019, k = 3): those that lie in the ball of a sample, which reaches to the sample's k-th
  nearest other sample.
- coverage (Naeem et al. 2020, k = 5): those whose own ball, out to the k-th nearest other real image, holds a sample.

Both grow with the number of samples: compare at equal n only. In simulation (``benchmarks/coverage.py``) their
jackknife errors are a third too large, so their intervals are conservative.
"""

from collections.abc import Mapping

import numpy as np

from dpmot.features import Features
from dpmot.metrics import _pairs
from dpmot.metrics._neighbours import (
    DENSITY_K,
    PRECISION_K,
    SPARE,
    Balls,
    balls,
    keep_balls,
    nearest_others,
    radii,
    required,
)

DIRECTION = {"recall": "higher", "coverage": "higher"}
SPACE = "features"
DEBIAS = False
RANGE = (0.0, 1.0)


def evaluate(generated: Features, references: Mapping[str, Features]) -> dict[tuple[str, str], float]:
    """``recall_<extractor>`` and ``coverage_<extractor>`` against every reference, in [0, 1].

    Raises:
        ValueError: a reference is in another space, or a set has not more than five rows.
    """
    result = {}
    for name in references:
        found = balls(generated, required(generated, references, name, "Recall"))
        result[f"recall_{generated.extractor}", name] = float(found.recalled.mean())
        result[f"coverage_{generated.extractor}", name] = float(found.covered.mean())
    return result


def leave_out(
    generated: Features, references: Mapping[str, Features], groups: np.ndarray
) -> dict[tuple[str, str], np.ndarray]:
    """The shares without each group: (G,) for groups (n,) in 0..G-1. Balls of samples grow where neighbours leave."""
    own, without = radii(generated, PRECISION_K), _radii_without(generated, groups)
    result = {}
    for name in references:
        reference = required(generated, references, name, "Recall")
        recalled, covered = _counts(generated, reference, groups, own, without)
        result[f"recall_{generated.extractor}", name] = (recalled > 0).mean(axis=0)
        result[f"coverage_{generated.extractor}", name] = (covered > 0).mean(axis=0)
    return result


def _radii_without(generated: Features, groups: np.ndarray) -> np.ndarray:
    """Squared distance to the k-th nearest other sample that is not of group g, (n, G)."""
    n, num_groups = len(generated), groups.max() + 1
    k = PRECISION_K
    if n - np.bincount(groups).max() <= k:
        raise ValueError(
            f"Without its largest group of {np.bincount(groups).max()} of {n} samples, none has {k} others"
        )
    known = min(n - 1, k + SPARE)
    while True:
        index, squared = nearest_others(generated, known)
        result = np.empty((n, num_groups))
        short = False
        for g in range(num_groups):
            place = (groups[index] != g).cumsum(axis=1) == k
            short |= not (place.any(axis=1) | (groups == g)).all()
            result[:, g] = squared[np.arange(n), place.argmax(axis=1)]
        if not short:
            return result
        known = min(n - 1, 2 * known)


def _counts(generated: Features, reference: Features, groups: np.ndarray, own: np.ndarray, without: np.ndarray):
    """How many samples outside group g recall, and cover, each reference row: two arrays (m, G)."""
    num_groups = without.shape[1]
    theirs = {k: radii(reference, k) for k in (PRECISION_K, DENSITY_K)}
    y, x = _pairs.prepare(reference.values, generated.values)
    shape = (len(y), num_groups)
    inside = {k: np.zeros(len(x), dtype=np.int64) for k in theirs}
    recalling, covering, grown = (np.zeros(shape, dtype=np.int64) for _ in range(3))
    largest = np.where(np.arange(num_groups) == groups[:, None], 0, without).max(axis=1)
    for tile in _pairs.tiles(x, y):
        for k, ball in theirs.items():
            i, j = tile.within(ball, axis=1)
            inside[k] += np.bincount(i, minlength=len(x))
        covering += _tally(j, groups[i], shape)  # of the last k, density's
        i, j = tile.within(largest, axis=0)
        squared = _pairs.squared_distances(generated.values, reference.values, i, j)
        near = squared <= own[i]
        recalling += _tally(j[near], groups[i[near]], shape)
        i, j, squared = i[~near], j[~near], squared[~near]
        pair, g = np.nonzero((squared[:, None] <= without[i]) & (groups[i][:, None] != np.arange(num_groups)))
        grown += _tally(j[pair], g, shape)
    keep_balls(generated, reference, Balls(inside, covering.any(axis=1), recalling.any(axis=1)))
    return recalling.sum(axis=1, keepdims=True) - recalling + grown, covering.sum(axis=1, keepdims=True) - covering


def _tally(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return np.bincount(rows * shape[1] + columns, minlength=shape[0] * shape[1]).reshape(shape)
