"""Paired differences, equivalence and Holm's correction."""

import numpy as np
import pytest

from dpmot.statistics.jackknife import groups, interval, leave_out_of_means
from dpmot.statistics.paired import difference, equivalence, holm, p_value


def test_common_noise_cancels_in_a_paired_difference():
    random, member = np.random.default_rng(0), groups(500)
    shared = random.standard_normal(500)
    first, second = shared + 0.1 + 0.01 * random.standard_normal(500), shared
    full, without = (first.mean(), second.mean()), tuple(leave_out_of_means(v, member) for v in (first, second))
    paired = difference(full, without, debias=False)
    alone = interval(full[0], without[0], debias=False)
    assert paired.low <= 0.1 <= paired.high
    # standard errors: .01 / sqrt(500) against 1 / sqrt(500)
    assert (paired.high - paired.low) < 0.03 * (alone.high - alone.low)


def test_a_paired_difference_is_the_interval_of_the_differences():
    a, b = np.random.default_rng(1).standard_normal((2, 10))
    assert difference((3.0, 1.0), (a, b)) == interval(2.0, a - b)


def test_methods_with_different_groups_are_not_paired():
    with pytest.raises(ValueError, match=r"same groups, got \(3,\) and \(4,\)"):
        difference((0.0, 0.0), (np.zeros(3), np.zeros(4)))


def test_tost_matches_two_t_tests_of_scipy():
    from scipy.stats import ttest_1samp

    x = np.random.default_rng(2).normal(0.2, 1, 25)
    for margin in (0.1, 0.5, 1.0):
        above = ttest_1samp(x, -margin, alternative="greater").pvalue
        below = ttest_1samp(x, margin, alternative="less").pvalue
        found = equivalence(x, margin)
        assert found.p_value == pytest.approx(max(above, below), rel=1e-9)  # the same float64 quantile function
        low, high = ttest_1samp(x, 0).confidence_interval(0.90)
        assert (found.low, found.high) == pytest.approx((low, high))
        assert found.equivalent == (-margin < low and high < margin)


def test_few_noisy_seeds_do_not_show_equivalence_but_many_do():
    random = np.random.default_rng(3)
    assert not equivalence(random.normal(0, 1, 4), 0.5).equivalent
    assert equivalence(random.normal(0, 1, 200), 0.5).equivalent


def test_the_test_holds_its_size_at_the_margin():
    random = np.random.default_rng(4)
    wrong = sum(equivalence(random.normal(0.5, 0.3, 20), 0.5).equivalent for _ in range(1000))
    # size 5 % of 1000 with a binomial standard error of .7 %; four of them
    assert 0.022 <= wrong / 1000 <= 0.078


def test_seeds_that_agree_exactly_are_judged_by_their_mean():
    assert equivalence(np.full(5, 0.25), 0.5).equivalent
    assert not equivalence(np.full(5, 0.5), 0.5).equivalent


def test_holm_matches_the_hand_calculation():
    # sorted .01 .02 .03 .2 times 4 3 2 1 = .04 .06 .06 .2, running maximum, in the given order
    np.testing.assert_allclose(holm([0.2, 0.01, 0.03, 0.02]), [0.2, 0.04, 0.06, 0.06])
    np.testing.assert_allclose(holm([0.9, 0.8]), [1.0, 1.0])
    assert holm([]).shape == (0,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: equivalence(np.array([1.0]), 0.5), "two or more seeds"),
        (lambda: equivalence(np.array([1.0, np.nan]), 0.5), "finite differences"),
        (lambda: equivalence(np.zeros(3), 0.0), "margin > 0"),
        (lambda: equivalence(np.zeros(3), 1.0, alpha=0.5), "alpha < 1/2"),
        (lambda: holm([0.5, 1.5]), r"lie in \[0, 1\]"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_p_value_of_a_paired_difference_is_uniform_where_there_is_none():
    draw, found = np.random.default_rng(0), []
    for _ in range(2000):
        x, y = draw.standard_normal((2, 200))
        parts = [leave_out_of_means(v, groups(200)) for v in (x, y)]
        found.append(p_value((x.mean(), y.mean()), parts, debias=False))
    for level in (0.05, 0.2, 0.5):
        assert np.mean(np.array(found) <= level) == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / 2000))


def test_equal_methods_have_p_one_and_a_clear_difference_next_to_none():
    parts = np.linspace(0, 1, 20)
    assert p_value((0.5, 0.5), (parts, parts)) == 1
    assert p_value((9.5, 0.5), (parts + 9 + 1e-3 * np.sin(np.arange(20)), parts)) < 1e-6
