"""The contract of a data set, checked on every file of dpmot/data/ at its own shape, with classes or without."""

import inspect

import numpy as np
import pytest

from dpmot import plugins
from dpmot.data import DataSet, MissingData, declared_shape, require

DATA_SETS = plugins.names("data")


@pytest.fixture(scope="module", params=DATA_SETS)
def loaded(request):
    """The module of a data set whose files are here, and what it loads."""
    module = plugins.find("data", request.param)
    try:
        require(module.expected())
    except MissingData as error:
        pytest.skip(str(error))
    return module, module.load()


@pytest.mark.parametrize("name", DATA_SETS)
def test_a_data_set_is_loaded_by_keywords_with_defaults_from_the_files_it_expects(name):
    module = plugins.find("data", name)
    options = inspect.signature(module.load).parameters
    assert "root" in options
    assert all(option.kind is inspect.Parameter.KEYWORD_ONLY for option in options.values())
    assert all(option.default is not inspect.Parameter.empty for option in options.values())
    first, *choosing = inspect.signature(module.expected).parameters
    assert first == "root" and set(choosing) <= set(options)  # options that decide which files are needed
    check = getattr(module, "check", None)
    if check is not None:  # a plan calls it with the options that are given
        assert set(inspect.signature(check).parameters) <= set(options) - {"root"}
        check()  # the defaults are allowed
    fetched = getattr(module, "download", None)
    assert fetched is None or list(inspect.signature(fetched).parameters) == ["root"]


@pytest.mark.parametrize("name", DATA_SETS)
def test_the_files_it_expects_lie_below_the_data_root_and_are_named_where_they_are_missing(name, tmp_path):
    module = plugins.find("data", name)
    files = module.expected(tmp_path)
    assert all(file.is_relative_to(tmp_path) for file in files)
    if files:
        with pytest.raises(MissingData, match=files[0].name):
            module.load(root=tmp_path)


def test_it_has_images_or_points_with_a_label_each_in_three_parts(loaded):
    module, data = loaded
    assert isinstance(data, DataSet) and data.name == module.__name__.rpartition(".")[2] and data.note
    assert declared_shape(module, {}) in (None, data.shape)
    parts = [data.part(name) for name in "ABC"]
    assert sum(len(images) for images, _ in parts) == len(data.images) == len(data.labels)
    classes = {int(label) for _, labels in parts for label in np.unique(labels)}
    assert classes <= set(range(data.num_classes)) and len(classes) == data.num_classes
    assert all(len(np.unique(images[:50], axis=0)) > 1 for images, _ in parts)


def test_a_law_is_attached_exactly_where_the_file_says_that_there_is_one(loaded):
    module, data = loaded
    assert getattr(module, "MIXTURE", False) == (data.mixture is not None)
    if data.mixture is not None:
        assert data.mixture.means.shape == (data.num_classes, *data.shape)


def test_it_is_the_same_twice(loaded):
    module, data = loaded
    assert module.load().sha256 == data.sha256
