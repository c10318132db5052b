"""The samples of a set that mix modes most: those whose second largest class probability is largest.

The mode-mixture ratio is the share of samples with p_(2) >= t (:mod:`dpmot.metrics.mode_mixture`); these are the ones
behind it, for a gallery.
"""

from collections.abc import Mapping

import numpy as np

from dpmot.features import Features
from dpmot.metrics.mode_mixture import THRESHOLDS

TOLD = 24  # of a cell and sample seed


def most_mixed(features: Mapping[str, Features]) -> list[list]:
    """The most mixed samples as in mixed.csv: sample, class and probability of the first, and of the second.

    By the first extractor that knows two classes; at most TOLD with p_(2) at or above the smallest threshold of the
    mode-mixture ratio, most mixed first.
    """
    known = (one.probabilities for one in features.values() if one.probabilities is not None)
    p = next((one for one in known if one.shape[1] > 1), None)
    if p is None:
        return []
    order = np.argsort(-p, axis=1, kind="stable")[:, :2]
    (first, second), rows = order.T, np.arange(len(p))
    mixed = [row for row in np.argsort(-p[rows, second], kind="stable") if p[row, second[row]] >= min(THRESHOLDS)]
    return [
        [int(row), *(told for k in (first[row], second[row]) for told in (int(k), f"{p[row, k]:.4g}"))]
        for row in mixed[:TOLD]
    ]
