"""Kernel distance: the squared maximum mean discrepancy under k(x, y) = (<x, y> / d + 1)^3 (Binkowski et al. 2018).

    KD = mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{i, j} k(x_i, y_j)

is unbiased, uses all pairs, and may be negative. :func:`subsets` is the protocol by which KID is usually published:
mean and standard deviation of KD over 100 random subsets of 1000; that deviation is no error of the mean.
"""

import numpy as np

from dpmot.features import Features, remembered
from dpmot.metrics import Arrays, Fact, References, members, need, of_all
from dpmot.metrics._neighbours import required

FACTS = {"kd": Fact("lower", "KD", "Kernel distance")}
SPACE = "features"
DEBIAS = False  # there is no bias to remove
TILE = 256  # rows of each side: 512 KiB, which stay in a core's cache


@np.errstate(under="ignore")
def leave_out(generated: Features, references: References, groups: np.ndarray | None) -> Arrays:
    """``kd_<extractor>`` against every reference, without each group: (G,)."""
    for name in references:
        need(len(generated), 2, "KD needs two samples", f"kd_{generated.extractor}", name)
        required(generated, references, name, "KD", least=2, stem="kd")
    own = _sums_within(generated.values.astype(np.float64), groups)
    result = {}
    for name, reference in references.items():
        across = _mean_across(_row_sums(generated, reference), len(reference), groups)
        result[f"kd_{generated.extractor}", name] = own + _mean_within(reference) - 2 * across
    return result


evaluate = of_all(leave_out)


def distance(x: np.ndarray, y: np.ndarray) -> float:
    """KD of samples (n, d) and (m, d), float64.

    Raises:
        ValueError: fewer than two samples on a side.
    """
    x, y = x.astype(np.float64), y.astype(np.float64)
    across = _mean_across(_sums_across(x, y), len(y), None)
    return float(_sums_within(x, None)[0] + _sums_within(y, None)[0] - 2 * across[0])


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


@remembered
def _mean_within(reference: Features) -> float:
    return float(_sums_within(reference.values.astype(np.float64), None)[0])


def _sums_within(x: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Mean of k(x_i, x_j), i != j, without each group (G,), or of all (1,)."""
    if len(x) < 2:
        raise ValueError(f"A kernel distance needs at least two samples, got {len(x)}")
    member = np.ones((len(x), 1)) if groups is None else members(groups, len(x))
    sums = np.zeros((member.shape[1],) * 2)  # of k over pairs of groups
    for first in range(0, len(x), TILE):
        for second in range(first, len(x), TILE):
            kernel = _kernel(x[first : first + TILE], x[second : second + TILE])
            if first == second:
                np.fill_diagonal(kernel, 0)
            part = member[first : first + TILE].T @ (kernel @ member[second : second + TILE])
            sums += part if first == second else part + part.T
    if groups is None:
        return sums.sum(keepdims=True)[0] / (len(x) * (len(x) - 1))
    left = len(x) - member.sum(axis=0)
    if (left < 2).any():
        raise ValueError(f"Without a group only {int(left.min())} samples remain: a kernel distance needs two")
    return (sums.sum() - 2 * sums.sum(axis=1) + sums.diagonal()) / (left * (left - 1))


@remembered
def _row_sums(generated: Features, reference: Features) -> np.ndarray:
    """Sum of k(x_i, y_j) over j, (n,); of joined samples, those of their parts."""
    if generated.parts:
        return np.concatenate([_row_sums(part, reference) for part in generated.parts])
    return _sums_across(generated.values.astype(np.float64), reference.values.astype(np.float64))


def _sums_across(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    row = np.zeros(len(x))
    for first in range(0, len(x), TILE):
        for second in range(0, len(y), TILE):
            row[first : first + TILE] += _kernel(x[first : first + TILE], y[second : second + TILE]).sum(axis=1)
    return row


def _mean_across(row: np.ndarray, number: int, groups: np.ndarray | None) -> np.ndarray:
    """Mean of k(x_i, y_j) without each group of the x_i (G,), or of all (1,), from its sums over ``number`` y_j."""
    if groups is None:
        return np.array([row.sum() / (len(row) * number)])
    left = len(row) - np.bincount(groups)
    return (row.sum() - np.bincount(groups, weights=row)) / (left * number)


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    result = x @ y.T
    result /= x.shape[1]
    result += 1
    cube = result * result
    cube *= result
    return cube
