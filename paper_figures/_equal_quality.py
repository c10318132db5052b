"""At how many evaluations a method is as good as another: where its curve first falls to a quality f.

    F(x): log FD linear in log NFE between the budgets that were measured
    N(f) = min {x : F(x) <= f}

The interval of N is the set of x at which F(x) - f is not told apart from 0, up to the first x at which it is shown to
be below: low = min {x : F - t se <= f}, high = min {x : F + t se <= f}, with the standard error se of F(x) - f from the
delete-group jackknife of both (:mod:`dpmot.statistics.jackknife`) and Student's t. Such an interval (Fieller 1954) may
be open where curves are flat; one from the slope of the curve would claim more. Only the first fall counts, so F is
read as if it never rose again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf, isinf, isnan, nan

import numpy as np
from scipy.special import stdtrit

STEPS = 200  # between two budgets: a step is 1 % of NFE where budgets differ by a factor of 7
ROUNDING = 1e-9  # of a distance against itself, after a logarithm and back


@dataclass(frozen=True)
class Point:
    """One cell of a curve.

    Attributes:
        nfe: evaluations counted, > 0.
        fd: its distance as measured, without its bias.
        parts: (G,) the same without each jackknife group, centred on ``fd``; None: no replicates.
    """

    nfe: float
    fd: float
    parts: np.ndarray | None


@dataclass(frozen=True)
class Reach:
    """Evaluations at which a curve reaches a quality.

    Attributes:
        nfe: N(f); 0 where the curve is as good at its fewest evaluations, inf where it never is.
        low: as few as these may do; 0 where its fewest may.
        high: these are shown to do; inf where none are. NaN, as ``low``, without replicates.
        fewest: evaluations at the curve's first point.
        most: evaluations at its last point.
    """

    nfe: float
    low: float
    high: float
    fewest: float
    most: float

    def over(self, number: float) -> "Ratio":
        """number / N(f): how many times fewer evaluations than ``number`` the curve needs."""
        value, low, high = (number / x if x else inf for x in (self.nfe, self.high, self.low))
        return Ratio(value, low, high, number / self.most, number / self.fewest)

    def by(self, number: float) -> "Ratio":
        """N(f) / number: how many times as many evaluations as ``number`` the curve needs."""
        return Ratio(self.nfe / number, self.low / number, self.high / number, self.fewest / number, self.most / number)


@dataclass(frozen=True)
class Ratio:
    """A ratio with its interval, open beyond what was measured.

    Attributes:
        value: 0 and inf: at most ``least``, and more than ``greatest``.
        low: 0: at most ``least``; NaN: unknown.
        high: inf: more than ``greatest``; NaN: unknown.
        least: what the curve's ends leave, at one side.
        greatest: and at the other.
    """

    value: float
    low: float
    high: float
    least: float
    greatest: float

    @property
    def closed(self) -> bool:
        """Whether the value lies within what was measured."""
        return 0 < self.value < inf

    @property
    def bound(self) -> float:
        """The value, or the end of what was measured that it lies at or beyond."""
        return min(max(self.value, self.least), self.greatest)

    @property
    def shown(self) -> float:
        """What the interval shows it to be at least; NaN where that is unknown."""
        return nan if isnan(self.low) else min(max(self.low, self.least), self.greatest) if self.low else 0.0

    def times(self, factor: float, spread: float = 0.0) -> "Ratio":
        """The same times a factor of which the standard deviation of its logarithm is ``spread``."""
        wider = 1.96 * spread
        value, *ends = (one * factor for one in (self.value, self.least, self.greatest))
        low, high = (
            value * np.exp(sign * np.hypot(np.log(bound / self.value), wider))
            if self.closed and 0 < bound < inf
            else bound
            for bound, sign in ((self.low, -1), (self.high, 1))
        )
        if not self.closed:
            low, high = (bound * factor * np.exp(sign * wider) for bound, sign in ((self.low, -1), (self.high, 1)))
        return Ratio(value, float(low), float(high), *ends)

    @property
    def text(self) -> str:
        """``2.1 [1.8, 3.9]``; what lies beyond the ends as ``≥ 10`` or ``≤ 0.2``."""
        if isnan(self.low):
            return f"{self._printed(self.value)} [n/a]"
        value, low, high = map(self._printed, (self.value, self.low, self.high))
        return value if value == low == high else f"{value} [{low}, {high}]"

    def _printed(self, number: float) -> str:
        if number == 0 or isinf(number):
            return f"{'≥' if number else '≤'} {two_digits(self.greatest if number else self.least)}"
        return two_digits(number)


def two_digits(number: float) -> str:
    """Two significant digits, whole numbers from 100 on with their thousands apart."""
    return f"{float(f'{number:.2g}'):,.0f}" if number >= 99.5 else f"{number:#.2g}".rstrip(".")


def reach(curve: Sequence[Point], target: Point) -> Reach:
    """Where a curve, ascending in evaluations, first is as good as ``target``.

    Raises:
        ValueError: no points.
    """
    if not curve:
        raise ValueError("A curve needs a point with one evaluation or more, got none")
    x = _grid([point.nfe for point in curve])
    apart = _between(x, curve, np.array([point.fd for point in curve])) - target.fd
    nfe, low, high = _first(x, apart), nan, nan
    sizes = {None if point.parts is None else len(point.parts) for point in (*curve, target)}
    if len(sizes) == 1 and target.parts is not None and len(target.parts) > 1:
        groups = len(target.parts)
        stacked = np.stack([point.parts for point in curve if point.parts is not None])
        parts = np.stack([_between(x, curve, stacked[:, g]) - target.parts[g] for g in range(groups)])
        error = np.sqrt((groups - 1) / groups * ((parts - parts.mean(0)) ** 2).sum(0))
        reached = stdtrit(groups - 1, 0.975) * error
        low, high = _first(x, apart - reached), _first(x, apart + reached)
    return Reach(nfe, low, high, curve[0].nfe, curve[-1].nfe)


def _grid(budgets: Sequence[float]) -> np.ndarray:
    """The budgets and STEPS - 1 numbers of evaluations between each two, evenly in their logarithm."""
    parts = [np.geomspace(a, b, STEPS, endpoint=False) for a, b in pairwise(budgets)]
    return np.concatenate([*parts, budgets[-1:]])


def _between(x: np.ndarray, curve: Sequence[Point], distances: np.ndarray) -> np.ndarray:
    """Distances at the points of a curve, at x: linear in the logarithms, or in NFE's alone beside one below 0."""
    at = np.log([point.nfe for point in curve])
    plain = np.interp(np.log(x), at, distances)
    positive = np.array([point.fd for point in curve]) > 0
    logs = np.log(np.where(positive & (distances > 0), distances, 1.0))
    left = np.clip(np.searchsorted(at, np.log(x), side="right") - 1, 0, len(at) - 1)
    both = (positive & (distances > 0))[left] & (positive & (distances > 0))[np.minimum(left + 1, len(at) - 1)]
    return np.where(both, np.exp(np.interp(np.log(x), at, logs)), plain)


def _first(x: np.ndarray, apart: np.ndarray) -> float:
    """The first x at which ``apart`` is 0 or below, but for rounding; 0: at the first of all, inf: nowhere."""
    below = np.flatnonzero(apart <= ROUNDING)
    if not len(below):
        return inf
    k = int(below[0])
    if k == 0:
        return 0.0
    share = min(apart[k - 1] / (apart[k - 1] - apart[k]), 1.0)
    return float(x[k - 1] * (x[k] / x[k - 1]) ** share)
