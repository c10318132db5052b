"""The variance of D along the way as a metric: of each sample its own, absent where none was recorded."""

from dataclasses import replace

import numpy as np
import pytest

from dpmot.features import Features, joined
from dpmot.metrics import NotMeasurable, trajectory_variance
from dpmot.results import fact

MOVED = np.array([0.5, 0.25, 0.0], dtype=np.float32)
DRAWN = Features(values=np.zeros((3, 2)), extractor="pixels", trajectory_variance=MOVED)
KEY = "trajectory_variance_pixels", "none"


def test_it_is_that_of_each_sample_also_of_joined_and_chosen_ones():
    assert trajectory_variance.pointwise(DRAWN, {})[KEY].tolist() == [0.5, 0.25, 0.0]
    assert trajectory_variance.pointwise(joined([DRAWN, DRAWN]), {})[KEY].mean() == 0.25
    assert trajectory_variance.pointwise(DRAWN.subset(np.array([2, 0])), {})[KEY].tolist() == [0.0, 0.5]


def test_samples_without_one_have_no_row_and_those_of_too_few_evaluations_say_why():
    assert trajectory_variance.pointwise(replace(DRAWN, trajectory_variance=None), {}) == {}
    with pytest.raises(NotMeasurable, match="needs two evaluations in the second half"):
        trajectory_variance.pointwise(replace(DRAWN, trajectory_variance=MOVED * np.nan), {})


@pytest.mark.parametrize("wrong", [MOVED[:2], -MOVED, MOVED.astype(int)])
def test_what_is_no_variance_is_refused(wrong):
    with pytest.raises(ValueError, match="trajectory_variance must be 3 floats, none below 0"):
        replace(DRAWN, trajectory_variance=wrong)


def test_it_makes_no_method_the_best_because_it_falls_with_the_levels():
    assert not fact("trajectory_variance_pixels").quality and not fact("trajectory_variance_pixels").floor
