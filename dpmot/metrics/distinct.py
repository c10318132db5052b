"""Distinct neighbours and starts: the number of different nearest training images among n samples, divided by n, and
the same of the training images that their starts were made from.

It falls with n for every source, so it is compared at equal n only and its bias cannot be removed. n independent
uniform draws of N images give (N/n) (1 - (1 - 1/N)^n).
"""

from collections.abc import Mapping

import numpy as np

from dpmot.features import Features
from dpmot.metrics._neighbours import nearest, required

DIRECTION = {"distinct_neighbours": "higher", "distinct_sources": "higher"}
SPACE = "pixels"
COPYING = True
DEBIAS = False
RANGE = (0.0, 1.0)


def evaluate(generated: Features, references: Mapping[str, Features]) -> dict[tuple[str, str], float]:
    """``distinct_neighbours_<extractor>`` and, where sources are known, ``distinct_sources_<extractor>``, in (0, 1].

    Raises:
        ValueError: "train" is missing or in another space.
    """
    return {key: len(np.unique(rows)) / len(rows) for key, rows in _rows(generated, references).items()}


def leave_out(
    generated: Features, references: Mapping[str, Features], groups: np.ndarray
) -> dict[tuple[str, str], np.ndarray]:
    """The shares without each group: (G,) for groups (n,) in 0..G-1."""
    result = {}
    for key, rows in _rows(generated, references).items():
        found, index = np.unique(rows, return_inverse=True)
        counts = np.zeros((groups.max() + 1, len(found)), dtype=np.int64)
        np.add.at(counts, (groups, index), 1)
        remaining = counts.sum(axis=0) - counts
        result[key] = (remaining > 0).sum(axis=1) / remaining.sum(axis=1)
    return result


def _rows(generated: Features, references: Mapping[str, Features]) -> dict[tuple[str, str], np.ndarray]:
    """The training image that each sample is nearest to, and the one that its start was made from."""
    train = required(generated, references, "train", "Distinct neighbours")
    found = {(f"distinct_neighbours_{generated.extractor}", "train"): nearest(generated, train).index}
    if generated.source is not None:
        found[f"distinct_sources_{generated.extractor}", "train"] = generated.source
    return found
