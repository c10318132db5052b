"""Which of k methods may be the best, and how far is each behind the best of the others?

The method that looks best does so by luck too, which a test of the others against it forgets. Here every method is
compared with each of the others (multiple comparisons with the best: Hsu 1984). Group g of the jackknife holds the
same samples' numbers of every method, so the values without it tell how the methods vary together. With

    d_ij = theta_i - theta_j,    s_ij^2 = (G - 1) / G sum_g (d_ij without g - its mean over g)^2,    t_ij = d_ij / s_ij,

"i is one of the best" has the p-value p_i = (k - 1) P(t_{G-1} > max_j t_ij) (Bonferroni over its k - 1 comparisons).
Holm's correction of p_i over *all* K methods of all columns of a panel (:func:`dpmot.statistics.paired.holm`) makes it
improbable that any best method is lost, however many are equally good; Hsu's own rule keeps one of them. Intervals

    theta_i - min_{j != i} theta_j   in   [max_{j != i} (d_ij - q s_ij), max_{j != i} (d_ij + q s_ij)]

hold at once over the panel, for q = t_{G-1} at 1 - alpha / (K (k - 1)). A lower end above 0 implies a Holm-corrected p
of alpha or less. ``benchmarks.multiple_comparisons`` has the errors and the power of this rule and of others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit


@dataclass(frozen=True)
class Behind:
    """How far a method is behind the best of the others, in the metric's units; below 0 where it leads.

    Attributes:
        value, low, high: the distance and its simultaneous interval.
        p: p-value of "it is one of the best", in [0, 1], not yet corrected for other methods and columns.
    """

    value: float
    low: float
    high: float
    p: float


def behind_best(
    values: Sequence[float] | np.ndarray, leave_out: np.ndarray, *, family: int | None = None, level: float = 0.95
) -> list[Behind]:
    """Each of k methods against the best of the others, where lower is better.

    Args:
        values: of each method, (k,).
        leave_out: the same without each group, (k, G); group g has the same samples in every method.
        family: methods of all columns that are judged together, K >= k; by default those given.
        level: of all K intervals together, in (0, 1).

    Raises:
        ValueError: fewer than two methods or groups, a smaller family, values that are not finite, or another level.
    """
    theta, parts = np.asarray(values, dtype=np.float64), np.asarray(leave_out, dtype=np.float64)
    k, family = len(theta), len(theta) if family is None else family
    if parts.ndim != 2 or len(parts) != k or min(parts.shape) < 2 or family < k:
        raise ValueError(f"The best needs values (k,) and (k, G), k and G >= 2, got {k} and {parts.shape} of {family}")
    if not (np.isfinite(theta).all() and np.isfinite(parts).all() and 0 < level < 1):
        raise ValueError(f"The best needs finite values and a level between 0 and 1, got {theta.tolist()} and {level}")
    degrees, s, gap = parts.shape[1] - 1, _errors(parts), theta[:, None] - theta
    half = stdtrit(degrees, 1 - (1 - level) / (family * (k - 1))) * s
    with np.errstate(divide="ignore", invalid="ignore"):  # methods that vary alike differ for certain, or are one
        t = np.where(gap == 0, 0, gap / s)
    p = np.minimum(1, (k - 1) * stdtr(degrees, -_of_others(t)))
    ends = (_of_others(end) for end in (gap, gap - half, gap + half))
    return [Behind(*map(float, row)) for row in zip(*ends, p, strict=True)]


def _errors(parts: np.ndarray) -> np.ndarray:
    """s_ij of the differences of methods, (k, k)."""
    gaps = parts[:, None] - parts[None, :]
    return parts.shape[1] ** 0.5 * (1 - 1 / parts.shape[1]) ** 0.5 * gaps.std(axis=2)


def _of_others(matrix: np.ndarray) -> np.ndarray:
    """The largest entry of each row off the diagonal, (k,)."""
    return np.where(np.eye(len(matrix), dtype=bool), -np.inf, matrix).max(axis=1)
