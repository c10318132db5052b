"""Has a number changed by more than it may? Tests of one metric of two runs against a margin.

A change counts only where the difference lies *beyond* the margin with significance, so that noise alone, and what is
too small to matter, stop nobody; and equivalence is shown only where it lies *within* with significance.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from dpmot.statistics.jackknife import Estimate
from dpmot.statistics.paired import difference

LEVEL = 0.95


@dataclass(frozen=True)
class Change:
    """Candidate minus reference.

    Attributes:
        difference: with its 95 % interval low, high.
        p_beyond: of |difference| <= margin, one-sided: small where the change is larger than the margin.
        p_within: of |difference| >= margin (two one-sided tests): small where the two are equivalent.
    """

    difference: float
    low: float
    high: float
    margin: float
    p_beyond: float
    p_within: float


def paired(
    full: tuple[float, float], leave_out: tuple[np.ndarray, np.ndarray], *, margin: float, debias: bool
) -> Change:
    """From replicates (G,) of two runs with the same seeds, whose common noise cancels.

    Raises:
        ValueError: see :func:`dpmot.statistics.paired.difference`; a negative margin.
    """
    estimate = difference(full, leave_out, level=LEVEL, debias=debias)
    return _tested(estimate.value, (estimate.high - estimate.low) / 2, len(leave_out[0]) - 1, margin)


def unpaired(candidate: Estimate, reference: Estimate, *, margin: float, degrees: int = 19) -> Change:
    """From the 95 % intervals of two independent runs.

    Raises:
        ValueError: a negative margin.
    """
    half = np.hypot((candidate.high - candidate.low) / 2, (reference.high - reference.low) / 2)
    return _tested(candidate.value - reference.value, float(half), degrees, margin)


def least_half_widths(alpha: float, tests: int, *, degrees: int = 19) -> float:
    """The smallest change that :func:`unpaired` and Holm's correction can detect, beyond the margin.

    Args:
        alpha: level of the corrected tests.
        tests: number of metrics tested together; Holm compares the smallest p-value with alpha / tests.
        degrees: degrees of freedom of the intervals.

    Returns:
        The change, in half-widths of a 95 % interval; both runs are assumed to have intervals of equal width.
    """
    return float(2**0.5 * stdtrit(degrees, 1 - alpha / tests) / stdtrit(degrees, 0.5 + LEVEL / 2))


def _tested(value: float, half: float, degrees: int, margin: float) -> Change:
    if not margin >= 0:
        raise ValueError(f"A margin is not negative, got {margin}")
    error, beyond = half / stdtrit(degrees, 0.5 + LEVEL / 2), abs(value) - margin
    if error > 0:
        p_beyond, p_within = float(stdtr(degrees, -beyond / error)), float(stdtr(degrees, beyond / error))
    else:
        p_beyond, p_within = float(beyond <= 0), float(beyond > 0)  # nothing random is left: the values decide
    return Change(value, value - half, value + half, margin, p_beyond, p_within)
