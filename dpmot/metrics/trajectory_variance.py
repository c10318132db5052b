"""Variance along the way: mode interpolation without a classifier. Does the network still change its mind at the end?

The mean over samples of V, the variance of the denoiser's answer D over the second half of the sampler's steps, a mean
over coordinates (:mod:`dpmot.diffusion.trajectory`; Aithal et al. 2024, arXiv:2406.09358). It is taken from evaluations
that the sampler makes anyway. Real images have none.

V falls with the noise levels of these steps, whatever the samples look like. Methods compare where these are the same:
one NFE, one grid and one start. So it makes no method the best of a table.
"""

import numpy as np

from dpmot.features import Features
from dpmot.metrics import Arrays, Fact, NotMeasurable, References

FACTS = {
    "trajectory_variance": Fact(
        "lower", "variance of D", "Variance of D along the way (no classifier)", quality=False, floor=False
    )
}
SPACE = "pixels"


def pointwise(generated: Features, references: References) -> Arrays:
    """``trajectory_variance_<extractor>``, float64 (n,); references play no part. Nothing where none was recorded.

    Raises:
        NotMeasurable: a sample has no two evaluations that count.
    """
    moved = generated.trajectory_variance
    if moved is None:
        return {}
    name = f"trajectory_variance_{generated.extractor}"
    if np.isnan(moved).any():
        told = "the variance of D needs two evaluations in the second half of the steps, each a denoiser's at one level"
        raise NotMeasurable(told, name, "none")
    return {(name, "none"): moved.astype(np.float64)}
