"""Mass error: are the stored images used equally often? Pearson's chi2 of the sources, standardised.

    z = ( sum_i (c_i - n/N)^2 / (n/N) - (N - 1) ) / sqrt(2 (N - 1)),        c_i samples of source i, n in all

is about standard normal where every one of the N images has mass 1/N. A map with relative errors of mass e_i adds
n mean(e_i^2) / sqrt(2 (N - 1)): wrong heights or a wrong source measure stand out at any n of a table.
"""

import numpy as np

from dpmot.features import Features
from dpmot.metrics import Arrays, Fact, References, counts_without, of_all
from dpmot.metrics._neighbours import required

FACTS = {"mass_error": Fact("lower", "mass error", least=1.0, quality=False)}
SPACE = "pixels"
COPYING = True
DEBIAS = False


def leave_out(generated: Features, references: References, groups: np.ndarray | None) -> Arrays:
    """``mass_error_<extractor>`` against "train", (G,): 0 of one image or no sample; nothing of unknown sources."""
    if generated.source is None:
        return {}
    stored = len(required(generated, references, "train", "Mass error"))
    number = generated.num_sources or stored
    if not generated.source.max() < number <= stored:
        told = f"source {generated.source.max()} of {number}, the first of {stored} training images"
        raise ValueError(f"Mass error: no sample can be made from {told}")
    left = counts_without(generated.source, groups, number)
    n = left.sum(axis=1)
    chi2 = number * (left.astype(np.float64) ** 2).sum(axis=1) / np.maximum(n, 1) - n
    z = np.where(n > 0, (chi2 - (number - 1)) / np.sqrt(2 * max(number - 1, 1)), 0)
    return {(f"mass_error_{generated.extractor}", "train"): z if number > 1 else np.zeros(len(n))}


evaluate = of_all(leave_out)
