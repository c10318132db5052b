"""Inception Score and mode-mixture ratio: by hand, by closed form, and against torch-fidelity."""

import numpy as np
import pytest

from dpmot.features import Features
from dpmot.metrics import inception_score, mode_mixture
from dpmot.statistics.jackknife import groups

THRESHOLDS = ("0.1", "0.11", "0.115", "0.13", "0.16", "0.2", "0.3", "0.4")


def features(probabilities):
    p = None if probabilities is None else np.asarray(probabilities, dtype=float)
    return Features(values=np.zeros((3 if p is None else len(p), 1)), extractor="classifier", probabilities=p)


def score(probabilities):
    return inception_score.evaluate(features(probabilities), {})["is_classifier", "none"]


def test_certain_and_balanced_predictions_score_the_number_of_classes():
    assert score(np.tile(np.eye(7), (3, 1))) == pytest.approx(7)


def test_predictions_that_are_all_alike_score_one():
    assert score(np.tile([[0.2, 0.5, 0.3]], (9, 1))) == pytest.approx(1)


def test_two_uncertain_classes_match_the_closed_form():
    # p = (a, 1-a) and (1-a, a): marginal uniform, IS = exp(log 2 - H(a))
    a = 0.9
    entropy = -a * np.log(a) - (1 - a) * np.log(1 - a)
    assert score([[a, 1 - a], [1 - a, a]]) == pytest.approx(2 * np.exp(-entropy))


def test_the_score_agrees_with_torch_fidelity_on_the_same_logits():
    import torch

    from dpmot._torchvision import make_importable

    make_importable()
    from torch_fidelity.metric_isc import isc_features_to_metric

    logits = torch.randn(200, 10, dtype=torch.float64, generator=torch.manual_seed(0)) * 3
    theirs = isc_features_to_metric(logits, splits=1, shuffle=False)["inception_score_mean"]
    assert score(logits.softmax(1).numpy()) == pytest.approx(theirs, rel=1e-10)  # both float64


def test_leaving_groups_out_of_the_score_equals_evaluating_the_subsets():
    generated = features(np.random.default_rng(0).dirichlet(np.full(5, 0.3), 53))
    member = groups(53, 6)
    without = inception_score.leave_out(generated, {}, member)["is_classifier", "none"]
    for g in range(6):
        exact = inception_score.evaluate(generated.subset(member != g), {})["is_classifier", "none"]
        assert without[g] == pytest.approx(exact, rel=1e-12)  # the same sums in another order


def test_mixed_modes_are_counted_by_hand():
    p = [[0.9, 0.1, 0.0], [0.96, 0.02, 0.02], [0.5, 0.3, 0.2], [0.45, 0.45, 0.1]]
    found = mode_mixture.pointwise(features(p), {})
    assert [name for name, _ in found] == [
        f"mmr_{t}" for t in ["0.1", "0.11", "0.115", "0.13", "0.16", "0.2", "0.3", "0.4"]
    ]
    expected = {"mmr_0.1": [1, 0, 1, 1], "mmr_0.11": [0, 0, 1, 1], "mmr_0.2": [0, 0, 1, 1]}
    expected |= {"mmr_0.3": [0, 0, 1, 1], "mmr_0.4": [0, 0, 0, 1]}
    for name, rows in expected.items():
        assert found[name, "none"].tolist() == [bool(row) for row in rows], name


def test_the_ratio_falls_with_the_threshold():
    p = np.random.default_rng(0).dirichlet(np.full(10, 0.2), 500)
    shares = [values.mean() for values in mode_mixture.pointwise(features(p), {}).values()]
    assert shares == sorted(shares, reverse=True) and shares[0] > shares[-1]


def test_features_without_probabilities_are_refused():
    with pytest.raises(ValueError, match='needs class probabilities, "classifier" gives none'):
        inception_score.evaluate(features(None), {})
    with pytest.raises(ValueError, match='"classifier" has none'):
        mode_mixture.pointwise(features(None), {})
    with pytest.raises(ValueError, match="two classes"):
        mode_mixture.pointwise(features(np.ones((3, 1))), {})
