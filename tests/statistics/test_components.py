"""The nested random-effects split: oracles, and whether its intervals cover on simulated trainings."""

import numpy as np
import pytest
from scipy.stats import f_oneway

from dpmot.statistics.components import components


def drawn(random, training, sampling, trainings=10, draws=5, mean=6.0):
    """Values (T, S) with these standard deviations."""
    return (
        mean + training * random.standard_normal((trainings, 1)) + sampling * random.standard_normal((trainings, draws))
    )


def test_the_ratio_of_mean_squares_is_that_of_an_analysis_of_variance():
    values = drawn(np.random.default_rng(0), 0.5, 1.0)
    found = components(values)
    assert found.between / found.within == pytest.approx(f_oneway(*values).statistic, rel=1e-12)
    assert found.training.value == pytest.approx(values.mean(axis=1).var(ddof=1) - found.sampling.value / 5, rel=1e-12)
    assert found.sampling.value == pytest.approx(values.var(axis=1, ddof=1).mean(), rel=1e-12)


def test_a_design_by_hand():
    found = components(np.array([[1.0, 3.0], [5.0, 7.0]]))  # m = 2, 6: M_A = 2 * 8 = 16, M_E = 8 / 4 = 2
    assert (found.mean, found.between, found.within) == (4.0, 16.0, 2.0)
    assert (found.training.value, found.sampling.value) == (7.0, 2.0)
    assert found.share.value == pytest.approx(7 / 9)


@pytest.mark.parametrize(("training", "sampling"), [(0.0, 1.0), (0.5, 1.0), (2.0, 1.0)])
def test_intervals_cover_and_the_parts_are_unbiased(training, sampling):
    random, rounds = np.random.default_rng(1), 1000
    found = [components(drawn(random, training, sampling)) for _ in range(rounds)]
    share = training**2 / (training**2 + sampling**2)
    truth = {"share": share, "training": training**2, "sampling": sampling**2}
    covered = {
        name: np.mean([getattr(one, name).low <= value <= getattr(one, name).high for one in found])
        for name, value in truth.items()
    }
    slack = 4 * np.sqrt(0.05 * 0.95 / rounds)  # four standard errors of a share of .95
    assert abs(covered["sampling"] - 0.95) < slack
    # at A = 0 a cut lower end of 0 covers as well: .975; Williams' bounds cover at least what they say
    assert covered["share"] == pytest.approx(0.975 if training == 0 else 0.95, abs=slack)
    assert covered["training"] > 0.95 - slack
    for name in ("training", "sampling"):
        values = np.array([getattr(one, name).value for one in found])
        assert abs(values.mean() - truth[name]) < 4 * values.std() / np.sqrt(rounds)


def test_intervals_hold_for_draws_as_skewed_as_metrics_are():
    random, rounds, covered = np.random.default_rng(2), 1000, 0
    for _ in range(rounds):
        skewed = random.gamma(16.0, 0.25, (10, 5))  # variance 1, skewness .5
        share = components(random.standard_normal((10, 1)) + skewed).share
        covered += share.low <= 0.5 <= share.high
    assert covered / rounds > 0.95 - 4 * np.sqrt(0.05 * 0.95 / rounds)


def test_values_that_all_agree_have_no_share_and_draws_that_agree_are_all_training():
    assert np.isnan(components(np.full((3, 2), 0.1)).share.value)
    found = components(np.repeat([[1.0], [2.0], [4.0]], 3, axis=1))
    assert (found.share.value, found.share.low, found.share.high) == (1, 1, 1)
    assert found.sampling.high == 0


def test_trainings_that_agree_have_a_share_of_nothing():
    found = components(np.tile([[1.0, 2.0, 3.0]], (4, 1)))
    assert found.share.value == found.share.low == 0 and found.training.value < 0 <= found.training.low


@pytest.mark.parametrize("values", [np.ones((1, 5)), np.ones((5, 1)), np.ones(5), np.array([[1.0, np.nan], [1, 2]])])
def test_what_cannot_be_split_is_refused(values):
    with pytest.raises(ValueError, match="two or more trainings and draws"):
        components(values)
