"""Every metric as a function that anyone calls: the right number, a reason, or one line; never a silent NaN."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from dpmot import plugins
from dpmot.features import Features
from dpmot.metrics import NotMeasurable
from dpmot.statistics.jackknife import groups

N, D, K = 60, 5, 4
METRICS = [name for name in plugins.names("metrics") if plugins.constant("metrics", name, "SPACE") != "gallery"]
RANDOM = np.random.default_rng(0)


def drawn(n, d=D, **columns):
    whole = {
        "values": RANDOM.standard_normal((n, d)),
        "extractor": "pixels",
        "probabilities": RANDOM.dirichlet(np.ones(K), n),
        "source": RANDOM.integers(20, size=n),
        "labels": RANDOM.integers(K, size=n),
        "off_mode": RANDOM.random(n) < 0.2,
    }
    return Features(**(whole | columns))


SAMPLES, TRAIN, TEST = drawn(N), drawn(120), drawn(110)
BOTH = {"train": TRAIN, "test": TEST}


def changed(change):
    """Samples and references whose values are changed alike."""
    one = replace(SAMPLES, values=change(SAMPLES.values))
    return one, {name: replace(some, values=change(some.values)) for name, some in BOTH.items()}


def constant(values):
    return np.hstack([values[:, :-1], np.ones((len(values), 1))])


def few(n):
    return {name: drawn(n, source=None) for name in BOTH}


# What is asked, and the metrics that must answer with a number; the others may, or say in one line why not.
ASKED = {
    "one sample": (drawn(1), BOTH),
    "two samples": (drawn(2), BOTH),
    "four samples, fewer than dimensions": (drawn(4), BOTH),
    "references of one image": (drawn(N, source=np.zeros(N, int)), few(1)),
    "references of two images": (drawn(N, source=np.zeros(N, int)), few(2)),
    "references of five images": (drawn(N, source=np.zeros(N, int)), few(5)),
    "no reference": (SAMPLES, {}),
    "train alone": (SAMPLES, {"train": TRAIN}),
    "test alone": (SAMPLES, {"test": TEST}),
    "all the same": changed(np.ones_like),
    "a constant feature": changed(constant),
    "one dimension": changed(lambda values: values[:, :1]),
    "repeated images": changed(lambda values: values[np.arange(len(values)) % 7]),
    "half precision": changed(lambda values: values.astype(np.float16)),
    "half precision near its end": changed(lambda values: np.clip(2e4 * values, -6e4, 6e4).astype(np.float16)),
    "large": changed(lambda values: (1e38 * np.tanh(values)).astype(np.float32)),
    "small": changed(lambda values: 1e-99 * values),
    "far from zero": changed(lambda values: 1e6 + values),
    "every second number": changed(lambda values: np.repeat(values, 2, axis=1)[:, ::2]),
    "other bytes": changed(lambda values: values.astype(">f8")),
    "no probabilities": (replace(SAMPLES, probabilities=None), BOTH),
    "one class": (replace(SAMPLES, probabilities=np.ones((N, 1)), labels=np.zeros(N, int)), BOTH),
    "certain": (replace(SAMPLES, probabilities=np.eye(K)[SAMPLES.labels]), BOTH),
    "probabilities of half precision": (replace(SAMPLES, probabilities=SAMPLES.probabilities.astype("f2")), BOTH),
    "no labels": (replace(SAMPLES, labels=None), {key: replace(some, labels=None) for key, some in BOTH.items()}),
    "no source": (replace(SAMPLES, source=None), BOTH),
    "one source": (replace(SAMPLES, source=np.zeros(N, int), num_sources=1), BOTH),
    "the training set as samples": (TRAIN, BOTH),
}
REFUSED = {  # whatever the metric is, where it looks at that at all
    "another extractor": (replace(SAMPLES, extractor="clip"), BOTH, 'of "clip" but the reference'),
    "other weights": (replace(SAMPLES, extractor="inception-1a2b3c4d"), BOTH, 'of "inception-1a2b3c4d" but the'),
    "another dimension": (drawn(N, 6), BOTH, "in 6 dimensions .* is in 5"),
    "a label outside": (replace(SAMPLES, labels=np.full(N, K)), {}, "4 is none of the 4 that pixels knows"),
    "a source outside": (replace(SAMPLES, source=np.full(N, 120)), BOTH, "ource 120 "),
    "a source outside the atoms": (replace(SAMPLES, num_sources=10), BOTH, "source 19 of 10, the first of 120"),
    "more atoms than images": (replace(SAMPLES, num_sources=500), BOTH, "of 500, the first of 120"),
}


def asked(metric, generated, references):
    """Its values by key; None where it says in one line why there are none."""
    function = metric.pointwise if hasattr(metric, "pointwise") else metric.evaluate
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return function(generated, references)
        except ValueError as error:
            assert 10 < len(str(error)) < 200 and "\n" not in str(error)
            assert not isinstance(error, np.linalg.LinAlgError)
            return error


@pytest.mark.parametrize("case", ASKED)
@pytest.mark.parametrize("name", METRICS)
def test_a_metric_gives_finite_numbers_or_says_why_not(name, case):
    metric = plugins.find("metrics", name)
    generated, references = ASKED[case]
    found = asked(metric, generated, references)
    if isinstance(found, ValueError):
        ok = ("sample", "reference", "probabilities", "source")
        assert ("need" in str(found) and any(word in str(found) for word in ok)) or "C_T" in str(found)
        few_images = "references of" in case or case in ("one sample", "two samples")
        assert isinstance(found, NotMeasurable) or not few_images
    else:
        assert all(np.isfinite(values).all() and np.size(values) for values in found.values())
    with np.errstate(all="raise"):  # a caller's; new objects, for results are remembered
        again = asked(metric, replace(generated), {key: replace(some) for key, some in references.items()})
    assert str(again) == str(found)
    if hasattr(metric, "remark"):
        assert "\n" not in metric.remark(generated, references)


@pytest.mark.parametrize("case", ["half precision", "every second number", "other bytes"])
@pytest.mark.parametrize("name", METRICS)
def test_the_type_and_order_of_the_bytes_changes_no_number(name, case):
    metric = plugins.find("metrics", name)
    generated, references = ASKED[case]
    plain = [replace(one, values=np.array(one.values, dtype=np.float64)) for one in (generated, *references.values())]
    expected = asked(metric, plain[0], dict(zip(references, plain[1:], strict=True)))
    for key, values in asked(metric, generated, references).items():
        np.testing.assert_allclose(values, expected[key], rtol=1e-9, atol=1e-12)  # means are taken in other types


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_of_another_space_or_outside_is_refused_by_every_metric_that_looks_at_it(case):
    generated, references, message = REFUSED[case]
    said = [asked(plugins.find("metrics", name), generated, references) for name in METRICS]
    errors = [one for one in said if isinstance(one, ValueError) and "needs the reference" not in str(one)]
    assert errors
    for error in errors:
        with pytest.raises(ValueError, match=message):
            raise error


@pytest.mark.parametrize("name", [name for name in METRICS if hasattr(plugins.find("metrics", name), "leave_out")])
@pytest.mark.parametrize(
    "given",
    [
        groups(N - 1, 5),
        groups(N, 5) - 1,
        groups(N, 5).astype(float),
        np.zeros(N, dtype=int),
        groups(N, 5)[:, None],
        [0, 1] * (N // 2),
    ],
)
def test_groups_that_are_none_of_the_samples_are_refused(name, given):
    with pytest.raises(ValueError, match=r"Groups must be integers \(60,\) from 0, of which none holds all samples"):
        plugins.find("metrics", name).leave_out(SAMPLES, BOTH, given)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"values": np.zeros((0, D))}, r"got float64 \(0, 5\); n and d are at least 1"),
        ({"values": 1e200 * np.ones((N, D))}, r"up to 1e\+200 in size, where 1e-100 to 1e\+40 is allowed"),
        ({"values": 1e-200 * np.ones((N, D))}, "up to 1e-200 in size"),
        ({"values": np.full((N, D), 1j)}, "must be floats"),
        ({"values": [[1.0], [1.0, 2.0]]}, "must be floats of shape"),
        ({"values": np.full((N, D), "a")}, "must be floats"),
        ({"num_sources": 0}, "num_sources must be a positive number, got 0"),
        ({"labels": np.zeros(N)}, "labels must be 60 non-negative integers"),
        ({"labels": np.zeros(N - 1, int)}, "labels must be 60 non-negative integers"),
        ({"probabilities": np.full((N, K), 0.3)}, "rows summing to one"),
        ({"probabilities": np.full((N, K), np.nan)}, "probabilities of 60 of 60 samples are NaN"),
    ],
)
def test_features_that_no_metric_could_bear_are_none(columns, message):
    with pytest.raises(ValueError, match=message) as caught:
        drawn(N, **columns)
    assert "\n" not in str(caught.value)


def test_zero_and_minus_zero_are_one_image():
    values = np.array([[0.0, 1.0], [-0.0, 1.0], [0.0, 2.0]])
    samples = Features(values=values, extractor="pixels")
    found = plugins.find("metrics", "distinct").evaluate(samples, {"train": samples})
    assert found["distinct_samples_pixels", "none"] == pytest.approx(2 / 3)
