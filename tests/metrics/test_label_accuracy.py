"""Label accuracy: the share of samples that the classifier puts into the class they were drawn for."""

from dataclasses import replace

import numpy as np
import pytest

from dpmot.features import Features, joined
from dpmot.metrics import NotMeasurable, label_accuracy

P = np.array([[0.9, 0.1, 0.0], [0.2, 0.3, 0.5], [0.4, 0.6, 0.0], [0.1, 0.1, 0.8]])
DRAWN = Features(values=np.zeros((4, 2)), extractor="classifier", probabilities=P, drawn_for=np.array([0, 2, 0, 1]))
KEY = "label_accuracy_classifier", "none"


def test_it_is_the_share_of_samples_of_their_own_class():
    assert label_accuracy.pointwise(DRAWN, {})[KEY].tolist() == [True, True, False, False]


def test_samples_without_a_class_have_none_and_true_labels_are_no_class_they_were_drawn_for():
    assert label_accuracy.pointwise(replace(DRAWN, drawn_for=None, labels=np.array([0, 2, 1, 2])), {}) == {}


def test_joined_and_chosen_samples_keep_their_classes():
    assert label_accuracy.pointwise(joined([DRAWN, DRAWN]), {})[KEY].mean() == 0.5
    assert label_accuracy.pointwise(DRAWN.subset(np.array([3, 1])), {})[KEY].tolist() == [False, True]


def test_a_class_that_the_classifier_does_not_know_is_said():
    with pytest.raises(NotMeasurable, match="3 is none of its 3"):
        label_accuracy.pointwise(replace(DRAWN, drawn_for=np.array([0, 1, 2, 3])), {})
    with pytest.raises(ValueError, match="needs class probabilities"):
        label_accuracy.pointwise(replace(DRAWN, probabilities=None), {})
