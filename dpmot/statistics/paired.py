"""Comparing two methods: paired differences, equivalence, and many tests at once.

Methods that share sample seeds share their noise, and the difference of their leave-out replicates cancels it.
Equivalence is claimed by two one-sided tests (TOST; Schuirmann 1987): reject |mu| >= margin, instead of failing to
reject mu = 0, which little data achieve as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from dpmot.statistics.jackknife import Estimate, interval


@dataclass(frozen=True)
class Equivalence:
    """Result of a TOST: the mean difference, its (1 - 2 alpha) interval, the p-value, and p_value <= alpha.

    ``p_difference`` is the two-sided p-value of the t-test against a mean difference of 0.
    """

    mean: float
    low: float
    high: float
    p_value: float
    equivalent: bool
    p_difference: float


def difference(
    full: tuple[float, float],
    leave_out: tuple[np.ndarray, np.ndarray],
    *,
    level: float = 0.95,
    debias: bool = True,
) -> Estimate:
    """first - second, for two methods with common sample seeds and the same groups.

    Args:
        full: the statistic of each method on all samples.
        leave_out: the statistic of each method without each group, (G,) each.
        level, debias: see ``jackknife.interval``.

    Raises:
        ValueError: different numbers of groups; see also ``jackknife.interval``.
    """
    first, second = (np.asarray(values, dtype=np.float64) for values in leave_out)
    if first.shape != second.shape:
        raise ValueError(f"Paired methods need the same groups, got {first.shape} and {second.shape}")
    return interval(full[0] - full[1], first - second, level=level, debias=debias)


def p_value(full: tuple[float, float], leave_out: tuple[np.ndarray, np.ndarray], *, debias: bool = True) -> float:
    """Two-sided p-value of no difference, by the t statistic of :func:`difference`'s jackknife."""
    estimate, degrees = difference(full, leave_out, debias=debias), len(leave_out[0]) - 1
    error = (estimate.high - estimate.low) / 2 / stdtrit(degrees, 0.975)
    return 2 * float(stdtr(degrees, -abs(estimate.value) / error)) if error > 0 else float(estimate.value == 0)


def equivalence(differences: np.ndarray, margin: float, *, alpha: float = 0.05) -> Equivalence:
    """TOST of |mean difference| < margin on independent replicates (seeds).

    Args:
        differences: one per seed, (R,), R >= 2.
        margin: the largest difference that does not matter, > 0, in the units of the differences.
        alpha: size of each one-sided test, in (0, 1/2).

    Raises:
        ValueError: fewer than two differences or values that are not finite; a margin or alpha out of range.
    """
    differences = np.asarray(differences, dtype=np.float64)
    if differences.ndim != 1 or len(differences) < 2 or not np.isfinite(differences).all():
        raise ValueError(f"Equivalence needs finite differences of two or more seeds, got {differences.tolist()}")
    if not (margin > 0 and 0 < alpha < 0.5):
        raise ValueError(f"Equivalence needs margin > 0 and 0 < alpha < 1/2, got {margin} and {alpha}")
    degrees, mean = len(differences) - 1, differences.mean()
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    half = stdtrit(degrees, 1 - alpha) * error
    inside = margin - abs(mean)  # the nearer of the two margins decides
    # Seeds that all agree leave nothing to test: the answer is the mean's.
    p_value = float(stdtr(degrees, -inside / error)) if error > 0 else float(inside <= 0)
    p_difference = 2 * float(stdtr(degrees, -abs(mean) / error)) if error > 0 else float(mean == 0)
    return Equivalence(float(mean), float(mean - half), float(mean + half), p_value, p_value <= alpha, p_difference)


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Holm's step-down adjusted p-values (Holm 1979), in the order given: reject where they are <= alpha.

    Raises:
        ValueError: a p-value outside [0, 1].
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p-values lie in [0, 1], got {p.tolist()}")
    order = p.argsort(kind="stable")
    scaled = p[order] * np.arange(len(p), 0, -1)  # times m, m-1, ..., 1
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return adjusted
