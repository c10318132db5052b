"""What every file of a plugin folder promises, and metrics beyond their own tests."""

import ast
import inspect

import numpy as np
import pytest

from dpmot import plugins
from dpmot.features import Features

EVERY = [(kind, name) for kind in sorted(plugins.FOLDERS) for name in plugins.names(kind)]
METRICS = [name for name in plugins.names("metrics") if plugins.constant("metrics", name, "SPACE") != "gallery"]


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_a_plugin_opens_with_what_it_is(kind, name):
    assert len(plugins.first_line(kind, name)) > 20


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_a_plugin_stands_alone_beside_the_others_of_its_folder(kind, name):
    """One may be added or removed without touching another; what two share lies in a file with an underscore.

    A network may inherit the formulas of another kind, and give its architecture alone.
    """
    folder, others = plugins.FOLDERS[kind][1], set(plugins.names(kind)) - {name}
    package = ".".join(folder.relative_to(plugins.ROOT).parts)
    tree = ast.parse(plugins.path(kind, name).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        inherits = isinstance(node, ast.ImportFrom) and [alias.name for alias in node.names] == ["Parametrisation"]
        if isinstance(node, ast.ImportFrom) and not (inherits and kind == "networks"):
            assert node.module not in {f"{package}.{other}" for other in others}
            assert node.module != package or not {alias.name for alias in node.names} & others


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_no_plugin_takes_whatever_it_is_given(kind, name):
    """Options are spelled out: no function has *args or **kwargs, so a typo in the configuration is an error."""
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    module = plugins.find(kind, name)
    public = [member for key, member in vars(module).items() if not key.startswith("_") and inspect.isfunction(member)]
    for function in (function for function in public if function.__module__ == module.__name__):
        assert not [p for p in inspect.signature(function).parameters.values() if p.kind in variadic]


def features(n, seed):
    random = np.random.default_rng(seed)
    return Features(
        values=random.standard_normal((n, 5)),
        extractor="pixels",
        probabilities=random.dirichlet(np.ones(4), n),
        source=random.integers(60, size=n),
    )


REFERENCES = {"train": features(60, 0), "test": features(50, 1)}


def measured(metric, generated):
    return (metric.pointwise if hasattr(metric, "pointwise") else metric.evaluate)(generated, REFERENCES)


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_does_not_depend_on_the_order_of_the_samples(name):
    metric, generated = plugins.find("metrics", name), features(40, 2)
    order = np.random.default_rng(3).permutation(40)
    found, shuffled = measured(metric, generated), measured(metric, generated.subset(order))
    assert found.keys() == shuffled.keys()
    for key, value in found.items():
        expected = value[order] if hasattr(metric, "pointwise") else value
        np.testing.assert_allclose(shuffled[key], expected, rtol=1e-9, atol=1e-12)  # sums in another order


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_gives_the_same_number_twice(name):
    metric, generated = plugins.find("metrics", name), features(40, 2)
    first, second = measured(metric, generated), measured(metric, generated)
    assert all(np.array_equal(first[key], second[key]) for key in first)
