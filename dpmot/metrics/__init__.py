"""Metrics: one file each.

A file has ``FACTS``, a :class:`Fact` for each stem of its metrics' names; ``SPACE``, the kind of features it wants
("features", "probabilities", "pixels", or "any" of features and pixels); and one of

- ``pointwise(generated, references)`` -> {(metric, reference): (n,)}: the metric is the mean of these values, so
  leaving samples out costs nothing; booleans where that mean is a share. ``UNITS``, by stem, tells how many
  independent observations there are where that is fewer than the samples;
- ``evaluate(generated, references)`` -> {(metric, reference): value} for functionals of the whole set, with
  ``DEBIAS``, true where the bias falls like 1/n so that the jackknife may remove it (from ``FEWEST`` samples a
  dimension on, where that is given), and optionally
  ``leave_out(generated, references, groups)`` -> {(metric, reference): (G,)}, the same values without each group
  (an empty group leaves all samples); where the file says ``HELD = True``, with what was fitted to all samples held.

``COPYING = True`` marks a metric that asks about the images a method could copy: "train" is then the split that the
method stores. ``OF_CLASSES = True`` marks one that asks about the data set's own classes. ``RANGE`` bounds the
intervals. An optional ``remark(generated, references)`` says what a reader of the values must know, "" for nothing.

``references`` maps "train" and "test" to Features; a metric without a reference says "none". Whichever function is
asked raises ValueError where what it needs (a reference, probabilities, rows of these) is missing or in another space,
and :class:`NotMeasurable` where a plan allows so few images.
"""

from dataclasses import dataclass
from typing import Literal

AUDITED_BY = ("ct", "novelty", "recovery")  # files whose metrics the copying audit asks
AUDITED = {"recovery": "recovery_pixels", "authenticity": "authenticity_pixels", "ct": "ct_pixels"}
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
        copier: whether the plain value of the training images is what an exact copier of them tends to.
    """

    direction: Literal["lower", "higher", "none"]
    label: str
    title: str = ""
    digits: int | None = None
    least: float | None = None
    exact: bool = False
    quality: bool = True
    floor: bool = True
    copier: bool = False

    @property
    def heading(self) -> str:
        """Title and better direction of a panel."""
        return f"{self.title or self.label}, {self.direction} is better"
