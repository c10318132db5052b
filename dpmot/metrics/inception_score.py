"""Inception Score (Salimans et al. 2016): IS = exp( 1/n sum_i KL(p(.|x_i) || p(.)) ), p(.) = 1/n sum_i p(.|x_i).

The mean divergence is H(p(.)) - 1/n sum_i H(p(.|x_i)), entropies in nats: two sums over samples. One split only
(the usual ten splits bias the score down). 1 <= IS <= K; with its bias removed it may lie just outside.
"""

import numpy as np

from dpmot.features import Features
from dpmot.metrics import Arrays, Fact, References, members, of_all

FACTS = {"is": Fact("higher", "IS", "Inception Score")}
SPACE = "probabilities"
DEBIAS = True


def leave_out(generated: Features, references: References, groups: np.ndarray | None) -> Arrays:
    """``is_<extractor>`` without each group, (G,); references play no part."""
    if generated.probabilities is None:
        raise ValueError(f'The Inception Score needs class probabilities, "{generated.extractor}" gives none')
    p = generated.probabilities.astype(np.float64)
    kept = 1 - members(groups, len(p))
    sizes = kept.sum(axis=0)
    if not (sizes > 0).all():
        raise ValueError(f"The Inception Score needs at least one sample, got subsets of {sizes.astype(int).tolist()}")
    marginal_entropy = _entropy(kept.T @ p / sizes[:, None])
    scores = np.exp(marginal_entropy - kept.T @ _entropy(p) / sizes)
    return {(f"is_{generated.extractor}", "none"): scores}


evaluate = of_all(leave_out)


def _entropy(p: np.ndarray) -> np.ndarray:
    """-sum_k p_k log p_k over the last axis, with 0 log 0 = 0."""
    return -(p * np.log(np.where(p > 0, p, 1))).sum(axis=-1)
