"""Kernel distance: the squared maximum mean discrepancy under k(x, y) = (<x, y> / d + 1)^3 (Binkowski et al. 2018).

    KD = mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{i, j} k(x_i, y_j)

is unbiased, uses all pairs, and may be negative. Three things keep it so.

- The splits of a data set hold each class in its share, so two of their images are of one class less often than two
  independent ones. The means within a set with labels are therefore taken for each pair of classes, and weighted by
  the classes' shares; so the value is that of the law in which classes have these shares.
- A sample that is a copy of a reference image, its features equal to the last bit, is not compared with that image: a
  law cannot be nearer to the images that it is made of than to others, and their distance would come out below 0.
- The interval is that of the two laws' distance: it adds the variance of the reference. :func:`subsets` is the protocol
  by which KID is usually published: mean and standard deviation of KD over 100 random subsets of 1000; that deviation
  is no error of the mean, and none of the above is done.
"""

from dataclasses import dataclass

import numpy as np

from dpmot.features import Features, remembered
from dpmot.features._kept import kept
from dpmot.metrics import Arrays, Fact, References, check_groups, need, of_all
from dpmot.metrics._neighbours import required

FACTS = {"kd": Fact("lower", "KD", "Kernel distance")}
SPACE = "features"
DEBIAS = False  # there is no bias to remove
DISTANCE = True
TILE = 256  # rows of each side: 512 KiB, which stay in a core's cache
MOST_CLASSES = 100  # that are kept apart; the rarest beyond them are one


@dataclass(frozen=True, eq=False)
class Across:
    """Sums of k(x_i, y_j) over the pairs that are no copies of each other, and how many copies there are.

    Attributes:
        samples: over j, float64 (n,).
        rows: over i, float64 (m,).
        sample_copies: rows that a sample equals, int64 (n,).
        row_copies: samples that a row equals, int64 (m,).
    """

    samples: np.ndarray
    rows: np.ndarray
    sample_copies: np.ndarray
    row_copies: np.ndarray


@np.errstate(under="ignore")
def leave_out(generated: Features, references: References, groups: np.ndarray | None) -> Arrays:
    """``kd_<extractor>`` against every reference, without each group: (G,)."""
    for name in references:
        need(len(generated), 2, "KD needs two samples", f"kd_{generated.extractor}", name)
        required(generated, references, name, "KD", least=2, stem="kd")
    if groups is not None:
        check_groups(groups, len(generated))
    own = _within(generated.values.astype(np.float64), generated.labels, groups)
    result = {}
    for name, reference in references.items():
        across = _across(generated, reference)
        mean = _means(across.samples, across.sample_copies, generated.values, len(reference))
        without = _mean_without(mean, groups)
        result[f"kd_{generated.extractor}", name] = own + _means_within(reference).mean() - 2 * without
    return result


evaluate = of_all(leave_out)


@np.errstate(under="ignore")
def reference_rows(generated: Features, references: References) -> Arrays:
    """Twice the mean of k(y_j, .) over the reference less that over the samples, (m,): its part of the variance."""
    result = {}
    for name, reference in references.items():
        across = _across(generated, reference)
        mean = _means(across.rows, across.row_copies, reference.values, len(generated))
        result[f"kd_{generated.extractor}", name] = 2 * (_means_within(reference) - mean)
    return result


def distance(x: np.ndarray, y: np.ndarray) -> float:
    """KD of samples (n, d) and (m, d), float64, of all pairs.

    Raises:
        ValueError: fewer than two samples on a side.
    """
    x, y = x.astype(np.float64), y.astype(np.float64)
    samples, _ = _sums_across(x, y)
    across = samples.sum() / (len(x) * len(y))
    return float(_within(x, None, None)[0] + _within(y, None, None)[0] - 2 * across)


def subsets(
    x: np.ndarray, y: np.ndarray, *, count: int = 100, size: int = 1000, seed: int = 2020
) -> tuple[float, float]:
    """Mean and standard deviation of KD over random subsets of both sides, as torch-fidelity draws them.

    Raises:
        ValueError: fewer samples than ``size``.
    """
    if min(len(x), len(y)) < size:
        raise ValueError(f"Subsets of {size} need that many samples on both sides, got {len(x)} and {len(y)}")
    draw = np.random.RandomState(seed)  # numpy's older generator, because the published protocol has it
    found = []
    for _ in range(count):
        i, j = (draw.choice(n, size, replace=False) for n in (len(x), len(y)))
        found.append(distance(x[i], y[j]))
    return float(np.mean(found)), float(np.std(found))


@kept
def _means_within(reference: Features) -> np.ndarray:
    """The mean of k(y_j, .) over the other rows, each class in its share: (m,), whose mean is that within the set."""
    y = reference.values.astype(np.float64)
    strata = _strata(reference.labels, np.zeros((len(y), 1)))
    member = np.eye(strata.max() + 1)[strata]
    sums = np.zeros(member.shape)
    for first in range(0, len(y), TILE):
        for second in range(0, len(y), TILE):
            kernel = _kernel(y[first : first + TILE], y[second : second + TILE])
            if first == second:
                np.fill_diagonal(kernel, 0)
            sums[first : first + TILE] += kernel @ member[second : second + TILE]
    return (sums / (member.sum(axis=0) - member)) @ member.mean(axis=0)


