"""At how many evaluations a curve is as good as another cell: closed forms, coverage, and open ends."""

from math import inf, isnan, sqrt

import numpy as np
import pytest

from paper_figures._equal_quality import Point, Ratio, reach, two_digits


def power(*budgets, height=100.0, slope=1.0, parts=None):
    """A curve FD = height / NFE^slope."""
    return [Point(nfe, height / nfe**slope, parts) for nfe in budgets]


def spread(value, error, groups=20, draw=None):
    """Leave-out values whose jackknife error is ``error``."""
    noise = (draw or np.random.default_rng(0)).standard_normal(groups)
    noise -= noise.mean()
    return value + noise * error / sqrt((groups - 1) / groups * (noise**2).sum())


def test_a_power_law_is_inverted_exactly_between_its_budgets():
    """FD = 100 / NFE is linear in the logarithms, so N(f) = 100 / f; 1e-4: a step of the grid is straight there."""
    for fd in (15.0, 7.0, 2.1):
        assert reach(power(5, 10, 20, 50), Point(1, fd, None)).nfe == pytest.approx(100 / fd, rel=1e-4)


def test_a_curve_that_is_as_good_at_its_fewest_or_never_is_open_at_that_end():
    curve = power(5, 10)
    best, worst = (reach(curve, Point(8, fd, None)) for fd in (30.0, 5.0))
    assert (best.nfe, worst.nfe) == (0.0, inf)
    assert (best.by(8).text, worst.by(8).text) == ("≤ 0.62 [n/a]", "≥ 1.2 [n/a]")
    assert (best.over(1000).text, worst.over(1000).text) == ("≥ 200 [n/a]", "≤ 100 [n/a]")


def test_a_curve_reaches_its_own_last_point_there_and_its_first_at_its_fewest():
    parts = spread(2.0, 0.3)
    curve = [Point(5, 20.0, spread(20.0, 1.0)), Point(50, 2.0, parts)]
    last = reach(curve, curve[-1])
    assert last.nfe == pytest.approx(50) and last.high == pytest.approx(50) and last.low <= 50
    assert reach(curve, curve[0]).nfe == 0.0


def test_only_the_first_fall_counts():
    curve = [Point(5, 20.0, None), Point(10, 4.0, None), Point(20, 9.0, None)]
    assert reach(curve, Point(1, 4.0, None)).nfe == pytest.approx(10)
    assert 5 < reach(curve, Point(1, 9.0, None)).nfe < 10


def test_distances_below_0_are_joined_by_straight_lines():
    curve = [Point(10, 1.0, None), Point(100, -1.0, None)]
    assert reach(curve, Point(1, 0.0, None)).nfe == pytest.approx(sqrt(1000), rel=1e-6)


def test_the_interval_of_a_single_error_is_where_the_curve_leaves_it():
    """The target alone varies, with error s: the ends are N(f + t s) and N(f - t s), t = 2.093 at 19 degrees."""
    curve = [Point(n, 100 / n, np.full(20, 100 / n)) for n in (5, 10, 20, 50)]
    found = reach(curve, Point(1, 8.0, spread(8.0, 0.5)))
    assert found.low == pytest.approx(100 / (8 + 2.0930 * 0.5), rel=1e-3)
    assert found.high == pytest.approx(100 / (8 - 2.0930 * 0.5), rel=1e-3)


def test_common_noise_cancels():
    shared = spread(0.0, 1.0)
    curve = [Point(n, 100 / n, 100 / n + shared) for n in (5, 10, 20)]
    found = reach(curve, Point(10, 10.0, 10.0 + shared))
    assert found.low == pytest.approx(10, rel=0.01) and found.high == pytest.approx(10, rel=0.01)


def test_the_interval_covers_what_it_says():
    """400 curves of independent noise: 95 % +- 3.3 % (three binomial errors), and no less than 91 %."""
    draw, hits = np.random.default_rng(1), 0
    for _ in range(400):
        errors = {n: 0.05 * 100 / n for n in (5, 10, 20, 50)}
        curve = [Point(n, v := 100 / n + e * draw.standard_normal(), spread(v, e, 20, draw)) for n, e in errors.items()]
        target = 8.0 + 0.4 * draw.standard_normal()
        found = reach(curve, Point(1, target, spread(target, 0.4, 20, draw)))
        hits += found.low <= 12.5 <= found.high
    assert 0.91 <= hits / 400 <= 0.99


@pytest.mark.parametrize("other", [None, np.arange(7.0)])
def test_without_common_groups_there_is_no_interval(other):
    found = reach(power(5, 10, parts=spread(1.0, 0.1)), Point(1, 12.0, other))
    assert isnan(found.low) and isnan(found.high) and found.nfe > 0


def test_no_points_are_refused():
    with pytest.raises(ValueError, match="needs a point"):
        reach([], Point(1, 1.0, None))


def test_a_factor_widens_an_interval_and_never_turns_it():
    ratio = Ratio(2.0, 1.5, 3.0, 0.5, 10.0)
    wide = ratio.times(3.0, 0.2)
    assert wide.low < 4.5 and wide.value == 6.0 and wide.high > 9.0 and wide.greatest == 30.0
    assert ratio.times(3.0) == Ratio(6.0, pytest.approx(4.5), pytest.approx(9.0), 1.5, 30.0)


@pytest.mark.parametrize(
    ("number", "text"), [(0.123, "0.12"), (1.0, "1.0"), (9.96, "10"), (22.4, "22"), (99.6, "100"), (1234, "1,200")]
)
def test_ratios_have_two_digits(number, text):
    assert two_digits(number) == text
