"""Can the probabilities of a classifier be trusted? Accuracy and expected calibration error (Guo et al. 2017)."""

from dataclasses import dataclass

import numpy as np

BINS = 15


@dataclass(frozen=True)
class Calibration:
    """Accuracy and expected calibration error, both in [0, 1]."""

    accuracy: float
    ece: float


def calibration(probabilities: np.ndarray, labels: np.ndarray) -> Calibration:
    """From class probabilities (n, K) and labels (n,), with equal bins of the confidence (largest probability)."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    cell = np.minimum((confidence * BINS).astype(int), BINS - 1)
    # |B_b|/n |accuracy - confidence| = |sum over the bin of (right - confidence)| / n
    gaps = np.bincount(cell, weights=right - confidence, minlength=BINS)
    return Calibration(accuracy=float(right.mean()), ece=float(np.abs(gaps).sum() / len(labels)))
