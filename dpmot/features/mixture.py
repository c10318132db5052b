"""The exact classifier of a Gaussian mixture with equal weights and one standard deviation.

p(k | x) = exp(-|x - mu_k|^2 / 2 s^2) / sum_j exp(-|x - mu_j|^2 / 2 s^2); the features are the points themselves.
On toy data no network stands between the samples and the metrics.
"""

import numpy as np

from dpmot.features import Features, Offer

DOMAIN = "mixture"
MODE = 3  # standard deviations: farther from every mean a point is off mode


def options(offer: Offer) -> dict[str, object]:
    """The law of the data set."""
    if offer.mixture is None:
        raise ValueError("mixture: this data set is no Gaussian mixture; choose other features")
    return {"means": offer.mixture["means"], "std": float(offer.mixture["std"])}


@np.errstate(under="ignore")
def extract(images: np.ndarray, *, means: np.ndarray, std: float) -> Features:
    """Points (n, d), posterior class probabilities (n, K), and who is off every mode, by means (K, d) and deviation."""
    points, means = np.asarray(images, dtype=np.float64), np.asarray(means, dtype=np.float64)
    if points.ndim != 2 or means.ndim != 2 or points.shape[1] != means.shape[1]:
        raise ValueError(f"Points (n, d) and means (K, d) must share d, got {points.shape} and {means.shape}")
    if not 0 < std < np.inf or not np.isfinite(means).all() or not len(means):
        told = f"{std} and {len(means)} means" + ("" if np.isfinite(means).all() else ", some of them not finite")
        raise ValueError(f"The standard deviation of a mixture must be positive, means and it finite, got {told}")
    offset = means.mean(axis=0).round()  # would cost digits; 0 where means lie around it
    x, means = points - offset, means - offset
    # |x|^2 is the same for every class, so it cancels: <x, mu> - |mu|^2/2.
    logits = (x @ means.T - 0.5 * (means**2).sum(axis=1)) / std**2
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = weights / weights.sum(axis=1, keepdims=True)
    nearest = np.min([((x - mean) ** 2).sum(axis=1) for mean in means], axis=0)
    off_mode = nearest > (MODE * std) ** 2
    return Features(values=points, extractor="mixture", probabilities=probabilities, off_mode=off_mode)
