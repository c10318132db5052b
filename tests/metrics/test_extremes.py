"""Degenerate samples get a defined value or one clear line, in every metric."""

import numpy as np
import pytest
import torch

from dpmot import plugins
from dpmot.features import Features, classifier, pixels
from dpmot.metrics import NotMeasurable
from dpmot.statistics.jackknife import groups

N, D = 60, 8
DRAW = np.random.default_rng(0)


def features(values, probabilities=None):
    values = np.asarray(values, dtype=np.float32)
    if probabilities is None:
        probabilities = np.full((len(values), 4), 0.25)
    return Features(
        values=values,
        extractor="pixels",
        probabilities=probabilities,
        source=np.arange(len(values)) % 100,
        labels=np.arange(len(values)) % 4,
        drawn_for=np.arange(len(values)) % 4,
        off_mode=np.zeros(len(values), dtype=bool),
        trajectory_variance=np.arange(len(values)) / 100,
    )


REFERENCES = {name: features(DRAW.standard_normal((120, D))) for name in ("train", "test")}
ONE_CLASS = np.eye(4)[np.zeros(N, dtype=int)]
CASES = {
    "collapsed to one real image": features(np.repeat(REFERENCES["train"].values[:1], N, axis=0)),
    "collapsed to nothing real": features(np.full((N, D), 50.0)),
    "zero": features(np.zeros((N, D))),
    "two images": features(REFERENCES["train"].values[np.arange(N) % 2]),
    "one class for all": features(DRAW.standard_normal((N, D)), ONE_CLASS),
    "huge": features(1e15 * DRAW.standard_normal((N, D))),
    "tiny": features(1e-15 * DRAW.standard_normal((N, D))),
    "copies": features(REFERENCES["train"].values[:N]),
}
METRICS = [name for name in plugins.names("metrics") if plugins.constant("metrics", name, "SPACE") != "gallery"]


def values(metric, generated, references=REFERENCES):
    function = metric.pointwise if hasattr(metric, "pointwise") else metric.evaluate
    return {key: np.mean(value) for key, value in function(generated, references).items()}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", METRICS)
def test_every_metric_has_a_finite_value_and_finite_replicates(name, case):
    metric = plugins.find("metrics", name)
    found = values(metric, CASES[case])
    assert found and all(np.isfinite(value) for value in found.values())
    if hasattr(metric, "leave_out"):
        without = metric.leave_out(CASES[case], REFERENCES, groups(N, 5))
        assert all(np.isfinite(one).all() for one in without.values())


@pytest.mark.parametrize("name", METRICS)
def test_a_constant_reference_has_a_finite_value_too(name):
    constant = {key: features(np.ones((120, D))) for key in REFERENCES}
    found = values(plugins.find("metrics", name), CASES["one class for all"], constant)
    assert all(np.isfinite(value) for value in found.values())


@pytest.mark.parametrize("name", METRICS)
def test_the_order_of_samples_and_of_references_changes_nothing(name):
    metric = plugins.find("metrics", name)
    generated = features(DRAW.standard_normal((N, D)), DRAW.dirichlet(np.ones(4), N))
    found = values(metric, generated)
    shuffled = values(metric, generated.subset(DRAW.permutation(N)))
    for key, value in found.items():
        assert shuffled[key] == pytest.approx(value, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_fewer_samples_than_dimensions_have_a_value(name):
    few = features(DRAW.standard_normal((6, D)))
    if name == "ct":
        with pytest.raises(NotMeasurable, match="C_T needs a cell with 20 generated"):
            values(plugins.find("metrics", name), few)
        return
    assert all(np.isfinite(value) for value in values(plugins.find("metrics", name), few).values())


def test_features_that_are_not_finite_are_refused_with_how_many():
    broken = np.ones((N, D))
    broken[3, 2], broken[5] = np.nan, np.inf
    with pytest.raises(ValueError, match="Feature values of 2 of 60 samples are NaN or infinite"):
        features(broken)


@pytest.mark.parametrize("off", [np.ones(N), np.ones(3, dtype=bool), ["yes"] * N])
def test_marks_that_are_not_one_boolean_a_sample_are_refused(off):
    with pytest.raises(ValueError, match="off_mode must be 60 booleans, got"):
        Features(values=np.ones((N, D)), extractor="x", off_mode=off)


@pytest.mark.parametrize("scale", [(0.0, 1.0), (-1.0, 1.0)])
def test_float_images_are_refused_by_extractors(scale, tmp_path):
    images = torch.rand(4, 1, 8, 8) * (scale[1] - scale[0]) + scale[0]
    with pytest.raises(ValueError, match=r"must be uint8"):
        pixels.extract(images)
    model = classifier.train(torch.zeros(8, 1, 8, 8, dtype=torch.uint8), torch.arange(8) % 2, seed=0, epochs=1)
    classifier.save(tmp_path / "c.safetensors", model, {})
    with pytest.raises(ValueError, match=r"must be uint8 .* got torch.float32"):
        classifier.extract(images, weights=tmp_path / "c.safetensors")
