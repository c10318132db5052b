"""Distinct neighbours: the number of different nearest training images among n samples, divided by n.

It falls with n for every source, so it is compared at equal n only and its bias cannot be removed. n independent
uniform draws of N images give (N/n) (1 - (1 - 1/N)^n).
"""

from collections.abc import Mapping

import numpy as np

from dpmot.features import Features
from dpmot.metrics._neighbours import nearest, required

DIRECTION = {"distinct_neighbours": "higher"}
SPACE = "pixels"
DEBIAS = False


def evaluate(generated: Features, references: Mapping[str, Features]) -> dict[tuple[str, str], float]:
    """``distinct_neighbours_<extractor>`` against "train", in (0, 1].

    Raises:
        ValueError: "train" is missing or in another space.
    """
    train = required(generated, references, "train", "Distinct neighbours")
    return {_key(generated): len(np.unique(nearest(generated, train).index)) / len(generated)}


def leave_out(
    generated: Features, references: Mapping[str, Features], groups: np.ndarray
) -> dict[tuple[str, str], np.ndarray]:
    """The share without each group: (G,) for groups (n,) in 0..G-1."""
    train = required(generated, references, "train", "Distinct neighbours")
    found, index = np.unique(nearest(generated, train).index, return_inverse=True)
    counts = np.zeros((groups.max() + 1, len(found)), dtype=np.int64)
    np.add.at(counts, (groups, index), 1)
    remaining = counts.sum(axis=0) - counts
    return {_key(generated): (remaining > 0).sum(axis=1) / remaining.sum(axis=1)}


def _key(generated: Features) -> tuple[str, str]:
    return f"distinct_neighbours_{generated.extractor}", "train"
