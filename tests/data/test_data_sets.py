"""What every data set promises, the container, the split, and the search for files."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dpmot import data, plugins, seeds
from dpmot.data import DataSet, MissingData, Mixture, data_root, require, stratified_choice, stratified_split

ALL = plugins.names("data")
FROM_FILES = [name for name in ALL if plugins.find("data", name).expected(Path("."))]
EMBEDDED = [name for name in ALL if name not in FROM_FILES]


@pytest.fixture(scope="module", params=EMBEDDED)
def embedded(request):
    return request.param, plugins.find("data", request.param).load()


def test_digits_and_gaussians_need_no_files():
    assert {"digits", "gaussians"} <= set(EMBEDDED)


@pytest.mark.parametrize("name", FROM_FILES)
def test_expected_files_lie_under_the_given_root(name, tmp_path):
    assert all(tmp_path in path.parents for path in plugins.find("data", name).expected(tmp_path))


@pytest.mark.parametrize("name", FROM_FILES)
def test_a_missing_file_is_reported_by_name_and_folder(name, tmp_path):
    plugin = plugins.find("data", name)
    first = plugin.expected(tmp_path)[0]
    with pytest.raises(MissingData, match=first.name) as caught:
        plugin.load(root=tmp_path)
    assert str(first.parent) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", FROM_FILES)
def test_without_a_data_root_the_error_says_what_to_set_and_which_files_are_meant(name, monkeypatch):
    monkeypatch.delenv("DPMOT_DATA", raising=False)
    with pytest.raises(MissingData, match=r"DPMOT_DATA or `data_root:`.* holds \w+") as caught:
        plugins.find("data", name).expected()
    assert "\n" not in str(caught.value)


def test_an_embedded_set_is_complete_and_repeats_bit_for_bit(embedded):
    name, dataset = embedded
    assert dataset.name == name
    assert dataset.shape == dataset.images.shape[1:]
    parts = {part: dataset.part(part) for part in data.PARTS}
    assert sum(len(labels) for _, labels in parts.values()) == len(dataset.images)
    for images, labels in parts.values():
        assert len(images) == len(labels)
        assert set(labels.tolist()) == set(range(dataset.num_classes))
    assert dataset.note
    assert plugins.find("data", name).load().sha256 == dataset.sha256


def test_importing_and_asking_for_files_costs_numpy_only():
    code = (
        "import sys, dpmot.data; from dpmot import plugins; "
        f"[plugins.find('data', name).expected('.') for name in {ALL}]; "
        "print([name for name in ('torch', 'sklearn', 'scipy', 'pandas') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_the_torch_free_generator_is_the_projects_generator():
    key = (7, "split", "A", 3)
    ours, theirs = data.generator(*key), seeds.generator(*key)
    np.testing.assert_array_equal(ours.integers(1 << 62, size=9), theirs.integers(1 << 62, size=9))


# --- the container -----------------------------------------------------------------------------------------


def pixels(**changes):
    fields = {
        "name": "made",
        "images": np.zeros((6, 1, 2, 2), np.uint8),
        "labels": np.array([0, 1, 2, 0, 1, 2]),
        "split": np.array(list("AABBCC")),
        "num_classes": 3,
    }
    return DataSet(**(fields | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": np.zeros((6, 2, 2), np.uint8)}, r"uint8 \(N, C, H, W\) or float32"),
        ({"images": np.zeros((6, 1, 2, 2), np.float32)}, "got float32"),
        ({"images": np.full((6, 2), np.nan, np.float32)}, "finite"),
        ({"labels": np.zeros(6, np.int32)}, "labels must be int64"),
        ({"labels": np.zeros(5, np.int64)}, r"labels must be int64 \(6,\), got int64 \(5,\)"),
        ({"labels": np.full(6, 3)}, r"0\.\.2, got 3\.\.3"),
        ({"labels": np.full(6, -1)}, r"0\.\.2, got -1"),
        ({"split": np.array(list("AABBCD"))}, "'D'"),
        ({"split": np.arange(6)}, "split must be str"),
        ({"exact": np.ones(6, np.uint8)}, "exact must be bool"),
    ],
)
def test_a_malformed_data_set_is_refused_in_one_line(changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        pixels(**changes)
    assert str(caught.value).startswith("made: ") and "\n" not in str(caught.value)


def test_a_part_holds_its_images_in_stored_order():
    images = np.arange(6, dtype=np.uint8).repeat(4).reshape(6, 1, 2, 2)
    dataset = pixels(images=images, split=np.array(list("ABCABC")))
    found, labels = dataset.part("B")
    assert found[:, 0, 0, 0].tolist() == [1, 4]
    assert labels.tolist() == [1, 1]


def test_an_unknown_or_empty_part_is_an_error():
    with pytest.raises(ValueError, match='no part "train"'):
        pixels().part("train")
    with pytest.raises(ValueError, match='"B" is empty'):
        pixels(split=np.array(list("AAACCC"))).part("B")


def test_the_hash_sees_pixels_labels_split_and_shape_but_not_the_note():
    changed = [
        pixels(),
        pixels(images=np.eye(6, 4, dtype=np.uint8).reshape(6, 1, 2, 2)),
        pixels(images=np.zeros((6, 1, 1, 4), np.uint8)),
        pixels(labels=np.array([1, 0, 2, 0, 1, 2])),
        pixels(split=np.array(list("AABBCA"))),
    ]
    assert len({dataset.sha256 for dataset in changed}) == len(changed)
    assert pixels(note="other").sha256 == pixels().sha256


@pytest.mark.parametrize(("means", "std"), [(np.zeros(3), 1.0), (np.zeros((3, 2)), 0.0), (np.zeros((3, 2)), np.nan)])
def test_a_mixture_needs_a_table_of_means_and_a_positive_std(means, std):
    with pytest.raises(ValueError, match=r"means \(K, d\) and std > 0"):
        Mixture(means, std)


# --- the split ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 17, 333, 500])
def test_a_stratified_choice_has_the_exact_size_and_each_class_within_one_of_its_share(count):
    labels = np.random.default_rng(1).choice(5, size=500, p=[0.5, 0.3, 0.15, 0.04, 0.01])
    chosen = stratified_choice(labels, count, purpose="test")
    assert chosen.sum() == count
    sizes = np.bincount(labels, minlength=5)
    # taking every (N/count)-th of a sorted list hits an interval floor or ceil of its share, hence < 1
    assert np.abs(np.bincount(labels[chosen], minlength=5) - count * sizes / 500).max() < 1


def test_a_stratified_choice_is_uniform_within_a_class():
    labels = np.repeat([0, 1], 30)
    runs = 2000
    hits = sum(stratified_choice(labels, 20, purpose=f"test {k}").astype(int) for k in range(runs))
    # each image is chosen with probability 1/3; 5 standard deviations of a binomial over 60 images
    assert np.abs(hits / runs - 1 / 3).max() < 5 * np.sqrt(2 / 9 / runs)


def test_a_choice_larger_than_the_set_is_refused():
    with pytest.raises(ValueError, match=r"Cannot choose 7 of 6 images: allowed are 0\.\.6"):
        stratified_choice(np.zeros(6, int), 7, purpose="test")


@pytest.mark.parametrize("n", [1000, 1001])
def test_a_stratified_split_is_in_thirds_in_total_and_by_class(n):
    labels = np.random.default_rng(2).integers(7, size=n)
    split = stratified_split(labels)
    sizes = np.bincount(labels)
    for part, total in zip("ABC", np.diff([0, round(n / 3), round(2 * n / 3), n]), strict=True):
        assert (split == part).sum() == total
        by_class = np.bincount(labels[split == part], minlength=7)
        # two choices in a row, each off by less than one, and half an image from rounding the totals
        assert np.abs(by_class - sizes / 3).max() < 2.5


def test_a_choice_for_another_purpose_is_another_and_for_the_same_the_same():
    labels = np.repeat(np.arange(3), 20)
    first, again, other = (stratified_choice(labels, 30, purpose=purpose) for purpose in ("one", "one", "other"))
    assert (first == again).all()
    assert (first != other).any()


# --- files -------------------------------------------------------------------------------------------------


def test_an_explicit_root_goes_before_the_environment(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    monkeypatch.setenv("DPMOT_DATA", str(tmp_path))
    assert data_root(None, files=["x"]) == tmp_path
    assert data_root(tmp_path / "a", files=["x"]) == tmp_path / "a"


def test_a_root_that_is_no_folder_or_empty_is_refused(tmp_path, monkeypatch):
    with pytest.raises(MissingData, match=r"nowhere is no folder: set DPMOT_DATA or `data_root:`.* holds x, y$"):
        data_root(tmp_path / "nowhere", files=["x", "y"])
    monkeypatch.setenv("DPMOT_DATA", "")
    with pytest.raises(MissingData, match="No data root is given"):
        data_root(None, files=["x"])


def test_require_names_only_the_missing_files(tmp_path):
    (tmp_path / "here").touch()
    require([tmp_path / "here"])
    with pytest.raises(MissingData, match=f"Missing in {tmp_path}: gone, away;"):
        require([tmp_path / "gone", tmp_path / "here", tmp_path / "away"])
