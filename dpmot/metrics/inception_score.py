"""Inception Score (Salimans et al. 2016): IS = exp( 1/n sum_i KL(p(.|x_i) || p(.)) ), p(.) = 1/n sum_i p(.|x_i).

The mean divergence is H(p(.)) - 1/n sum_i H(p(.|x_i)), entropies in nats: two sums over samples. One split only
(the usual ten splits bias the score down). 1 <= IS <= K; with its bias removed it may lie just outside.
"""

from collections.abc import Mapping

import numpy as np

from dpmot.features import Features

DIRECTION = {"is": "higher"}
SPACE = "probabilities"
DEBIAS = True


def evaluate(generated: Features, references: Mapping[str, Features]) -> dict[tuple[str, str], float]:
    """``is_<extractor>``; references play no part.

    Raises:
        ValueError: the features hold no probabilities, or no sample.
    """
    return {_key(generated): float(_scores(generated, np.ones((len(generated), 1)))[0])}


def leave_out(
    generated: Features, references: Mapping[str, Features], groups: np.ndarray
) -> dict[tuple[str, str], np.ndarray]:
    """The score without each group: (G,) for groups (n,) in 0..G-1."""
    kept = 1 - np.eye(groups.max() + 1)[groups]
    return {_key(generated): _scores(generated, kept)}


def _key(generated: Features) -> tuple[str, str]:
    return f"is_{generated.extractor}", "none"


def _scores(generated: Features, kept: np.ndarray) -> np.ndarray:
    """Scores of subsets: kept (n, G) is 1 where sample i belongs to subset g -> (G,)."""
    if generated.probabilities is None:
        raise ValueError(f'The Inception Score needs class probabilities, "{generated.extractor}" gives none')
    p = generated.probabilities.astype(np.float64)
    sizes = kept.sum(axis=0)
    if not (sizes > 0).all():
        raise ValueError(f"The Inception Score needs at least one sample, got subsets of {sizes.astype(int).tolist()}")
    marginal_entropy = _entropy(kept.T @ p / sizes[:, None])
    return np.exp(marginal_entropy - kept.T @ _entropy(p) / sizes)


def _entropy(p: np.ndarray) -> np.ndarray:
    """-sum_k p_k log p_k over the last axis, with 0 log 0 = 0."""
    return -(p * np.log(np.where(p > 0, p, 1))).sum(axis=-1)
