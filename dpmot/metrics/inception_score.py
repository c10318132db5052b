"""Inception Score (Salimans et al. 2016): IS = exp( 1/n sum_i KL(p(.|x_i) || p(.)) ), p(.) = 1/n sum_i p(.|x_i).

The mean divergence is H(p(.)) - 1/n sum_i H(p(.|x_i)), entropies in nats: two sums over samples. One split only
(the usual ten splits bias the score down). 1 <= IS <= K; with its bias removed it may lie just outside.
"""

from collections.abc import Mapping

import numpy as np

from dpmot.features import Features
from dpmot.metrics import Fact

FACTS = {"is": Fact("higher", "IS", "Inception Score")}
SPACE = "probabilities"
DEBIAS = True


def evaluate(generated: Features, references: Mapping[str, Features]) -> dict[tuple[str, str], float]:
    """``is_<extractor>``; references play no part."""
    return {key: float(scores[0]) for key, scores in leave_out(generated, references, None).items()}


def leave_out(
    generated: Features, references: Mapping[str, Features], groups: np.ndarray | None
) -> dict[tuple[str, str], np.ndarray]:
    """The score without each group: (G,) for groups (n,) in 0..G-1; with None that of all samples, (1,)."""
    if generated.probabilities is None:
        raise ValueError(f'The Inception Score needs class probabilities, "{generated.extractor}" gives none')
    p = generated.probabilities.astype(np.float64)
    kept = np.ones((len(p), 1)) if groups is None else 1 - np.eye(groups.max() + 1)[groups]
    sizes = kept.sum(axis=0)
    if not (sizes > 0).all():
        raise ValueError(f"The Inception Score needs at least one sample, got subsets of {sizes.astype(int).tolist()}")
    marginal_entropy = _entropy(kept.T @ p / sizes[:, None])
    scores = np.exp(marginal_entropy - kept.T @ _entropy(p) / sizes)
    return {(f"is_{generated.extractor}", "none"): scores}


def _entropy(p: np.ndarray) -> np.ndarray:
    """-sum_k p_k log p_k over the last axis, with 0 log 0 = 0."""
    return -(p * np.log(np.where(p > 0, p, 1))).sum(axis=-1)
