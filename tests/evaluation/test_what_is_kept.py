"""What depends on the real images alone is computed once, for whatever samples are asked about, and to the same bit."""

import numpy as np
import pytest

import dpmot
from dpmot.data import digits
from dpmot.evaluation import question
from dpmot.evaluation.kept_arrays import OfImages
from dpmot.features import Features
from dpmot.features._kept import keep_results
from dpmot.metrics import _pairs, _registered, copies, kernel_distance
from dpmot.metrics._neighbours import neighbours

N = 60
DRAW = np.random.default_rng(0)


@pytest.fixture(scope="module")
def real():
    """Split -> images of digits."""
    data = digits.load()
    return {name: data.part(name)[0][:400] for name in "ABC"}


@pytest.fixture
def keep(tmp_path):
    return OfImages(tmp_path / "real", "these images", {"numpy": "1"})


def asked(samples, real, cache):
    return dpmot.evaluate(samples, real["C"], train=real["A"], cache=cache)


def test_a_second_set_of_samples_asks_the_real_images_nothing_and_gets_the_same_numbers(real, tmp_path, monkeypatch):
    asked(real["B"][:N], real, tmp_path / "used")
    fresh = asked(real["B"][N : 2 * N], real, tmp_path / "fresh")
    nearest, searched, kernel = _pairs.nearest, _registered.nearest, kernel_distance._kernel

    def only_of_samples(x, y, k):
        assert min(len(x), len(y)) <= N, "real images were compared with real images"
        return nearest(x, y, k)

    def sought_of_samples(images, gallery, own=None):
        assert own is None and len(images) <= N, "real images were sought among real images"
        return searched(images, gallery, own)

    monkeypatch.setattr(_pairs, "nearest", only_of_samples)
    monkeypatch.setattr(copies, "nearest", sought_of_samples)

    def kernel_of_samples(x, y):
        assert min(len(x), len(y)) <= N, "kernels of real images with real images"
        return kernel(x, y)

    monkeypatch.setattr(kernel_distance, "_kernel", kernel_of_samples)
    again = asked(real["B"][N : 2 * N], real, tmp_path / "used")
    assert again.rows == fresh.rows and again.flagged == fresh.flagged and again.sentence == fresh.sentence


def test_keeping_changes_no_bit(real, tmp_path, monkeypatch):
    kept = asked(real["B"][:N], real, tmp_path / "kept")
    monkeypatch.setattr(question, "keep_results", lambda features, keep: None)
    monkeypatch.setattr(question.Question, "_keep", lambda *_: None)
    plain = asked(real["B"][:N], real, tmp_path / "plain")
    assert kept.rows == plain.rows and kept.flagged == plain.flagged
    assert not (tmp_path / "plain" / "real").exists() and list((tmp_path / "kept" / "real").iterdir())


def test_what_is_kept_is_found_for_the_same_images_alone(tmp_path):
    rows = DRAW.standard_normal((40, 8))
    one, other = (Features(values=values, extractor="pixels") for values in (rows, 2 * rows))
    for features, content in ((one, "one"), (other, "other")):
        keep_results(features, OfImages(tmp_path, content, {}))
    assert not np.array_equal(neighbours(one, None, 3)[1], neighbours(other, None, 3)[1])
    assert len(list(tmp_path.iterdir())) == 2
    changed = Features(values=3 * rows, extractor="pixels")  # has no Keep: nothing of it is written
    neighbours(changed, one, 3)
    assert len(list(tmp_path.iterdir())) == 2


def test_arrays_come_back_to_the_bit_and_in_their_layout(keep):
    arrays = (
        np.asfortranarray(DRAW.standard_normal((3, 5))),
        DRAW.standard_normal((4, 2)).astype(np.float32),
        np.array(0.1),
        np.array([True, False]),
        np.arange(11, dtype=np.int16),
        np.array([-0.0, np.nan, np.inf, 5e-324]),
        *(np.full(k, k) for k in range(1, 7)),  # more than ten: names are no texts in order
    )
    for found in (keep("dpmot.metrics.ct", ["x"], lambda: arrays) for _ in range(2)):
        for one, other in zip(found, arrays, strict=True):
            assert (one.dtype, one.shape, one.strides) == (other.dtype, other.shape, other.strides)
            assert one.tobytes("A") == other.tobytes("A")
    with pytest.raises(ValueError, match="another layout"):
        keep("dpmot.metrics.ct", ["y"], lambda: (np.zeros((4, 4))[::2, ::2],))


def test_a_file_that_is_cut_or_exchanged_is_computed_anew(keep):
    def ask(what, value):
        return keep("dpmot.metrics.ct", [what], lambda: (np.array([value]),))[0][0]

    assert (ask("a", 1), ask("b", 2), ask("a", 3)) == (1, 2, 1)
    first, second = sorted(keep.folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    first.write_bytes(second.read_bytes())  # whole, but another's
    second.write_bytes(second.read_bytes()[:-1])
    assert (ask("a", 4), ask("b", 5)) == (4, 5)


def test_a_search_that_was_interrupted_goes_on_where_it_was(real, keep, monkeypatch):
    monkeypatch.setattr(copies, "PIECE", 128)
    splits = {"A": real["A"], "B": real["B"]}
    whole = copies.Copies(splits).held_out
    calls, search = [], copies.nearest

    def fails_at_the_third(images, gallery, own=None):
        calls.append(len(images))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return search(images, gallery, own)

    monkeypatch.setattr(copies, "nearest", fails_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        copies.Copies(splits, keep).held_out  # noqa: B018
    found = copies.Copies(splits, keep).held_out
    assert sum(calls) == len(whole[0].index) + 128  # the third was asked for twice, the others once
    for one, other in zip(found, whole, strict=True):
        assert all(np.array_equal(getattr(one, name), getattr(other, name)) for name in one.__dataclass_fields__)


def test_a_folder_that_cannot_be_written_says_what_to_set(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="set DPMOT_CACHE to a folder"):
        OfImages(tmp_path / "file" / "real", "", {})("dpmot.metrics.ct", [], lambda: (np.zeros(1),))
