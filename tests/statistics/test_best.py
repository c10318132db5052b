"""Multiple comparisons with the best: oracles, and how often a best method is lost."""

import numpy as np
import pytest
from scipy.stats import ttest_ind, ttest_rel

from dpmot.statistics.best import behind_best
from dpmot.statistics.jackknife import groups, leave_out_of_means
from dpmot.statistics.paired import difference, holm, p_value


def means(samples):
    """Means of methods (k, n) and their values without each of 20 groups."""
    member = groups(samples.shape[1])
    return samples.mean(axis=1), np.stack([leave_out_of_means(one, member) for one in samples])


def test_of_two_methods_the_distance_is_the_paired_difference_and_p_its_one_sided_test():
    theta, parts = means(np.random.default_rng(0).normal([[0.0], [0.1]], 1, (2, 400)))
    first, second = behind_best(theta, parts, family=2, level=0.9)
    # two methods, one comparison each: q is t at 1 - .1 / 2, that of a 90 % interval of the difference
    paired = difference(tuple(theta), tuple(parts), level=0.9, debias=False)
    assert (first.value, first.low, first.high) == pytest.approx((paired.value, paired.low, paired.high), rel=1e-9)
    assert (second.low, second.high) == pytest.approx((-paired.high, -paired.low), rel=1e-9)
    both = p_value(tuple(theta), tuple(parts), debias=False)
    assert sorted((first.p, second.p)) == pytest.approx([both / 2, 1 - both / 2])


def test_p_is_the_smallest_of_the_other_methods_times_their_number():
    samples = np.random.default_rng(1).normal([[0.0], [0.1], [0.3], [0.3]], 1, (4, 20))  # groups of one sample
    found = behind_best(*means(samples))
    for i, one in enumerate(found):
        against = [ttest_rel(samples[i], samples[j], alternative="greater").pvalue for j in range(4) if j != i]
        assert one.p == pytest.approx(min(1, 3 * min(against)), rel=1e-9)


def test_common_noise_cancels():
    random = np.random.default_rng(2)
    common, own = random.standard_normal(400), random.standard_normal((3, 400))
    near = behind_best(*means(np.array([[0.0], [0.2], [0.4]]) + common + 0.1 * own))
    assert [one.p < 0.01 for one in near] == [False, True, True]
    assert ttest_ind(common, common + 0.2).pvalue > 0.001  # alone nobody would tell them apart by much


def test_a_lower_end_above_zero_implies_a_small_corrected_p():
    random = np.random.default_rng(3)
    for k in (2, 3, 8):
        shifts = random.uniform(0, 0.6, (k, 1))
        columns = [behind_best(*means(random.normal(shifts, 1, (k, 200))), family=3 * k) for _ in range(3)]
        found = [one for column in columns for one in column]
        corrected = holm([one.p for one in found])
        assert all(p <= 0.05 for one, p in zip(found, corrected, strict=True) if one.low > 0)
        assert all(one.low <= one.value <= one.high for one in found)


def test_of_equal_methods_hardly_one_is_lost_and_all_intervals_hold():
    random, lost, missed = np.random.default_rng(4), 0, 0
    for _ in range(400):
        columns = [behind_best(*means(random.standard_normal((6, 40))), family=18) for _ in range(3)]
        found = [one for column in columns for one in column]
        lost += holm([one.p for one in found]).min() <= 0.05
        missed += any(not one.low <= 0 <= one.high for one in found)
    # at most .05 of 400 runs, 20, with a standard deviation of 4.4; four of them
    assert lost <= 37 and missed <= 37


def test_methods_that_are_one_are_both_best_and_those_that_vary_alike_differ_for_certain():
    _, parts = means(np.random.default_rng(5).standard_normal((1, 60)))
    one, other = behind_best([1.0, 1.0], np.repeat(parts, 2, axis=0))
    assert one == other and (one.value, one.low, one.high, one.p) == (0, 0, 0, 0.5)  # half of all t lie above 0
    better, worse = behind_best([1.0, 1.5], np.repeat(parts, 2, axis=0))
    assert better.p == 1 and worse.p == 0 and worse.low == worse.high == 0.5


@pytest.mark.parametrize(
    ("values", "parts", "options", "told"),
    [
        ([1.0], np.zeros((1, 4)), {}, "k and G >= 2"),
        ([1.0, 2.0], np.zeros((2, 1)), {}, "k and G >= 2"),
        ([1.0, 2.0], np.zeros((2, 4)), {"family": 1}, "of 1"),
        ([1.0, np.nan], np.zeros((2, 4)), {}, "finite values"),
        ([1.0, 2.0], np.zeros((2, 4)), {"level": 1.0}, "level between 0 and 1"),
    ],
)
def test_what_has_no_best_is_refused(values, parts, options, told):
    with pytest.raises(ValueError, match=told):
        behind_best(values, parts, **options)
