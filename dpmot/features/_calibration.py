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
    """From class probabilities (n, K) and labels (n,), with equal bins of the confidence (largest probability).

    Raises:
        ValueError: no image, another number of labels, or a label that is none of the K classes.
    """
    n, k = probabilities.shape
    if n == 0 or np.shape(labels) != (n,) or not 0 <= np.min(labels) <= np.max(labels) < k:
        told = f"{np.shape(labels)}" + (f" up to {np.max(labels)}" if np.size(labels) else "")
        raise ValueError(f"Calibration of {n} images in {k} classes needs a label 0..{k - 1} of each, got {told}")
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    cell = np.minimum((confidence * BINS).astype(int), BINS - 1)
    # |B_b|/n |accuracy - confidence| = |sum over the bin of (right - confidence)| / n
    gaps = np.bincount(cell, weights=right - confidence, minlength=BINS)
    return Calibration(accuracy=float(right.mean()), ece=float(np.abs(gaps).sum() / len(labels)))
