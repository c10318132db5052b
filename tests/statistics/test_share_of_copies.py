"""The share of copies on ratios whose law is known: new samples, copies of either set, and samples of few images."""

import numpy as np
import pytest

from dpmot.statistics.copies import Ratios, _difference, _excess, share
from dpmot.statistics.jackknife import share_interval

SIZES = {"A": 5000, "B": 1000, "C": 1000}
TRAIN = {"target": "A", "decoys": "BC"}
TEST = {"target": "C", "decoys": "B"}


def real(n, seed, smooth=1.0):
    """New samples: ratios of a law on [0, 1], the nearest image any one; smoother ones have ratios nearer to 1."""
    draw = np.random.default_rng(seed)
    nearest = draw.integers(7000, size=n)
    return Ratios(draw.beta(12 * smooth, 1, size=n), nearest, part_of(nearest))


def part_of(nearest):
    return np.repeat(list(SIZES), list(SIZES.values()))[nearest]


def copies(n, part, seed):
    """Copies of images of a set, a tenth of which are as near as new samples are."""
    draw = np.random.default_rng(seed)
    nearest = draw.choice(np.flatnonzero(part_of(np.arange(7000)) == part), n)
    near = draw.random(n) < 0.9
    return Ratios(np.where(near, 0.3 * draw.random(n), draw.beta(12, 1, size=n)), nearest, part_of(nearest))


def together(*sets):
    return Ratios(*(np.concatenate([getattr(one, name) for one in sets]) for name in ("ratio", "nearest", "part")))


HELD_OUT = [real(4000, 0), real(4000, 1)]


def test_new_samples_are_copies_by_chance_only_however_smooth():
    for smooth in (0.5, 1.0, 3.0):
        lows = [
            share([real(2000, 10 * k), real(2000, 10 * k + 1)], HELD_OUT, SIZES, **role).low
            for k in range(30)
            for role in (TRAIN, TEST)
        ]
        # nominal .025 of 60 looks: 1.5; seven or more have probability .001
        assert np.count_nonzero(lows) < 7, smooth


@pytest.mark.parametrize("part", [0.05, 0.3, 1.0])
def test_the_interval_holds_the_share_of_copies_of_either_set(part):
    for role, other, set_ in ((TRAIN, TEST, "A"), (TEST, TRAIN, "C")):
        inside = []
        for k in range(20):
            mixed = together(real(2000 - round(2000 * part), 3 * k), copies(round(2000 * part), set_, 3 * k + 1))
            found = share([mixed, mixed], HELD_OUT, SIZES, **role)
            inside.append(found.low <= part and found.low > 0.01)
            assert found.low <= 0.95 * part + 0.02 and found.high >= 0.85 * part  # nine tenths lie near
            assert share([mixed, mixed], HELD_OUT, SIZES, **other).low < 0.01
        assert np.mean(inside) >= 0.95


def test_more_samples_give_a_higher_lower_end():
    def margin(n):
        mixed = together(real(9 * n // 10, 2), copies(n // 10, "A", 3))
        found = share([mixed, mixed], HELD_OUT, SIZES, **TRAIN)
        return found.value - found.low

    assert margin(4000) < 0.6 * margin(1000)  # one over the root of four is a half


def test_one_image_drawn_over_and_over_is_one_observation():
    near = Ratios(np.full(2000, 0.7), np.zeros(2000, dtype=int), np.full(2000, "A"))
    assert share([near, near], HELD_OUT, SIZES, **TRAIN).low < 0.01


def test_an_interval_of_a_difference_covers_where_every_sample_is_near_to_one_of_both_sets():
    draw, covered = np.random.default_rng(0), 0
    for count in draw.binomial(1500, 1 / 3, size=1000):  # A a third of the gallery, B and C the rest: share 0
        found = _difference(share_interval(count, 1500), share_interval(1500 - count, 1500), 0.5)
        covered += found.low <= 0 <= found.high
    assert covered > 930  # nominal 950 with a deviation of 7; as independent shares 871


def test_one_image_as_a_tenth_of_a_row_is_not_cleared():
    again = Ratios(np.zeros(200), np.zeros(200, dtype=int), np.full(200, "A"))
    mixed = together(again, real(1800, 8))
    assert share([mixed, mixed], HELD_OUT, SIZES, **TRAIN).high == 1
    honest = real(2000, 8)
    assert share([honest, honest], HELD_OUT, SIZES, **TRAIN).high < 0.3


def test_near_copies_of_five_images_are_copies_and_those_of_two_sets_do_not_hide_each_other():
    few = copies(5, "A", 4)
    again = Ratios(np.full(2000, 0.05), np.resize(few.nearest, 2000), np.full(2000, "A"))
    assert share([again, again], HELD_OUT, SIZES, **TRAIN).low > 0.1
    both = together(copies(1000, "A", 5), copies(1000, "C", 6))
    for role in (TRAIN, {"target": "C", "decoys": "BA"}):
        assert share([both, both], HELD_OUT, SIZES, **role).low > 0.1


def test_unknown_sets_and_no_samples_are_refused():
    one = [real(10, 0)]
    with pytest.raises(ValueError, match="a target and other sets as decoys, got A and \\['A'\\]"):
        share(one, one, SIZES, target="A", decoys="A")
    with pytest.raises(ValueError, match="got D"):
        share(one, one, SIZES, target="D", decoys="B")
    with pytest.raises(ValueError, match="samples and held-out images, got none"):
        share([real(0, 0)], one, SIZES, **TRAIN)


def test_an_excess_over_few_held_out_images_covers():
    chance, portion, copied, draw = 0.2, 1 / 3, 0.03, np.random.default_rng(0)
    near = portion * chance + (1 - portion * chance) * copied
    inside = []
    for samples, real_ones in zip(draw.binomial(1500, near, 1000), draw.binomial(300, chance, 1000), strict=True):
        found = _excess(share_interval(samples, 1500), share_interval(real_ones, 300), portion)
        inside.append(found.low <= copied <= found.high)
    # .85 if the share among the 300 counted as certain; of .95 one of 1,000 such means is below .929
    assert np.mean(inside) > 0.929


def test_copies_of_one_set_do_not_prove_that_there_are_none_of_the_other():
    row = [copies(2000, "C", 0), copies(2000, "C", 1)]
    found = share(row, HELD_OUT, SIZES, **TRAIN)
    assert found.value == found.low == 0 and found.high > 0.001  # about 3.7 / n: the decoys, C among them, are no help


def test_noise_that_is_as_near_to_every_set_is_no_copy():
    far = real(2000, 0)  # of noise all ratios are small, and its nearest image is of any set
    row = [Ratios(0.2 * far.ratio, far.nearest, far.part)] * 2
    for role in (TRAIN, TEST):
        assert share(row, HELD_OUT, SIZES, **role).low < 0.01
