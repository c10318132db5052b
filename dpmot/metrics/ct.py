"""Data-copying test C_T (Meehan, Chaudhuri, Dasgupta 2020).

Let d(x) be the distance to the nearest training image, and split space into the k-means cells of the training
set. In cell c a Mann-Whitney test compares the d of m_c generated with the d of n_c held-out images:

    Z_c = (U_c - m_c n_c / 2) / s_c,   U_c = #{pairs: d(generated) > d(held-out)} + ties / 2,
    C_T = sum_c n_c Z_c / sum_c n_c    over cells with at least 20 images of each kind.

C_T << 0: generated images lie nearer to the training set than held-out ones do, that is copying; C_T >> 0:
underfitting. Under no difference it has mean 0 and standard deviation at most 1. Otherwise it grows like sqrt(n):
compare at equal n only, and its bias cannot be removed.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from dpmot.features import Features
from dpmot.features._kept import kept
from dpmot.metrics import Arrays, Fact, NotMeasurable, References, members, of_all
from dpmot.metrics._neighbours import nearest, required

FACTS = {"ct": Fact("none", "C_T", digits=1, least=0.5)}
SPACE = "pixels"
COPYING = True
DEBIAS = False
MIN_PER_CELL = 20  # below this the normal approximation of U is poor
IMAGES_PER_CELL = 100
MAX_CELLS = 10
LLOYD_STEPS = 100
PART = 1 << 23  # numbers that are float64 at once, 64 MiB


class Distances(NamedTuple):
    """Distance to the nearest training image and k-means cell of each image, (n,) each."""

    distance: np.ndarray
    cell: np.ndarray


def leave_out(generated: Features, references: References, groups: np.ndarray | None) -> Arrays:
    """``ct_<extractor>`` against "train", with "test" as the held-out images, without each group: (G,)."""
    train, test = (required(generated, references, name, "C_T") for name in ("train", "test"))
    own, held_out = (_distances(some, train) for some in (generated, test))
    staying = members(groups, len(generated)).T == 0
    values = [c_t(Distances(own.distance[stays], own.cell[stays]), held_out) for stays in staying]
    metric = f"ct_{generated.extractor}"
    if None in values:
        also = "" if groups is None else ", a jackknife group left out"
        raise NotMeasurable(
            f"C_T needs a cell with {MIN_PER_CELL} generated and {MIN_PER_CELL} held-out images{also}; "
            f"{len(generated)} and {len(test)} images fill none",
            metric,
            "train",
        )
    return {(metric, "train"): np.array(values)}


evaluate = of_all(leave_out)


def c_t(generated: Distances, held_out: Distances) -> float | None:
    """C_T of generated against held-out distances; None where no cell holds 20 of each."""
    total, weight = 0.0, 0
    for cell in range(held_out.cell.max() + 1):
        d, reference = generated.distance[generated.cell == cell], held_out.distance[held_out.cell == cell]
        if min(len(d), len(reference)) >= MIN_PER_CELL:
            total += len(reference) * mann_whitney_z(d, reference)
            weight += len(reference)
    return total / weight if weight else None


def mann_whitney_z(x: np.ndarray, y: np.ndarray) -> float:
    """Standardised U of samples (m,) over (n,) with the tie correction; 0 where all values are equal."""
    m, n = len(x), len(y)
    ordered = np.sort(y)
    below = np.searchsorted(ordered, x, side="left") + np.searchsorted(ordered, x, side="right")
    u = 0.5 * below.sum()  # a tie counts one half
    _, ties = np.unique(np.concatenate([x, y]), return_counts=True)
    size = m + n
    variance = m * n / 12 * (size + 1 - (ties**3 - ties).sum() / (size * (size - 1)))
    return float((u - 0.5 * m * n) / np.sqrt(variance)) if variance > 0 else 0.0


@np.errstate(under="ignore")
def _distances(features: Features, train: Features) -> Distances:
    return Distances(nearest(features, train).distance, _nearest_centre(features.values, _centres(train)))


@kept
def _centres(train: Features) -> np.ndarray:
    """k-means centres (k, d) of the training set: Lloyd from k equal slices along the widest axis.

    Random restarts would make the metric depend on a seed; the test is valid for any cells.
    """
    values = train.values
    k = min(MAX_CELLS, max(1, len(values) // IMAGES_PER_CELL))
    every = np.arange(len(values))
    mean = _mean(values, every)
    widest = _sum((part - mean) ** 2 for part in _parts(values, every)).argmax()
    order = values[:, widest].argsort(kind="stable")
    centres = np.stack([_mean(values, rows) for rows in np.array_split(order, k)])
    for _ in range(LLOYD_STEPS):
        cell = _nearest_centre(values, centres)
        own = [np.flatnonzero(cell == c) for c in range(k)]
        moved = np.stack([_mean(values, rows) if len(rows) else centres[c] for c, rows in enumerate(own)])
        if np.array_equal(moved, centres):
            break
        centres = moved
    return centres


def _nearest_centre(values: np.ndarray, centres: np.ndarray) -> np.ndarray:
    half = 0.5 * (centres**2).sum(axis=1)
    return np.concatenate([(half - part @ centres.T).argmin(axis=1) for part in _parts(values, np.arange(len(values)))])


def _mean(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return _sum(_parts(values, rows)) / len(rows)


def _sum(parts: Iterable[np.ndarray]) -> np.ndarray:
    """Of all rows of the parts, one after the other, as numpy adds the rows of one array: (d,)."""
    total = None
    for part in parts:
        total = (part if total is None else np.concatenate([total[None], part])).sum(axis=0)
    assert total is not None
    return total


def _parts(values: np.ndarray, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Some rows in float64, a few at a time."""
    step = max(1, PART // values.shape[1])
    return (values[rows[k : k + step]].astype(np.float64) for k in range(0, len(rows), step))
