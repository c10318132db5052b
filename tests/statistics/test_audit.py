"""The verdict on a row: one tolerance, decided by intervals, and never kinder where there is less evidence."""

import numpy as np
import pytest

from dpmot.statistics.audit import NEEDED, VERDICTS, judge
from dpmot.statistics.copies import FEWEST
from dpmot.statistics.jackknife import Estimate, share_interval

NONE = {"train": Estimate(0.0, 0.0, 0.03), "test": Estimate(0.0, 0.0, 0.03)}
COMMON = {"num_samples": 1000, "tolerance": 0.01}


def verdict(copies=NONE, **changes):
    return judge(copies, **{**COMMON, **changes})


def test_a_row_without_copies_or_sources_is_ranked():
    assert verdict().word == "ranked" and verdict().ranked and verdict().reasons == ()


@pytest.mark.parametrize("name", ["train", "test"])
def test_a_lower_end_above_the_tolerance_is_copies_of_either_set(name):
    at = verdict(NONE | {name: Estimate(0.05, 0.01, 0.1)})
    above = verdict(NONE | {name: Estimate(0.05, 0.011, 0.1)})
    assert at.ranked and above.word == "copies" and not above.ranked
    told = "training" if name == "train" else "test"
    assert above.reasons == (f"share of copies of {told} images 0.05 [0.011, 0.1] above 0.01",)


def test_the_tolerance_is_the_one_that_is_given():
    some = NONE | {"train": Estimate(0.1, 0.05, 0.2)}
    assert verdict(some).word == "copies" and verdict(some, tolerance=0.05).ranked


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"copies": {}}, "share of copies of training and test images not measured"),
        ({"copies": {"train": NONE["train"]}}, "share of copies of test images not measured"),
        ({"copies": NONE | {"train": Estimate(0.0, 0.0, 0.51)}}, f"may be more than 0.5: {NEEDED}"),
        ({"num_samples": FEWEST - 1}, "39 samples cannot show a tenth of copies: 40 are needed"),
        (
            {"recovery": Estimate(0.005, 0.001, 0.02), "num_sources": 500},
            "source recovery 0.005 [0.001, 0.02] may be more than 0.01 above 0.002, that of chance",
        ),
    ],
)
def test_what_the_data_cannot_say_is_not_audited(changes, reason):
    found = verdict(**changes)
    assert found.word == "not audited" and not found.ranked
    assert found.reasons[0].endswith(reason)


def test_recovery_is_cleared_by_its_upper_end_and_marked_by_its_lower_one():
    def of(low, high):
        return verdict(recovery=Estimate((low + high) / 2, low, high), num_sources=100).word

    assert of(0.0, 0.02) == "ranked"  # 1/100 of chance and the tolerance
    assert of(0.0, 0.0201) == of(0.02, 0.5) == "not audited"
    assert of(0.0201, 0.5) == "copies"


def test_more_samples_of_one_share_never_take_a_clear_row_back():
    """A sampler that hands back .4 % of 1,000 stored images: below the tolerance, so data must clear it."""
    words = []
    for n in (250, 500, 1000, 2000, 4000, 100_000):
        recovery = share_interval(0.004 * n, n)
        words.append(verdict(recovery=recovery, num_sources=1000, num_samples=n).word)
    assert words == ["not audited"] * 2 + ["ranked"] * 4


def test_more_samples_of_a_share_above_the_tolerance_mark_it():
    words = []
    for n in (100, 1000, 10_000):
        recovery = share_interval(0.02 * n, n)
        words.append(verdict(recovery=recovery, num_sources=10_000, num_samples=n).word)
    assert words == ["not audited", "copies", "copies"]


def test_a_tenth_of_exact_copies_among_the_fewest_samples_would_be_marked():
    """The lower end of share_interval at the level of one of the twelve looks of the estimator."""
    low = share_interval(FEWEST / 10, FEWEST, level=1 - 0.05 / 12).low
    assert low > COMMON["tolerance"] > share_interval(3, 30, level=1 - 0.05 / 12).low


def test_the_gravest_word_comes_first_and_every_reason_is_told():
    found = verdict(
        {"train": Estimate(0.3, 0.2, 0.4)},
        unsolved="chi2 too large",
        recovery=Estimate(0.0, 0.0, 0.5),
        num_sources=100,
        num_samples=20,
    )
    assert found.word == "copies"
    kinds = [next(k for k in ("above 0.01", "converged", "beyond") if k in r) for r in found.reasons[:2]]
    assert kinds == ["above 0.01", "converged"] and len(found.reasons) == 5
    assert verdict(unsolved="chi2 too large").word == "not converged"


def test_recovery_without_stored_images_is_refused():
    with pytest.raises(ValueError, match="at least one stored image, got 0"):
        verdict(recovery=Estimate(0.0, 0.0, 0.1))


def test_words_are_ordered_from_ranked_to_what_is_unknown():
    assert VERDICTS == ("ranked", "copies", "not converged", "not audited")
    assert np.unique(VERDICTS).size == 4
