"""Diversity: is every real image's neighbourhood reached? Shares of the real images of a reference.

- recall (Kynkaanniemi et al. 2019, k = 3): those that lie in the ball of a sample, which reaches to the sample's k-th
  nearest other sample.
- coverage (Naeem et al. 2020, k = 5): those whose own ball, out to the k-th nearest other real image, holds a sample.

Both grow with the number of samples: compare at equal n only. They ask about the images of this reference, whose own
variance is no part of their intervals. In simulation (``benchmarks/coverage.py``) their jackknife errors are a third
too large, so that these hold the mean over samples in 99 %.
"""

import numpy as np

from dpmot.features import Features
from dpmot.metrics import Arrays, Fact, References, Values, check_groups
from dpmot.metrics._neighbours import PRECISION_K, SPARE, balls, neighbours, reached_without, with_balls

FACTS = {
    "recall": Fact("higher", "recall", "Recall (k = 3)", digits=3, least=0.01, share=True),
    "coverage": Fact("higher", "coverage", "Coverage (k = 5)", digits=3, least=0.01, share=True),
}
SPACE = "features"
DEBIAS = False
RANGE = (0.0, 1.0)


def evaluate(generated: Features, references: References) -> Values:
    """``recall_<extractor>`` and ``coverage_<extractor>`` against every reference, in [0, 1]."""
    result = {}
    for name in references:
        found = balls(generated, with_balls(generated, references, name, "Recall", "recall"))
        result[f"recall_{generated.extractor}", name] = float(found.recalled.mean())
        result[f"coverage_{generated.extractor}", name] = float(found.covered.mean())
    return result


def leave_out(generated: Features, references: References, groups: np.ndarray) -> Arrays:
    """The shares without each group: (G,) for groups (n,) in 0..G-1. Balls of samples grow where neighbours leave."""
    used = {name: with_balls(generated, references, name, "Recall", "recall") for name in references}
    without = _radii_without(generated, groups)
    result = {}
    for name, reference in used.items():
        recalled, covered = reached_without(generated, reference, groups, without)
        result[f"recall_{generated.extractor}", name] = (recalled > 0).mean(axis=0)
        result[f"coverage_{generated.extractor}", name] = (covered > 0).mean(axis=0)
    return result


def _radii_without(generated: Features, groups: np.ndarray) -> np.ndarray:
    """Squared distance to the k-th nearest other sample that is not of group g, (n, G)."""
    check_groups(groups, len(generated))
    n, k, largest = len(generated), PRECISION_K, np.bincount(groups).max()
    if n - largest <= k:
        raise ValueError(f"Without its largest group of {largest} of {n} samples, none has {k} others")
    known = min(n - 1, k + SPARE)
    while True:
        index, squared = neighbours(generated, None, known)
        places = [(groups[index] != g).cumsum(axis=1) == k for g in range(groups.max() + 1)]
        if all((place.any(axis=1) | (groups == g)).all() for g, place in enumerate(places)):
            return np.stack([squared[np.arange(n), place.argmax(axis=1)] for place in places], axis=1)
        known = min(n - 1, 2 * known)
