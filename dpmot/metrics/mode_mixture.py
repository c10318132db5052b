"""Mode-mixture ratio: the share of samples that a classifier puts into at least two classes at once.

MMR_t = 1/n sum_i [ #{k : p(k | x_i) >= t} >= 2 ], at the eight thresholds of the paper's mode-mixture script.
Its floor is the MMR of real images of the same size, not zero; above t = 1/2 it is zero by definition.
"""

import numpy as np

from dpmot.features import Features
from dpmot.metrics import Arrays, Fact, References

FACTS = {"mmr": Fact("lower", "MMR", "Mode-mixture ratio", digits=3, least=0.01, share=True)}
OF_CLASSES = True
SPACE = "probabilities"
THRESHOLDS = (0.1, 0.11, 0.115, 0.13, 0.16, 0.2, 0.3, 0.4)


def pointwise(generated: Features, references: References) -> Arrays:
    """``mmr_<t>``: true where a sample mixes modes, (n,) for each threshold; references play no part."""
    p = generated.probabilities
    if p is None or p.shape[1] < 2:
        raise ValueError(f'The mode-mixture ratio needs probabilities of two classes; "{generated.extractor}" has none')
    second = np.partition(p, -2, axis=1)[:, -2]
    return {(f"mmr_{t:g}", "none"): second >= t for t in THRESHOLDS}
