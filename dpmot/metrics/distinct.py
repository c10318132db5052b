"""Distinct samples, starts and neighbours, each as a number over n: images that differ at all, training images that the
starts were made from, and training images that a sample is nearest to.

They fall with n for every finite source, so they are compared at equal n only and their bias cannot be removed. n
independent uniform draws of N images give (N/n) (1 - (1 - 1/N)^n).
"""

import numpy as np

from dpmot.features import Features
from dpmot.metrics import Arrays, Fact, References, counts_without, of_all
from dpmot.metrics._neighbours import nearest, required

FACTS = {
    "distinct_samples": Fact(
        "higher", "distinct samples", digits=3, least=0.001, exact=True, quality=False, share=True
    ),
    "distinct_neighbours": Fact("higher", "distinct neighbours", digits=3, least=0.01, quality=False, share=True),
    "distinct_sources": Fact("higher", "distinct starts", digits=3, least=0.01, quality=False, share=True),
}
SPACE = "pixels"
COPYING = True
DEBIAS = False
RANGE = (0.0, 1.0)


def leave_out(generated: Features, references: References, groups: np.ndarray | None) -> Arrays:
    """``distinct_samples_``, ``distinct_neighbours_`` and, where known, ``distinct_sources_<extractor>``, in (0, 1]."""
    result = {}
    for key, rows in _rows(generated, references).items():
        remaining = counts_without(rows, groups, rows.max() + 1)
        result[key] = (remaining > 0).sum(axis=1) / remaining.sum(axis=1)
    return result


evaluate = of_all(leave_out)


def _rows(generated: Features, references: References) -> Arrays:
    """A number for each sample: of its image, the training image nearest to it, and the one its start was made from."""
    train = required(generated, references, "train", "Distinct neighbours")
    images: dict[bytes, int] = {}
    own = np.array([images.setdefault(row.tobytes(), len(images)) for row in generated.values + 0.0])  # -0 is 0
    found = {(f"distinct_samples_{generated.extractor}", "none"): own}
    found[f"distinct_neighbours_{generated.extractor}", "train"] = nearest(generated, train).index
    if generated.source is not None:
        found[f"distinct_sources_{generated.extractor}", "train"] = generated.source
    return found
