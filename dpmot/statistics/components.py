"""How much of a value is the training, and how much the samples? The nested random-effects model.

Training t = 1, ..., T of one recipe, each sampled S times by noise of its own, gives

    v_ts = mu + a_t + e_ts,    Var a = A,    Var e = E.

A is what retraining moves, E what other samples of the same size move. By the method of moments (analysis of variance;
Searle, Casella & McCulloch 1992, chapter 3), with m_t = mean_s v_ts and m their mean,

    M_A = S sum_t (m_t - m)^2 / (T - 1),    M_E = sum_ts (v_ts - m_t)^2 / (T (S - 1)),
    A^ = (M_A - M_E) / S  (unbiased; below 0 by chance where A is small, and then printed as 0),    E^ = M_E.

Of normal a and e, F = M_A / M_E is (1 + S A / E) times an F variable with T - 1 and T (S - 1) degrees of freedom. This
gives the exact interval of the share of the training, A / (A + E), and with Williams' (1962) bounds one of A; E has
that of chi-squared. M_A / S is the variance of the m_t themselves, of training and S draws together.
"""

from dataclasses import dataclass
from math import inf, nan

import numpy as np
from scipy.special import chdtri, fdtri

from dpmot.statistics.jackknife import Estimate


@dataclass(frozen=True)
class Components:
    """The two parts of the variance of the value of one draw, with their intervals.

    Attributes:
        mean: over all trainings and draws.
        trainings, draws: T and S.
        between, within: M_A and M_E, the mean squares.
        level: of the intervals.
    """

    mean: float
    trainings: int
    draws: int
    between: float
    within: float
    level: float = 0.95

    @property
    def _degrees(self) -> tuple[int, int]:
        return self.trainings - 1, self.trainings * (self.draws - 1)

    def _ratios(self) -> tuple[float, float]:
        """Ends of 1 + S A / E."""
        first, second = self._degrees
        ratio, tail = self.between / self.within if self.within > 0 else inf, (1 - self.level) / 2
        return ratio / float(fdtri(first, second, 1 - tail)), ratio / float(fdtri(first, second, tail))

    @property
    def training(self) -> Estimate:
        """A, the variance that retraining adds, with Williams' interval; its value may lie below 0, its ends do not."""
        value, tail = (self.between - self.within) / self.draws, (1 - self.level) / 2
        first, second = self._degrees
        total = first * self.between
        ends = [
            (total - first * self.within * float(fdtri(first, second, p))) / (self.draws * float(chdtri(first, 1 - p)))
            for p in (1 - tail, tail)
        ]
        return Estimate(value, *(max(0.0, end) for end in ends))

    @property
    def sampling(self) -> Estimate:
        """E, the variance of one draw of one network, with its chi-squared interval."""
        degrees, tail = self._degrees[1], (1 - self.level) / 2
        total = degrees * self.within
        low, high = (total / float(chdtri(degrees, p)) for p in (tail, 1 - tail))
        return Estimate(self.within, low, high)

    @property
    def share(self) -> Estimate:
        """A / (A + E), in [0, 1], with its exact interval; NaN where no value differs from another."""
        if self.between == self.within == 0:
            return Estimate(nan, nan, nan)
        ratio = self.between / self.within if self.within > 0 else inf
        return Estimate(*(_share(one, self.draws) for one in (ratio, *self._ratios())))


def _share(ratio: float, draws: int) -> float:
    """A / (A + E) of 1 + S A / E, cut at 0."""
    return 1.0 if ratio == inf else max(0.0, (ratio - 1) / (ratio - 1 + draws))


def components(values: np.ndarray, *, level: float = 0.95) -> Components:
    """The components of values (T, S), row t of training t.

    Raises:
        ValueError: fewer than two trainings or draws, values that are not finite, or a level outside (0, 1).
    """
    v = np.asarray(values, dtype=np.float64)
    if v.ndim != 2 or min(v.shape) < 2 or not np.isfinite(v).all():
        raise ValueError(f"Components need finite values of two or more trainings and draws, got shape {v.shape}")
    if not 0 < level < 1:
        raise ValueError(f"A confidence level lies between 0 and 1, got {level}")
    trainings, draws = v.shape
    means = v.mean(axis=1)
    between = draws * float(means.var(ddof=1))
    within = float(((v - means[:, None]) ** 2).sum()) / (trainings * (draws - 1))
    scale = 1e-24 * max(1e-300, float(np.abs(v).max()) ** 2)  # rounding of equal values
    between, within = (0.0 if square < scale else square for square in (between, within))
    return Components(float(means.mean()), trainings, draws, between, within, level)
