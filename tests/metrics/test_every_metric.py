"""The contract of a metric file, checked on every file of the folder."""

import inspect

import numpy as np
import pytest

from dpmot import plugins
from dpmot.features import Features
from dpmot.metrics import Fact
from dpmot.statistics.jackknife import groups, leave_out_of_means

METRICS = [name for name in plugins.names("metrics") if plugins.constant("metrics", name, "SPACE") != "gallery"]
SPACES = {"features", "probabilities", "pixels", "any"}


def sample(n, seed):
    random = np.random.default_rng(seed)
    return Features(
        values=random.standard_normal((n, 5)),
        extractor="pixels",
        probabilities=random.dirichlet(np.ones(4), n),
        source=random.integers(120, size=n),
        labels=random.integers(4, size=n),
        drawn_for=random.integers(4, size=n),
        off_mode=random.random(n) < 0.2,
        trajectory_variance=random.random(n),
    )


REFERENCES = {"train": sample(120, 0), "test": sample(110, 1)}


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_states_its_space_its_facts_and_one_function(name):
    metric = plugins.find("metrics", name)
    assert metric.SPACE in SPACES and metric.FACTS
    for fact in metric.FACTS.values():
        assert isinstance(fact, Fact) and fact.label and fact.direction in ("lower", "higher", "none")
        assert fact.least is None or fact.least > 0
        assert fact.least is not None or not fact.exact
    assert hasattr(metric, "pointwise") != hasattr(metric, "evaluate")
    assert hasattr(metric, "evaluate") == isinstance(getattr(metric, "DEBIAS", None), bool)
    assert inspect.getdoc(metric)


@pytest.mark.parametrize("name", METRICS)
def test_values_are_keyed_by_known_stems_and_references_and_are_finite(name):
    metric = plugins.find("metrics", name)
    generated = sample(100, 2)
    pointwise = hasattr(metric, "pointwise")
    found = (metric.pointwise if pointwise else metric.evaluate)(generated, REFERENCES)
    assert {key.rpartition("_")[0] for key, _ in found} == set(metric.FACTS)
    assert {reference for _, reference in found} <= {"train", "test", "none"}
    for value in found.values():
        assert np.shape(value) == ((100,) if pointwise else ())
        assert np.isfinite(value).all()


def leaves_out_exactly(name):
    metric = plugins.find("metrics", name)
    return hasattr(metric, "leave_out") and not getattr(metric, "HELD", False)


@pytest.mark.parametrize("name", [name for name in METRICS if leaves_out_exactly(name)])
def test_leave_out_has_the_keys_of_evaluate_and_its_values_on_subsets(name):
    metric = plugins.find("metrics", name)
    generated, member = sample(100, 3), groups(100, 5)
    without, full = metric.leave_out(generated, REFERENCES, member), metric.evaluate(generated, REFERENCES)
    assert set(without) == set(full)
    for g in range(5):
        for key, value in metric.evaluate(generated.subset(member != g), REFERENCES).items():
            assert without[key][g] == pytest.approx(value, rel=1e-8)  # contract of leave_out


@pytest.mark.parametrize("name", [name for name in METRICS if hasattr(plugins.find("metrics", name), "leave_out")])
def test_an_empty_group_leaves_all_samples(name):
    metric = plugins.find("metrics", name)
    generated = sample(100, 4)
    without = metric.leave_out(generated, REFERENCES, groups(100, 5) + 1)
    for key, value in metric.evaluate(generated, REFERENCES).items():
        assert without[key][0] == pytest.approx(value, rel=1e-9)  # sums in another order


@pytest.mark.parametrize("name", [name for name in METRICS if hasattr(plugins.find("metrics", name), "reference_rows")])
def test_the_rows_of_a_reference_move_the_value_as_leaving_them_out_does(name):
    metric, generated, names = plugins.find("metrics", name), sample(100, 5), ("train", "test")
    big = dict(zip(names, (sample(500, 6), sample(500, 7)), strict=True))
    rows, member = metric.reference_rows(generated, big), np.arange(500) % 10
    assert set(rows) <= set(metric.evaluate(generated, big)) and all(len(one) == 500 for one in rows.values())
    for (key, reference), one in rows.items():
        without = [
            metric.evaluate(generated, {**big, reference: big[reference].subset(member != g)})[key, reference]
            for g in range(10)
        ]
        # without a tenth of the rows; what is not linear in them is of the order of their number's inverse
        assert np.corrcoef(without, leave_out_of_means(one, member))[0, 1] > 0.9
        assert np.std(leave_out_of_means(one, member)) == pytest.approx(np.std(without), rel=0.25)


def test_no_stem_belongs_to_two_files():
    stems = [stem for name in METRICS for stem in plugins.find("metrics", name).FACTS]
    assert len(stems) == len(set(stems))
