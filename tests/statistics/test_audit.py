"""The copying audit: one-sided, whole intervals, and its verdict on constructed samples."""

import numpy as np
import pytest

from dpmot.features import Features
from dpmot.metrics import ct, novelty, recovery
from dpmot.statistics.audit import HeldOut, audit
from dpmot.statistics.jackknife import Estimate, groups, interval, mean_interval

FLOOR = HeldOut(num_train=500, authenticity=Estimate(0.5, 0.46, 0.54))
INSIDE = {
    "recovery": Estimate(0.01, 0.0, 0.02),
    "authenticity": Estimate(0.45, 0.41, 0.49),
    "ct": Estimate(-2.2, -3, -1.4),
}


def test_a_row_whose_intervals_meet_the_held_out_values_is_inside():
    assert audit(held_out=FLOOR, **INSIDE) == []


@pytest.mark.parametrize(
    ("metric", "estimate", "reason"),
    [
        ("recovery", Estimate(0.41, 0.38, 0.44), "recovery 0.41 [0.38, 0.44] above 0.002, that of independent samples"),
        (
            "authenticity",
            Estimate(0.3, 0.26, 0.34),
            "authenticity 0.3 [0.26, 0.34] below 0.5 [0.46, 0.54], that of held-out images",
        ),
        ("ct", Estimate(-5.0, -6.0, -4.0), "C_T -5 [-6, -4] below -1.96, the bound of held-out images"),
    ],
)
def test_each_statistic_alone_marks_a_row_with_its_reason(metric, estimate, reason):
    assert audit(held_out=FLOOR, **(INSIDE | {metric: estimate})) == [reason]


def test_being_far_from_the_training_data_is_no_copying():
    row = {"recovery": Estimate(0, 0, 0.0), "authenticity": Estimate(0.99, 0.98, 1), "ct": Estimate(30, 28, 32)}
    assert audit(held_out=FLOOR, **row) == []


def test_what_was_not_measured_is_no_reason():
    assert audit(held_out=FLOOR, recovery=None, authenticity=None, ct=None) == []


def test_the_bounds_themselves_lie_inside():
    row = {
        "recovery": Estimate(0.1, 0.002, 0.2),
        "authenticity": Estimate(0.4, 0.3, 0.46),
        "ct": Estimate(-3, -4, -1.96),
    }
    assert audit(held_out=FLOOR, **row) == []


def test_an_audit_without_training_images_is_refused():
    with pytest.raises(ValueError, match="at least one training image, got 0"):
        HeldOut(num_train=0, authenticity=FLOOR.authenticity)


@pytest.fixture(scope="module")
def references():
    random = np.random.default_rng(0)
    return {name: Features(values=random.standard_normal((500, 8)), extractor="pixels") for name in ("train", "test")}


def verdict(values, source, references):
    """The reasons for samples measured as the harness measures them."""
    rows = Features(values=values, extractor="pixels", source=source)
    means = novelty.pointwise(rows, references) | recovery.pointwise(rows, references)
    c = ct.evaluate(rows, references)["ct_pixels", "train"]
    without = ct.leave_out(rows, references, groups(len(rows)))["ct_pixels", "train"]
    floor = novelty.pointwise(references["test"], {"train": references["train"]})["authenticity_pixels", "train"]
    return audit(
        held_out=HeldOut(num_train=len(references["train"]), authenticity=mean_interval(floor)),
        recovery=mean_interval(means["recovery_pixels", "train"]) if source is not None else None,
        authenticity=mean_interval(means["authenticity_pixels", "train"]),
        ct=interval(c, without, debias=False),
    )


def test_copies_fail_by_all_three_statistics(references):
    random = np.random.default_rng(1)
    source = random.integers(500, size=500)
    values = references["train"].values[source] + 0.1 * random.standard_normal((500, 8))
    assert [reason.split()[0] for reason in verdict(values, source, references)] == ["recovery", "authenticity", "C_T"]


def test_fresh_draws_pass_with_and_without_a_source(references):
    random = np.random.default_rng(2)
    values = random.standard_normal((500, 8))
    assert verdict(values, random.integers(500, size=500), references) == []
    assert verdict(values, None, references) == []


def test_noise_far_from_everything_passes(references):
    assert verdict(5 * np.random.default_rng(3).standard_normal((500, 8)), None, references) == []
