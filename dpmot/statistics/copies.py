"""What share of samples are copies of the images of one set?

Real images of several sets that are exchangeable (the training images, the test images, and some that nobody used)
hang in one gallery. Of a sample the gallery's nearest image is known, the set it is of, and ratios that are near 1 for
a new image, whatever its smoothness, and smaller for a copy:

    d(nearest) / d(second nearest)   of distances,   c(second nearest) / c(nearest)   of correlations,

the latter for noisy copies: noise of its own makes all correlations of a sample smaller by one factor. Let p(t) be the
share of samples with ratio <= t whose nearest image is of the target set, and s(t) that of copies among all samples
that are at least as near. A sample that is independent of all sets has ratio <= t with some probability, and then its
nearest image is of any set with a chance in proportion to its size. Two estimates tell what part of p(t) is chance:

- by decoys, s(t) = p(t) - odds q(t): q(t) is the share of samples with ratio <= t whose nearest image is of a set that
  was *not* copied, odds the ratio of the sizes. It is right for samples of any smoothness (competition with decoys:
  Elias & Gygi 2007; knock-offs: Barber & Candes 2015);
- by held-out images, s(t) = (p(t) - p0(t)) / (1 - p0(t)): p0(t) is the share of real images with ratio <= t among the
  other ones, times the target's share of the gallery. There are as few of them as of samples, so its error counts.

At the smallest threshold, which hardly a held-out image reaches, these alone are asked, so that copies of two sets do
not hide each other, unless more samples are near to the first decoys, which no method copies, than held-out images are:
noise without an image has small ratios of correlations, near to any set, and those decoys tell its chance. Then all
decoys are asked. Larger thresholds are not: a network lies somewhat nearer to all images that it has seen, without
handing one back. Shares have exact intervals (Clopper & Pearson 1934), differences those that follow from them and from
their correlation, as a sample is near to one set only (Newcombe 1998), for all ratios and thresholds at once
(Bonferroni), so that the largest lower end is one for the share of all copies. The upper end is that by decoys without
a threshold: samples may be copies that are too noisy to tell, and training images that a network remembers in part
count there too; where it is below 0, decoys were copied, and it is that of all samples whose nearest image is of the
target. Samples that share a nearest image are one observation: an honest method that draws one image over and over has
that image's luck. Where fewer than ``FEWEST`` observations are left, anything may hide in them and the upper end is 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dpmot.statistics.jackknife import Estimate, share_interval

FEWEST = 40  # independent samples: among fewer, a tenth of copies would not be marked
LOOKS = (0.002, 0.01, 0.025)  # thresholds, as quantiles of held-out ratios


@dataclass(frozen=True, eq=False)
class Ratios:
    """What one kind of ratio tells about n samples, or about held-out images.

    Attributes:
        ratio: (n,) in [0, 1], the smaller the nearer for its surroundings.
        nearest: row of the nearest image, (n,).
        part: its set, (n,) of strings.
    """

    ratio: np.ndarray
    nearest: np.ndarray
    part: np.ndarray


@dataclass(frozen=True)
class Share:
    """The share of copies of one set.

    Attributes:
        value, low, high: the share and the ends of its interval; the value is that of the largest lower end.
        space: the space, by its place, in which the lower end is largest.
        threshold: the ratio there.
    """

    value: float
    low: float
    high: float
    space: int
    threshold: float


def share(
    samples: Sequence[Ratios],
    held_out: Sequence[Ratios],
    sizes: dict[str, int],
    *,
    target: str,
    decoys: Sequence[str],
    level: float = 0.95,
) -> Share:
    """The share of samples that are copies of the images of ``target``.

    Args:
        samples, held_out: one for each space, of one gallery; a held-out image's own row is no neighbour.
        sizes: images of each set in the gallery.
        target: the set.
        decoys: sets that are not copied; the surest first.
        level: coverage of the interval.

    Raises:
        ValueError: no samples, no held-out images, or an unknown set.
    """
    unknown = {target, *decoys} - set(sizes)
    if unknown or not decoys or target in decoys:
        raise ValueError(
            f"Copies need a target and other sets as decoys, got {target} and {list(decoys)} of {list(sizes)}"
        )
    if not len(samples[0].ratio) or not len(held_out[0].ratio):
        raise ValueError("Copies need samples and held-out images, got none")

    decoys, total = tuple(decoys), sum(sizes.values())

    def excess(own: Ratios, threshold: float, others: Sequence[str], level: float) -> Estimate:
        odds = sizes[target] / sum(sizes[name] for name in others)
        return _difference(*_near(own, threshold, target, others, level=level), odds)

    each = 1 - (1 - level) / (len(samples) * len(LOOKS))
    found, highs, fewest = [], [], len(samples[0].ratio)
    for space, (own, real) in enumerate(zip(samples, held_out, strict=True)):
        for quantile in LOOKS:
            threshold = float(np.quantile(real.ratio, quantile))
            fewest = min(fewest, _units(own, threshold))
            as_near = share_interval(float((real.ratio <= threshold).sum()), len(real.ratio), level=each)
            _, sure = _near(own, threshold, target, decoys[:1], level=level)
            if quantile > LOOKS[0]:
                one = excess(own, threshold, decoys, each)
            elif sure.low > sizes[decoys[0]] / total * as_near.value:
                one = excess(own, threshold, decoys[:1], each)
            else:
                p, _ = _near(own, threshold, target, decoys, level=each)
                one = _excess(p, as_near, sizes[target] / total)
            found.append(Share(one.value, one.low, 1.0, space, threshold))
        high = excess(own, np.inf, decoys, level).high
        # below 0 the decoys are copied, and tell nothing of chance
        highs.append(high if high > 0 else _near(own, np.inf, target, decoys, level=level)[0].high)
        fewest = min(fewest, _units(own, np.inf))
    best = max(found, key=lambda one: (one.low, one.value))
    value, low = (min(max(end, 0.0), 1.0) for end in (best.value, best.low))
    return replace(best, value=value, low=low, high=min(max(value, *highs), 1.0) if fewest >= FEWEST else 1.0)


def _near(
    own: Ratios, threshold: float, target: str, decoys: Sequence[str], *, level: float
) -> tuple[Estimate, Estimate]:
    """p(t) and q(t), with intervals."""
    near, units = own.ratio <= threshold, _units(own, threshold)
    counts = (units * float((near & np.isin(own.part, names)).mean()) for names in ([target], decoys))
    p, q = (share_interval(count, units, level=level) for count in counts)
    return p, q


def _difference(p: Estimate, q: Estimate, odds: float) -> Estimate:
    """p - odds q, with the interval that follows from both."""
    value = p.value - odds * q.value
    near, far = p.value * q.value, (1 - p.value) * (1 - q.value)
    against = np.sqrt(near / far) if far > near else float(near > 0)  # minus the correlation: near to one set only

    def joint(a: float, b: float) -> float:
        return float(np.sqrt(a**2 + b**2 + 2 * against * a * b))

    down = joint(p.value - p.low, odds * (q.high - q.value))
    up = joint(p.high - p.value, odds * (q.value - q.low))
    return Estimate(value, value - down, value + up)


def _excess(p: Estimate, as_near: Estimate, portion: float) -> Estimate:
    """(p - c) / (1 - c) for c = portion * as_near, with the interval that follows from both, which are independent."""
    chance, above, below = (portion * one for one in (as_near.value, as_near.high, as_near.low))
    down, up = np.hypot(p.value - p.low, above - chance), np.hypot(p.high - p.value, chance - below)
    value = p.value - chance
    return Estimate(*(float(end) / (1 - chance) for end in (value, value - down, value + up)))


def _units(own: Ratios, threshold: float) -> int:
    """Independent observations: samples, over how many of the near ones share a nearest image on average."""
    _, counts = np.unique(own.nearest[own.ratio <= threshold], return_counts=True)
    repeats = (counts**2).sum() / counts.sum() if len(counts) else 1
    return max(1, int(len(own.nearest) / repeats))
