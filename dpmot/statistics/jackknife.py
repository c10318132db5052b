"""Delete-group jackknife: intervals for any functional of a set of samples.

Samples fall into G groups, theta_(g) is the statistic without group g. Then

    value = G theta - (G - 1) mean theta_(g)                 (removes a bias of order 1/n; Quenouille 1956)
    se^2  = (G - 1)/G sum_g (theta_(g) - mean theta_(.))^2   (Tukey 1958)
    low, high = value -+ t_{G-1} se.

For Frechet distances the bias is many times the noise: there a percentile bootstrap covers nothing.

A distance to a reference sample varies with the reference too. To first order the two variances add, and the
reference's is that of the mean of its rows' derivatives (:func:`variance_of_mean`), where rows of a stratified sample
vary within their classes only. Between two samples of one law the distance has no first order; what varies is of second
order, which each of the two variances holds twice: there the variance is half their sum.
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


def stratified_groups(strata: np.ndarray, draw: np.random.Generator, num_groups: int = 20) -> np.ndarray:
    """Groups 0..G-1 drawn at random within each stratum, as even as can be: int64 (n,).

    Each holds its share of every class, as the whole of a stratified sample does. In stored order, groups k mod G of
    images whose labels repeat would hold some classes only.

    Args:
        strata: class of each sample, integers (n,); equal ones where there are none.
        draw: what shuffles them.
        num_groups: G.

    Raises:
        ValueError: as :func:`groups`.
    """
    places = groups(len(strata), num_groups)
    shuffled = draw.permutation(len(strata))
    result = np.empty_like(places)
    result[shuffled[np.argsort(np.asarray(strata)[shuffled], kind="stable")]] = places
    return result


def variance_of_mean(values: np.ndarray, strata: np.ndarray | None = None) -> float:
    """Variance of the mean of values (n,), of independent samples or of a sample stratified by ``strata`` (n,).

    Of the latter, whose strata have their shares of the law, it is the pooled variance within strata over n. A stratum
    of one sample says nothing of it; where all are such, the samples count as independent.
    """
    values = np.asarray(values, dtype=np.float64)
    if strata is None or len(np.unique(strata)) == len(values):
        strata = np.zeros(len(values), dtype=np.int64)
    _, own, count = np.unique(strata, return_inverse=True, return_counts=True)
    within = values - (np.bincount(own, weights=values) / count)[own]
    return float((within**2).sum() / max(1, len(values) - len(count)) / len(values))


def leave_out_of_means(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The mean of values (n,) without each group: (G,) for groups (n,) in 0..G-1."""
    values, remaining = np.asarray(values, dtype=np.float64), len(groups) - np.bincount(groups)
    return (values.sum() - np.bincount(groups, weights=values)) / remaining


def interval(
    full: float,
    leave_out: np.ndarray,
    *,
    level: float = 0.95,
    debias: bool = True,
    reference: float = 0.0,
    same_law: bool = False,
) -> Estimate:
    """Jackknife value and interval.

    Args:
        full: the statistic of all samples.
        leave_out: the statistic without each group, (G,).
        level: coverage, in (0, 1).
        debias: extrapolate the value to n -> infinity. Right only where the bias falls like 1/n; not for means,
            which have none, nor for statistics that grow with n.
        reference: variance that the reference adds.
        same_law: whether the statistic is a distance between two samples of one law.

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
    own = (num_groups - 1) / num_groups * ((leave_out - mean) ** 2).sum()
    both = own + reference
    degrees = (num_groups - 1) * (both / own) ** 2 if own > 1e-3 * both else 1e6 * (num_groups - 1)
    half = stdtrit(degrees, 0.5 + level / 2) * np.sqrt(both / 2 if same_law else both)
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
