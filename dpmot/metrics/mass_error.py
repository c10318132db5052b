"""Mass error: are the stored images used equally often? Pearson's chi2 of the sources, standardised.

    z = ( sum_i (c_i - n/N)^2 / (n/N) - (N - 1) ) / sqrt(2 (N - 1)),        c_i samples of source i, n in all

is about standard normal where every one of the N images has mass 1/N. A map with relative errors of mass e_i adds
n mean(e_i^2) / sqrt(2 (N - 1)): wrong heights or a wrong source measure stand out at any n of a table.
"""

from collections.abc import Mapping

import numpy as np

from dpmot.features import Features
from dpmot.metrics import Fact
from dpmot.metrics._neighbours import required

FACTS = {"mass_error": Fact("lower", "mass error", least=1.0, quality=False)}
SPACE = "pixels"
COPYING = True
DEBIAS = False


def evaluate(generated: Features, references: Mapping[str, Features]) -> dict[tuple[str, str], float]:
    """``mass_error_<extractor>`` against "train"; nothing where the sources are not known."""
    found = leave_out(generated, references, np.ones(len(generated), dtype=np.int64))
    return {key: float(values[0]) for key, values in found.items()}


def leave_out(
    generated: Features, references: Mapping[str, Features], groups: np.ndarray
) -> dict[tuple[str, str], np.ndarray]:
    """The same without each group: (G,) for groups (n,) in 0..G-1; 0 where no sample is left, or one image stored."""
    if generated.source is None:
        return {}
    number = generated.num_sources or len(required(generated, references, "train", "Mass error"))
    counts = np.zeros((groups.max() + 1, max(number, generated.source.max() + 1)), dtype=np.int64)
    np.add.at(counts, (groups, generated.source), 1)
    left = counts.sum(axis=0) - counts
    n = left.sum(axis=1)
    chi2 = number * (left.astype(np.float64) ** 2).sum(axis=1) / np.maximum(n, 1) - n
    z = np.where(n > 0, (chi2 - (number - 1)) / np.sqrt(2 * max(number - 1, 1)), 0)
    return {(f"mass_error_{generated.extractor}", "train"): z if number > 1 else np.zeros(len(n))}
