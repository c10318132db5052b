"""The Features record: what it refuses and forgets."""

import gc
import subprocess
import sys
import time
from multiprocessing.pool import ThreadPool

import numpy as np
import pytest

from dpmot.features import Features, joined, loaded_once, remembered


def small(**changes):
    fields = {
        "values": np.arange(6.0).reshape(3, 2),
        "extractor": "pixels",
        "probabilities": np.array([[0.5, 0.5], [1.0, 0.0], [0.25, 0.75]]),
        "labels": np.array([0, 0, 1]),
        "source": np.array([4, 2, 2]),
    }
    return Features(**(fields | changes))


def test_a_subset_keeps_every_column_aligned():
    for index in (np.array([2, 0]), np.array([True, False, True])):
        part = small().subset(index)
        assert len(part) == 2
        rows = [2, 0] if index.dtype != bool else [0, 2]
        np.testing.assert_array_equal(part.values, small().values[rows])
        np.testing.assert_array_equal(part.probabilities, small().probabilities[rows])
        np.testing.assert_array_equal(part.labels, small().labels[rows])
        np.testing.assert_array_equal(part.source, small().source[rows])
        assert part.extractor == "pixels"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": np.zeros(3)}, r"shape \(n, d\), got float64 \(3,\)"),
        ({"values": np.zeros((3, 0))}, r"got float64 \(3, 0\)"),
        ({"values": np.zeros((3, 2), dtype=np.uint8)}, "must be floats"),
        ({"values": np.array([[0.0, 1], [np.nan, 0], [0, np.inf]])}, "of 2 of 3 samples are NaN or infinite"),
        ({"probabilities": np.ones((2, 2)) / 2}, "probabilities of 2 samples but values of 3"),
        ({"probabilities": np.array([[3.0, -2], [1, 0], [1, 0]])}, "pass the softmax, not logits"),
        ({"probabilities": np.full((3, 2), 0.4)}, "rows summing to one"),
        ({"labels": np.zeros(3)}, "labels must be 3 non-negative integers"),
        ({"source": np.array([0, -1, 2])}, "source must be 3 non-negative integers"),
        ({"source": np.array([0, 1])}, "source must be 3 non-negative integers"),
    ],
)
def test_bad_columns_are_refused_in_one_line(changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        small(**changes)
    assert "\n" not in str(caught.value)


def test_the_arrays_cannot_be_written_to_and_the_callers_own_still_can():
    values = np.zeros((3, 2))
    features = small(values=values)
    with pytest.raises(ValueError, match="read-only"):
        features.values[0, 0] = 1
    values[0, 0] = 1


def test_references_of_another_extractor_or_dimension_are_not_comparable():
    small().check_comparable(small(), "train")
    with pytest.raises(ValueError, match='2 dimensions of "pixels" but the reference "test" is in 2 of "classifier"'):
        small().check_comparable(small(extractor="classifier"), "test")
    with pytest.raises(ValueError, match="extract both with the same network"):
        small().check_comparable(small(values=np.zeros((3, 5))), "test")


def test_sets_of_two_networks_are_never_joined():
    assert len(joined([small(), small()])) == 6
    with pytest.raises(ValueError, match="extract both with the same network"):
        joined([small(), small(extractor="classifier")])


def test_remembered_functions_run_once_per_object_and_forget_it_with_the_object():
    calls, finalised = [], []

    class Result:
        def __del__(self):
            finalised.append(True)

    @remembered
    def expensive(features, *others):
        calls.append(len(features))
        return Result()

    features, other = small(), small()
    assert expensive(features) is expensive(features)
    expensive(small())
    assert calls == [3, 3]
    assert expensive(features, other, 1) is expensive(features, other, 1)
    expensive(features, other, 2), expensive(other, features, 1)
    assert calls == [3] * 5
    del features
    gc.collect()
    assert len(finalised) == 4  # all but that of `other`, which is alive


def test_what_is_loaded_once_is_not_loaded_by_each_thread_that_asks_at_once():
    calls = []

    @loaded_once
    def load(path):
        calls.append(path)
        time.sleep(0.05)  # others ask meanwhile
        return object()

    with ThreadPool(4) as pool:
        found = pool.map(load, ["a"] * 8)
    assert len(set(found)) == 1 and calls == ["a"]
    load("b"), load("b")
    load.cache_clear()
    load("b")
    assert calls == ["a", "b", "b"]


def test_what_is_loaded_once_is_loaded_anew_when_its_file_has_changed(tmp_path):
    load, file = loaded_once(lambda path: object()), tmp_path / "weights"
    file.write_text("one")
    first, folder = load(file), load(tmp_path)
    assert load(tmp_path) is folder
    file.write_text("another")
    assert load(tmp_path) is not folder and load(file) is not first


def test_importing_the_record_and_the_statistics_imports_no_torch():
    code = (
        "import sys, dpmot.features, dpmot.metrics.frechet, dpmot.metrics.ct, dpmot.statistics.paired, "
        "dpmot.statistics.audit; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
