"""The delete-group jackknife against closed forms, and its coverage for the Frechet distance."""

from math import comb

import numpy as np
import pytest
from scipy.special import ndtri, stdtrit

from dpmot.features import Features
from dpmot.metrics import frechet
from dpmot.statistics.jackknife import (
    Estimate,
    groups,
    interval,
    leave_out_of_means,
    mean_interval,
    share_interval,
    stratified_groups,
    variance_of_mean,
)


def test_samples_are_dealt_to_groups_in_turn():
    assert groups(7, 3).tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert np.bincount(groups(500)).tolist() == [25] * 20


def test_means_without_a_group_equal_the_means_of_the_rest():
    values, member = np.random.default_rng(0).standard_normal(53), groups(53, 8)
    expected = [values[member != g].mean() for g in range(8)]
    np.testing.assert_allclose(leave_out_of_means(values, member), expected, rtol=1e-12)  # float64 sums reordered


def test_one_sample_a_group_gives_the_classical_interval_of_the_mean():
    values = np.random.default_rng(1).standard_normal(15)
    found = mean_interval(values, num_groups=15)
    # Student's t with 14 degrees of freedom, 97.5 %: 2.144787
    half = 2.1447866879 * values.std(ddof=1) / np.sqrt(15)
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half))


def test_debiasing_turns_the_plain_variance_into_the_unbiased_one():
    x = np.random.default_rng(2).standard_normal(12)
    leave_out = np.array([np.delete(x, i).var() for i in range(12)])
    # Quenouille: the jackknife removes the 1/n bias of the plug-in variance exactly
    assert interval(x.var(), leave_out).value == pytest.approx(x.var(ddof=1))
    assert interval(x.var(), leave_out, debias=False).value == x.var()


def test_a_wider_level_gives_a_wider_interval():
    leave_out = np.random.default_rng(3).standard_normal(20)
    narrow, wide = interval(0.0, leave_out, level=0.9), interval(0.0, leave_out, level=0.99)
    # t quantiles with 19 degrees of freedom: 1.729133 and 2.860935
    ratio = (wide.high - wide.low) / (narrow.high - narrow.low)
    assert ratio == pytest.approx(2.860935 / 1.729133, rel=1e-6)


def tail(n, share, counts):
    """P(X in counts) for a binomial X."""
    return sum(comb(n, k) * share**k * (1 - share) ** (n - k) for k in counts)


@pytest.mark.parametrize(("count", "n"), [(81, 263), (15, 148), (3, 500), (1, 29)])
def test_each_end_of_an_exact_interval_leaves_one_tail_beyond_the_count(count, n):
    found = share_interval(count, n)
    assert found.value == count / n
    assert 1 - tail(n, found.low, range(count)) == pytest.approx(0.025, rel=1e-6)  # the definition, float64 sums
    assert tail(n, found.high, range(count + 1)) == pytest.approx(0.025, rel=1e-6)


def test_a_share_of_zero_or_one_keeps_an_honest_width():
    assert mean_interval(np.zeros(500, dtype=bool)) == share_interval(0, 500)
    assert mean_interval(np.ones(500, dtype=bool)) == share_interval(500, 500)
    assert share_interval(0, 500).high == pytest.approx(1 - 0.025 ** (1 / 500))
    assert mean_interval(np.zeros(500)) == Estimate(0.0, 0.0, 0.0)  # numbers, not a share


def test_repeated_observations_do_not_shorten_the_interval_of_a_share():
    values = np.random.default_rng(9).random(100) < 0.1
    assert mean_interval(np.tile(values, 5), units=100) == mean_interval(values)


def test_intervals_of_a_share_cover_it():
    random, covered = np.random.default_rng(4), 0
    for _ in range(400):
        found = mean_interval(random.random(500) < 0.1)
        covered += found.low <= 0.1 <= found.high
    # 95 % of 400 with a binomial standard error of 1.1 %; the exact interval covers about 1 % more
    assert 0.91 <= covered / 400 <= 0.985


def simulated_frechet(*, repeats, seed):
    """Pairs (features of 400 draws, exact reference moments) and the closed-form distance between the laws."""
    d = 16
    scale, shift = np.linspace(0.6, 1.3, d), np.full(d, 0.08)
    reference = frechet.gaussian_moments(np.zeros(d), np.eye(d))
    truth = (shift**2).sum() + ((scale - 1) ** 2).sum()
    random = np.random.default_rng(seed)
    return [random.standard_normal((400, d)) * scale + shift for _ in range(repeats)], reference, truth


