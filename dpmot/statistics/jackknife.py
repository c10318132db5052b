"""Delete-group jackknife: intervals for any functional of a set of samples.

Samples fall into G groups, theta_(g) is the statistic without group g. Then

    value = G theta - (G - 1) mean theta_(g)                 (removes a bias of order 1/n; Quenouille 1956)
    se^2  = (G - 1)/G sum_g (theta_(g) - mean theta_(.))^2   (Tukey 1958)
    low, high = value -+ t_{G-1} se.

For Frechet distances the bias is many times the noise: there a percentile bootstrap covers nothing.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv, stdtrit


@dataclass(frozen=True)
class Estimate:
    """A value with its confidence interval."""

    value: float
    low: float
    high: float


def groups(n: int, num_groups: int = 20) -> np.ndarray:
    """The group of each sample, k mod G: int64 (n,).

    Raises:
        ValueError: fewer than two groups, or fewer samples than groups.
    """
    if not 2 <= num_groups <= n:
        raise ValueError(f"The jackknife needs 2 <= groups <= samples, got {num_groups} groups and {n} samples")
    return np.arange(n) % num_groups


def leave_out_of_means(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The mean of values (n,) without each group: (G,) for groups (n,) in 0..G-1."""
    values, remaining = np.asarray(values, dtype=np.float64), len(groups) - np.bincount(groups)
    return (values.sum() - np.bincount(groups, weights=values)) / remaining


def interval(full: float, leave_out: np.ndarray, *, level: float = 0.95, debias: bool = True) -> Estimate:
    """Jackknife value and interval.

    Args:
        full: the statistic of all samples.
        leave_out: the statistic without each group, (G,).
        level: coverage, in (0, 1).
        debias: extrapolate the value to n -> infinity. Right only where the bias falls like 1/n; not for means,
            which have none, nor for statistics that grow with n.

    Raises:
        ValueError: fewer than two groups, or values that are not finite.
    """
    leave_out = np.asarray(leave_out, dtype=np.float64)
    num_groups = len(leave_out)
    _check_level(level)
    if num_groups < 2 or not (np.isfinite(full) and np.isfinite(leave_out).all()):
        raise ValueError(
            f"The jackknife needs finite values of two or more groups, got {full} and {leave_out.tolist()}"
        )
    mean = leave_out.mean()
    value = num_groups * full - (num_groups - 1) * mean if debias else full
    error = np.sqrt((num_groups - 1) / num_groups * ((leave_out - mean) ** 2).sum())
    half = stdtrit(num_groups - 1, 0.5 + level / 2) * error
    return Estimate(value=float(value), low=float(value - half), high=float(value + half))


def mean_interval(
    values: np.ndarray, *, units: int | None = None, num_groups: int = 20, level: float = 0.95
) -> Estimate:
    """Mean of per-sample values (n,) with its jackknife interval; of booleans, a share with its exact one.

    Replicates of a small share are few and skewed, of a share of 0 or 1 equal: a jackknife there reaches below 0 or
    claims certainty.

    Args:
        values: numbers, or booleans where the mean is a share.
        units: independent observations among booleans, where that is fewer than n.
        num_groups: of the jackknife.
        level: coverage, in (0, 1).
    """
    values = np.asarray(values)
    if values.dtype == bool:
        units = len(values) if units is None else units
        return share_interval(float(values.sum()) * units / len(values), units, level=level)
    leave_out = leave_out_of_means(values, groups(len(values), num_groups))
    return interval(values.mean(), leave_out, level=level, debias=False)


def share_interval(count: float, n: int, *, level: float = 0.95) -> Estimate:
    """Share count/n with the exact binomial interval (Clopper & Pearson 1934): it never claims more than it covers.

    Score intervals are shorter and, at a handful of counts, call a chance share significant too often. ``count`` may
    be a fraction where ``n`` is a number of independent units.

    Raises:
        ValueError: count outside 0..n, or n = 0.
    """
    _check_level(level)
    if not 0 <= count <= n or n == 0:
        raise ValueError(f"A share needs 0 <= count <= n and n >= 1, got {count} of {n}")
    tail = (1 - level) / 2
    low = betaincinv(count, n - count + 1, tail) if count else 0.0
    high = betaincinv(count + 1, n - count, 1 - tail) if count < n else 1.0
    return Estimate(value=count / n, low=float(low), high=float(high))


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"A confidence level lies between 0 and 1, got {level}")
