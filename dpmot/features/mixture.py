"""The exact classifier of a Gaussian mixture with equal weights and one standard deviation.

p(k | x) = exp(-|x - mu_k|^2 / 2 s^2) / sum_j exp(-|x - mu_j|^2 / 2 s^2); the features are the points themselves.
On toy data no network stands between the samples and the metrics.
"""

import numpy as np

from dpmot.features import Features

MODE = 3  # standard deviations: farther from every mean a point is off mode


def extract(images: np.ndarray, *, means: np.ndarray, std: float) -> Features:
    """Points and their posterior class probabilities.

    Args:
        images: float points (n, d); an array or a CPU tensor.
        means: centres of the classes, (K, d).
        std: standard deviation of every class, > 0.

    Returns:
        values float64 (n, d), probabilities float64 (n, K), and which points are farther than 3 std from every mean.

    Raises:
        ValueError: shapes that do not fit together, or std <= 0.
    """
    points, means = np.asarray(images, dtype=np.float64), np.asarray(means, dtype=np.float64)
    if points.ndim != 2 or means.ndim != 2 or points.shape[1] != means.shape[1]:
        raise ValueError(f"Points (n, d) and means (K, d) must share d, got {points.shape} and {means.shape}")
    if not std > 0:
        raise ValueError(f"The standard deviation of a mixture must be positive, got {std}")
    # |x|^2 is the same for every class, so it cancels: <x, mu> - |mu|^2/2.
    logits = (points @ means.T - 0.5 * (means**2).sum(axis=1)) / std**2
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = weights / weights.sum(axis=1, keepdims=True)
    nearest = np.min([((points - mean) ** 2).sum(axis=1) for mean in means], axis=0)
    off_mode = nearest > (MODE * std) ** 2
    return Features(values=points, extractor="mixture", probabilities=probabilities, off_mode=off_mode)
