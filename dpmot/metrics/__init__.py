"""Metrics: one file each.

A file has ``FACTS``, a :class:`Fact` for each stem of its metrics' names; ``SPACE``, the kind of features it wants
("features", "probabilities", "pixels", or "any" of features and pixels; "gallery" is copies.py's alone, which looks at
all real images); and one of

- ``pointwise(generated, references)`` -> {(metric, reference): (n,)}: the metric is the mean of these values, so
  leaving samples out costs nothing; booleans where that mean is a share;
- ``evaluate(generated, references)`` -> {(metric, reference): value} for functionals of the whole set, with
  ``DEBIAS``, true where the bias falls like 1/n so that the jackknife may remove it (from ``FEWEST`` samples a
  dimension on, where that is given), and optionally
  ``leave_out(generated, references, groups)`` -> {(metric, reference): (G,)}, the same values without each group
  (an empty group leaves all samples); where the file says ``HELD = True``, with what was fitted to all samples held.
  Where it takes None for groups, ``evaluate = of_all(leave_out)``. Where the value is one of the reference's law,
  ``reference_rows(generated, references)`` -> {(metric, reference): (m,)} are the derivatives of the value in the
  weights of the reference's rows, whose mean varies with the reference as the value does. ``DISTANCE = True`` says that
  the value has its least where samples and reference are of one law, so that its first derivatives vanish there.

``COPYING = True`` marks a metric that asks about the images a method could copy: "train" is then the split that the
method stores. ``OF_CLASSES = True`` marks one that asks about the data set's own classes, ``OF_LABELLED = True`` one
that only samples drawn for a class have. ``RANGE`` bounds the intervals. An optional ``remark(generated, references)``
says what a reader of the values must know, "" for nothing.

``references`` maps "train" and "test" to Features; a metric without a reference says "none". Whichever function is
asked raises ValueError where what it needs (a reference, probabilities, rows of these) is missing or in another space,
and :class:`NotMeasurable` where a plan allows so few images.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dpmot.features import Features

References = Mapping[str, Features]
Values = dict[tuple[str, str], float]  # by metric and reference
Arrays = dict[tuple[str, str], np.ndarray]
AUDITED_SPACE = "pixels"  # the file of dpmot/features/ in which copying is looked for
AUDITED_BY = ("copies", "recovery")  # files whose metrics the copying audit asks
REAL_TRAIN, REAL_TEST = "real_train", "real_test"  # real images as if they were samples: names no method may have


class NotMeasurable(ValueError):
    """Too few images for a metric: it gets a row without a value, with the message as its reason.

    Args:
        reason: which images, and how many there must be.
        metric, reference: the key of the value that there is not.
    """

    def __init__(self, reason: str, metric: str, reference: str) -> None:
        super().__init__(reason)
        self.metric, self.reference = metric, reference


@dataclass(frozen=True)
class Fact:
    """How to read the values of one metric: what the tables print and what the gate lets pass.

    Attributes:
        direction: the better direction; "none" where a value is read against that of held-out images.
        label: name in a sentence or a column, as "FD".
        title: name at the head of a panel; the label where it is empty.
        digits: decimals to print; None: two, or four where two would leave nothing of a small value.
        least: the least change that matters, in the metric's units; None: a share of the value, the same for all.
        exact: whether ``least`` holds however wide the interval is.
        quality: whether a better value makes a better method, so that tables mark the best one. What audits a method
            or judges the classifier does not.
        floor: whether real images have a value that samples are read against.
        replicates: whether replicates.csv has its values without each group; else its interval is its own.
        copier: whether the plain value of the training images is what an exact copier of them tends to.
        fresh: whether as many real images that no method stores have a value beside the floors.
        share: whether it is a share, in [0, 1].
    """

    direction: Literal["lower", "higher", "none"]
    label: str
    title: str = ""
    digits: int | None = None
    least: float | None = None
    exact: bool = False
    quality: bool = True
    floor: bool = True
    replicates: bool = True
    copier: bool = False
    fresh: bool = False
    share: bool = False

    @property
    def heading(self) -> str:
        """Title and better direction of a panel."""
        return f"{self.title or self.label}, {self.direction} is better"


def of_all(leave_out: Callable[[Features, References, None], Arrays]) -> Callable[[Features, References], Values]:
    """The ``evaluate`` that goes with a ``leave_out``, which leaves no sample out where groups are None."""
    return lambda generated, references: {
        key: float(values[0]) for key, values in leave_out(generated, references, None).items()
    }


def need(found: int, least: int, what: str, metric: str, reference: str) -> None:
    """Refuse too few samples or images, ``what`` a metric needs."""
    if found < least:
        raise NotMeasurable(f"{what}, got {found}", metric, reference)


def check_groups(groups: np.ndarray, n: int) -> None:
    """Refuse groups that are not one of 0..G-1 for each of n samples, or of which one holds all."""
    fits = isinstance(groups, np.ndarray) and groups.shape == (n,) and groups.dtype.kind in "iu" and groups.min() >= 0
    if not fits or np.bincount(groups).max() == n:
        got = f"{groups.dtype} {groups.shape}" if isinstance(groups, np.ndarray) else type(groups).__name__
        raise ValueError(f"Groups must be integers ({n},) from 0, of which none holds all samples, got {got}")


def members(groups: np.ndarray | None, n: int) -> np.ndarray:
    """Float (n, G), 1 where a sample is in the group, for groups (n,) in 0..G-1; for None one group without samples."""
    if groups is None:
        return np.zeros((n, 1))
    check_groups(groups, n)
    return np.eye(groups.max() + 1)[groups]


def counts_without(index: np.ndarray, groups: np.ndarray | None, size: int) -> np.ndarray:
    """How often 0..size-1 are in index (n,) without each group: int64 (G, size); for None without none: (1, size)."""
    whole = np.bincount(index, minlength=size)
    if groups is None:
        return whole[None]
    check_groups(groups, len(index))
    counts = np.zeros((groups.max() + 1, len(whole)), dtype=np.int64)
    np.add.at(counts, (groups, index), 1)
    return whole - counts
