"""Tests against a margin: their sizes, by simulation, and the cases without noise."""

import numpy as np
import pytest

from dpmot.statistics import equivalence, jackknife

DRAW = np.random.default_rng(0)
N, REALISATIONS = 200, 2000


def sides(shift, *, common):
    """Two samples of a mean, the second shifted, with their noise in common or not."""
    base, other = DRAW.standard_normal((2, N))
    return base + 0.1 * DRAW.standard_normal(N) + shift, (base if common else other)


def change(shift, margin, *, common):
    one, two = sides(shift, common=common)
    groups = jackknife.groups(N)
    if common:
        parts = tuple(jackknife.leave_out_of_means(x, groups) for x in (one, two))
        return equivalence.paired((one.mean(), two.mean()), parts, margin=margin, debias=False)
    return equivalence.unpaired(jackknife.mean_interval(one), jackknife.mean_interval(two), margin=margin)


@pytest.mark.parametrize("common", [True, False])
def test_a_change_of_just_the_margin_is_called_larger_no_more_often_than_alpha(common):
    p = np.array([change(0.3, 0.3, common=common).p_beyond for _ in range(REALISATIONS)])
    # five standard errors above .05
    assert (p <= 0.05).mean() <= 0.05 + 5 * np.sqrt(0.05 * 0.95 / REALISATIONS)


def test_pairs_see_changes_that_intervals_do_not():
    paired = np.mean([change(0.1, 0.02, common=True).p_beyond <= 0.001 for _ in range(200)])
    unpaired = np.mean([change(0.1, 0.02, common=False).p_beyond <= 0.001 for _ in range(200)])
    assert paired > 0.9 and unpaired < 0.1


def test_equivalence_is_shown_within_the_margin_only():
    assert change(0.0, 0.1, common=True).p_within < 0.001
    assert change(0.1, 0.1, common=True).p_within > 0.001


def test_without_noise_the_values_decide():
    same = jackknife.Estimate(1.0, 1.0, 1.0)
    off = jackknife.Estimate(0.98, 0.98, 0.98)
    assert (
        equivalence.unpaired(off, same, margin=0.01).p_beyond,
        equivalence.unpaired(off, same, margin=0.03).p_beyond,
    ) == (0, 1)
    assert (
        equivalence.unpaired(off, same, margin=0.01).p_within,
        equivalence.unpaired(off, same, margin=0.03).p_within,
    ) == (1, 0)
    found = equivalence.unpaired(off, same, margin=0.01)
    assert found.difference == found.low == found.high == pytest.approx(-0.02)
    with pytest.raises(ValueError, match="A margin is not negative, got -1"):
        equivalence.unpaired(off, same, margin=-1)