def _within(x: np.ndarray, labels: np.ndarray | None, groups: np.ndarray | None) -> np.ndarray:
    """Mean of k(x_i, x_j), i != j, each class in its share, without each group (G,), or of all (1,)."""
    if len(x) < 2:
        raise ValueError(f"A kernel distance needs at least two samples, got {len(x)}")
    member = np.zeros((len(x), 1)) if groups is None else np.eye(groups.max() + 1)[groups]
    strata = _strata(labels, member)
    part = np.concatenate([member, 1 - member.sum(axis=1, keepdims=True)], axis=1)  # the last: in no group
    shape = strata.max() + 1, part.shape[1]
    cells = np.einsum("nk,ng->nkg", np.eye(shape[0])[strata], part).reshape(len(x), -1)
    sums = np.zeros((cells.shape[1],) * 2)  # of k over pairs of cells, each a class within a group
    for first in range(0, len(x), TILE):
        for second in range(first, len(x), TILE):
            kernel = _kernel(x[first : first + TILE], x[second : second + TILE])
            if first == second:
                np.fill_diagonal(kernel, 0)
            pairs = cells[first : first + TILE].T @ (kernel @ cells[second : second + TILE])
            sums += pairs if first == second else pairs + pairs.T
    return _without(sums.reshape(shape * 2), cells.sum(axis=0).reshape(shape))[: member.shape[1]]


def _without(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Means over pairs without each group (G,), from sums (K, G, K, G) and counts (K, G) of classes and groups."""
    left = (counts.sum(axis=1, keepdims=True) - counts).T
    if (left.sum(axis=1)[:-1] < 2).any():
        fewest = int(left.sum(axis=1).min())
        raise ValueError(f"Without a group only {fewest} samples remain: a kernel distance needs two")
    pairs = sums.sum(axis=(1, 3)) - sums.sum(axis=3).transpose(1, 0, 2) - sums.sum(axis=1).transpose(2, 0, 1)
    pairs = pairs + np.einsum("kgcg->gkc", sums)
    numbers = left[:, :, None] * left[:, None, :] - left[:, :, None] * np.eye(len(counts))
    share = left / np.maximum(left.sum(axis=1, keepdims=True), 1)
    return np.einsum("gk,gc,gkc->g", share, share, pairs / np.maximum(numbers, 1))


def _strata(labels: np.ndarray | None, member: np.ndarray) -> np.ndarray:
    """Classes as 0..K-1, int64 (n,), of which two rows are left without any group; rarer ones are one, or in another.

    ``member`` (n, G) is 1 where a row is in a group.
    """
    if labels is None:
        return np.zeros(len(member), dtype=np.int64)
    _, own, count = np.unique(labels, return_inverse=True, return_counts=True)
    lost = np.zeros((len(count), member.shape[1]))
    np.add.at(lost, own, member)
    left = count - lost.max(axis=1)
    common = [k for k in np.argsort(-left, kind="stable")[:MOST_CLASSES] if left[k] >= 2]
    strata = np.full(len(count), len(common))
    strata[common] = np.arange(len(common))
    rest = strata == len(common)
    if rest.any() and common and (count[rest].sum() - lost[rest].sum(axis=0)).min() < 2:
        strata[rest] = len(common) - 1
    return strata[own]


@remembered
def _across(generated: Features, reference: Features) -> Across:
    """Sums over pairs of both sets; of joined samples, those of their parts."""
    if generated.parts:
        parts = [_across(part, reference) for part in generated.parts]
        samples, copies = (np.concatenate([getattr(p, name) for p in parts]) for name in ("samples", "sample_copies"))
        rows, copied = (np.sum([getattr(p, name) for p in parts], axis=0) for name in ("rows", "row_copies"))
        return Across(samples, rows, copies, copied)
    x, y = generated.values.astype(np.float64), reference.values.astype(np.float64)
    samples, rows = _sums_across(x, y)
    same: dict[bytes, list[int]] = {}
    for place, row in enumerate(y + 0.0):  # -0 is 0
        same.setdefault(row.tobytes(), []).append(place)
    pairs = [(k, place) for k, row in enumerate(x + 0.0) for place in same.get(row.tobytes(), ())]
    i, j = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    kernel = _self(x)[i]
    samples -= np.bincount(i, weights=kernel, minlength=len(x))
    rows -= np.bincount(j, weights=kernel, minlength=len(y))
    return Across(samples, rows, np.bincount(i, minlength=len(x)), np.bincount(j, minlength=len(y)))


def _sums_across(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of k(x_i, y_j) over j, (n,), and over i, (m,)."""
    samples, rows = np.zeros(len(x)), np.zeros(len(y))
    for first in range(0, len(x), TILE):
        for second in range(0, len(y), TILE):
            kernel = _kernel(x[first : first + TILE], y[second : second + TILE])
            samples[first : first + TILE] += kernel.sum(axis=1)
            rows[second : second + TILE] += kernel.sum(axis=0)
    return samples, rows


def _means(sums: np.ndarray, copies: np.ndarray, own: np.ndarray, number: int) -> np.ndarray:
    """Mean of k over those of ``number`` others that are no copy; where all are, k with itself."""
    alone = copies == number
    return np.where(alone, _self(own.astype(np.float64)), sums / np.where(alone, 1, number - copies))


def _mean_without(mean: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """The mean of means (n,) without each group (G,), or of all (1,)."""
    if groups is None:
        return mean.mean(keepdims=True)
    return (mean.sum() - np.bincount(groups, weights=mean)) / (len(mean) - np.bincount(groups))


def _self(x: np.ndarray) -> np.ndarray:
    return (np.einsum("nd,nd->n", x, x) / x.shape[1] + 1) ** 3


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    result = x @ y.T
    result /= x.shape[1]
    result += 1
    cube = result * result
    cube *= result
    return cube