def test_jackknife_intervals_of_the_frechet_distance_cover_the_truth():
    draws, reference, truth = simulated_frechet(repeats=300, seed=5)
    member, covered, values = groups(400), 0, []
    for x in draws:
        full, *leave_out = frechet._distances(x, reference, member + 1)
        found = interval(full, np.array(leave_out))
        covered += found.low <= truth <= found.high
        values.append((found.value, full))
    # 95 % nominal; 300 realisations leave a binomial standard error of 1.3 %, and 97 % was measured at d = 64
    assert 0.90 <= covered / 300 <= 0.995
    debiased, plain = np.mean(values, axis=0) - truth
    assert abs(debiased) < 0.1 * plain  # the plain estimate is biased up by about d (d + 3) / 4 n


def test_percentile_bootstrap_intervals_of_the_frechet_distance_miss_the_truth():
    draws, reference, truth = simulated_frechet(repeats=30, seed=6)
    random, covered = np.random.default_rng(7), 0
    for x in draws:
        again = [
            frechet.frechet_distance(frechet.moments(x[random.integers(400, size=400)]), reference) for _ in range(100)
        ]
        low, high = np.quantile(again, [0.025, 0.975])
        covered += low <= truth <= high
    assert covered / 30 < 0.5  # why the jackknife is used; its interval covers 95 %


def test_leave_out_of_the_metric_feeds_the_interval():
    random = np.random.default_rng(8)
    x, y = (Features(values=random.standard_normal((400, 6)), extractor="classifier") for _ in range(2))
    key = ("fd_classifier", "test")
    full, without = frechet.evaluate(x, {"test": y})[key], frechet.leave_out(x, {"test": y}, groups(400))[key]
    found = interval(full, without)
    assert found.low < found.value < found.high and found.value < full


def test_bad_arguments_are_refused_in_one_line():
    with pytest.raises(ValueError, match="20 groups and 10 samples"):
        groups(10)
    with pytest.raises(ValueError, match="1 groups and 10 samples"):
        groups(10, 1)
    with pytest.raises(ValueError, match="two or more groups"):
        interval(1.0, np.array([1.0]))
    with pytest.raises(ValueError, match="finite values"):
        interval(1.0, np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="between 0 and 1, got 95"):
        interval(1.0, np.array([1.0, 2.0]), level=95)
    with pytest.raises(ValueError, match="got 3 of 2"):
        share_interval(3, 2)


def test_groups_of_a_stratified_sample_hold_every_class_in_its_share():
    labels = np.arange(500) % 20  # in stored order, group k mod 20 would be class k
    member = stratified_groups(labels, np.random.default_rng(0))
    counts = np.array([np.bincount(labels[member == g], minlength=20) for g in range(20)])
    assert counts.min() >= 1 and counts.max() <= 2 and (counts.sum(axis=1) == 25).all()  # 25 / 20 of each
    assert not np.array_equal(member, stratified_groups(labels, np.random.default_rng(1)))
    with pytest.raises(ValueError, match="2 <= groups <= samples"):
        stratified_groups(labels[:10], np.random.default_rng(0))


def test_the_mean_of_a_stratified_sample_varies_within_its_strata_only():
    draw, strata = np.random.default_rng(1), np.arange(60) % 3
    values = [10 * strata + draw.standard_normal(60) for _ in range(2000)]
    told = np.mean([variance_of_mean(one, strata) for one in values])
    assert told == pytest.approx(1 / 60, rel=0.02)  # 2,000 of 57 degrees of freedom: .5 %
    assert told == pytest.approx(np.var([one.mean() for one in values]), rel=0.1)  # 2,000 of one: 3 %
    assert variance_of_mean(values[0]) > 50 * told
    assert variance_of_mean(values[0], np.arange(60)) == variance_of_mean(values[0])


def test_an_interval_adds_the_variance_of_the_reference_and_halves_both_between_samples_of_one_law():
    leave_out = np.random.default_rng(2).standard_normal(20)
    own = interval(0.0, leave_out, debias=False)
    variance = (own.high / stdtrit(19, 0.975)) ** 2
    both = interval(0.0, leave_out, debias=False, reference=3 * variance)
    assert both.high == pytest.approx(2 * variance**0.5 * stdtrit(19 * 16, 0.975))
    same = interval(0.0, leave_out, debias=False, reference=3 * variance, same_law=True)
    assert same.high == pytest.approx(both.high / 2**0.5)
    known = interval(0.0, np.zeros(20), debias=False, reference=1.0)
    assert known.high == pytest.approx(ndtri(0.975), rel=1e-6)  # no replicate varies: a normal error
    assert interval(1.0, np.ones(20)) == Estimate(1.0, 1.0, 1.0)
