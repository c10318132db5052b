"""Nearest neighbours and balls of nearest neighbours in Euclidean distance, exact, computed once for each set."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dpmot.features import Features, remembered
from dpmot.features._kept import kept
from dpmot.metrics import References, _pairs, need

PRECISION_K = 3  # Kynkaanniemi et al. 2019, as torch-fidelity has it
DENSITY_K = 5  # Naeem et al. 2020
SEARCHED = 10
SPARE = 8  # neighbours beyond precision's k that are looked up with it, to have k of them whichever group is left out


@dataclass(frozen=True, eq=False)
class Nearest:
    """The nearest row to each of n samples: its number, the first of equals, int64 (n,), and its distance, float64."""

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


def nearest(generated: Features, reference: Features | None) -> Nearest:
    """The nearest reference row of each sample, or for None its nearest other sample; computed once."""
    index, squared = neighbours(generated, reference, 1)
    return Nearest(index[:, 0], np.sqrt(squared[:, 0]))


def neighbours(generated: Features, reference: Features | None, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest reference rows of each sample, or for None its k nearest other samples.

    Their index (n, k) and squared distance (n, k), nearest first. More than k are computed, once for all who ask: the
    products, which more do not add to, are most of a search.
    """
    least, rows = (PRECISION_K + SPARE, len(generated) - 1) if reference is None else (SEARCHED, len(reference))
    index, squared = _search(generated, reference, max(k, min(least, rows)))
    return index[:, :k], squared[:, :k]


@kept
@np.errstate(under="ignore")
def _search(generated: Features, reference: Features | None, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest rows of a reference; for None the k nearest other samples."""
    if reference is None:
        (rows,) = _pairs.prepare(generated.values)
        return _pairs.nearest(rows, rows, k)
    if generated.parts:
        index, squared = zip(*(_search(part, reference, k) for part in generated.parts), strict=True)
        return np.concatenate(index), np.concatenate(squared)
    y, x = _pairs.prepare(reference.values, generated.values)
    return _pairs.nearest(x, y, k)


def balls(generated: Features, reference: Features) -> Balls:
    """Which samples lie in which balls, computed once for each pair of Features of more than five rows."""
    known = _known_balls(generated, reference)
    if not known:
        own = radii(generated, PRECISION_K)
        reached_without(generated, reference, np.zeros(len(generated), dtype=np.int64), own[:, None])
    return known[0]


@remembered
def _known_balls(generated: Features, reference: Features) -> list[Balls]:
    """None, until someone has looked at all pairs."""
    return []


def radii(features: Features, k: int) -> np.ndarray:
    """Squared distance to the k-th nearest other row, float64 (n,)."""
    return neighbours(features, None, k)[1][:, -1]


@np.errstate(under="ignore")
def reached_without(
    generated: Features, reference: Features, groups: np.ndarray, without: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How many samples outside group g recall (k = 3), and cover (k = 5), each reference row: int64 (m, G) each.

    Args:
        generated: the n samples.
        reference: the m rows.
        groups: of the samples, (n,) in 0..G-1.
        without: squared radius of each sample's ball without group g, (n, G); at least that with it.
    """
    own = radii(generated, PRECISION_K)
    theirs = {k: radii(reference, k) for k in (PRECISION_K, DENSITY_K)}
    y, x = _pairs.prepare(reference.values, generated.values)
    others = np.arange(without.shape[1]) != groups[:, None]
    shape = len(y), without.shape[1]
    inside = {k: np.zeros(len(x), dtype=np.int64) for k in theirs}
    recalling, covering, grown = (np.zeros(shape, dtype=np.int64) for _ in range(3))
    largest = np.maximum(own, np.where(others, without, 0).max(axis=1))
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
        pair, g = np.nonzero((squared[:, None] <= without[i]) & others[i])
        grown += _tally(j[pair], g, shape)
    _known_balls(generated, reference)[:] = [Balls(inside, covering.max(axis=1) > 0, recalling.max(axis=1) > 0)]
    return recalling.sum(axis=1, keepdims=True) - recalling + grown, covering.sum(axis=1, keepdims=True) - covering


def _tally(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return np.bincount(rows * shape[1] + columns, minlength=shape[0] * shape[1]).reshape(shape)


def required(
    generated: Features, references: References, name: str, metric: str, *, least: int = 1, stem: str = ""
) -> Features:
    """The reference ``name``, refused where it is missing, in another space, or of fewer images than ``least``."""
    if name not in references:
        raise ValueError(f'{metric} needs the reference "{name}", got {sorted(references) or "none"}')
    generated.check_comparable(references[name], name)
    told = f"{metric} needs {least} images of the reference {name}"
    need(len(references[name]), least, told, f"{stem}_{generated.extractor}", name)
    return references[name]


def with_balls(generated: Features, references: References, name: str, metric: str, stem: str) -> Features:
    """The reference ``name`` where both sets have enough images for their balls."""
    told = f"{metric} needs {PRECISION_K + 1} samples"
    need(len(generated), PRECISION_K + 1, told, f"{stem}_{generated.extractor}", name)
    return required(generated, references, name, metric, least=DENSITY_K + 1, stem=stem)
