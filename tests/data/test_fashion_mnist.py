"""The idx format and the train/test split, on small made files and, where they are at hand, on the real ones."""

import gzip
import os
import struct
import tracemalloc
from functools import partial
from hashlib import md5

import numpy as np
import pytest

from dpmot import data
from dpmot.data import _idx, fashion_mnist
from dpmot.data._idx import FILES, IdxSet, read_idx


def idx(array, magic=None):
    """The idx bytes of a uint8 array, written from the format's description."""
    return (magic or bytes([0, 0, 8, array.ndim])) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write(path, content):
    path.write_bytes(gzip.compress(content))
    return md5(content).hexdigest()


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 3, 4), dtype=np.uint8)


def test_an_idx_file_is_read_back(tmp_path, images):
    digest = write(tmp_path / "a.gz", idx(images))
    np.testing.assert_array_equal(read_idx(tmp_path / "a.gz", ndim=3, md5sum=digest), images)


def test_another_compression_of_the_same_bytes_is_accepted(tmp_path, images):
    content = idx(images)
    (tmp_path / "a.gz").write_bytes(gzip.compress(content, compresslevel=1, mtime=1))
    np.testing.assert_array_equal(read_idx(tmp_path / "a.gz", ndim=3, md5sum=md5(content).hexdigest()), images)


@pytest.mark.parametrize("keep", [0, 5, 15, 40, -1])
def test_a_cut_off_gzip_file_is_named(tmp_path, images, keep):
    digest = write(tmp_path / "cut.gz", idx(images))
    (tmp_path / "cut.gz").write_bytes((tmp_path / "cut.gz").read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"^cut\.gz: ") as caught:
        read_idx(tmp_path / "cut.gz", ndim=3, md5sum=digest)
    assert "\n" not in str(caught.value)


def test_a_flipped_bit_in_the_compressed_file_is_named(tmp_path, images):
    digest = write(tmp_path / "flip.gz", idx(images))
    damaged = bytearray((tmp_path / "flip.gz").read_bytes())
    damaged[40] ^= 1
    (tmp_path / "flip.gz").write_bytes(damaged)
    with pytest.raises(ValueError, match=r"^flip\.gz: "):
        read_idx(tmp_path / "flip.gz", ndim=3, md5sum=digest)


def test_a_flipped_bit_that_gzip_cannot_see_is_found_by_the_md5(tmp_path, images):
    digest = write(tmp_path / "a.gz", idx(images))
    images[2, 1, 1] ^= 1
    write(tmp_path / "a.gz", idx(images))
    with pytest.raises(ValueError, match=rf"a\.gz: MD5 of the unpacked file is [0-9a-f]{{32}}, not {digest}"):
        read_idx(tmp_path / "a.gz", ndim=3, md5sum=digest)


def test_labels_in_the_place_of_images_are_found_by_the_magic(tmp_path):
    digest = write(tmp_path / "a.gz", idx(np.zeros(9, np.uint8)))
    with pytest.raises(ValueError, match=r"3 axes \(magic 00000803\), found 00000801"):
        read_idx(tmp_path / "a.gz", ndim=3, md5sum=digest)


def test_another_element_type_is_found_by_the_magic(tmp_path, images):
    digest = write(tmp_path / "a.gz", idx(images, magic=bytes([0, 0, 13, 3])))
    with pytest.raises(ValueError, match="found 00000d03"):
        read_idx(tmp_path / "a.gz", ndim=3, md5sum=digest)


@pytest.mark.parametrize("extra", [-1, 1])
def test_a_header_that_announces_another_size_is_refused(tmp_path, images, extra):
    content = idx(images) + b"x" if extra > 0 else idx(images)[:-1]
    digest = write(tmp_path / "a.gz", content)
    told = "it goes on after them" if extra > 0 else "found 59"
    with pytest.raises(ValueError, match=f"announces 60 bytes, {told}"):
        read_idx(tmp_path / "a.gz", ndim=3, md5sum=digest)


def made_folder(folder, num_train=60, num_test=20, num_labels=None):
    """Four small files as a set. Every image is filled with its own index."""
    sums = []
    for name in FILES:
        n = num_train if "train" in name else num_test
        if "images" in name:
            array = np.arange(n, dtype=np.uint8).repeat(12).reshape(n, 3, 4)
        else:
            array = (np.arange(num_labels or n) % 10).astype(np.uint8)
        sums.append((write(folder / name, idx(array)), "", 0))
    return IdxSet("made", folder.name, "", tuple(sums), "")


def test_four_files_become_train_and_test_with_a_channel_axis(tmp_path, monkeypatch):
    monkeypatch.setattr(_idx, "published", partial(data.published, num_classifier=10))
    found = made_folder(tmp_path).load(root=tmp_path.parent)
    assert [len(found.part(part)[0]) for part in "ABC"] == [50, 10, 20] and found.shape == (1, 3, 4)
    assert found.part("C")[1].tolist() == [i % 10 for i in range(20)]


def test_images_and_labels_of_different_number_are_refused(tmp_path):
    with pytest.raises(ValueError, match="60 images, but 59 labels"):
        made_folder(tmp_path, num_labels=59).load(root=tmp_path.parent)


def test_files_that_are_not_the_authors_are_refused_by_the_plugin(tmp_path):
    (tmp_path / "fashion-mnist").mkdir()
    made_folder(tmp_path / "fashion-mnist")
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz: MD5 .* not f4a8712d7a061bf5bd6d2ca38dc4d50a"):
        fashion_mnist.load(root=tmp_path)


def made_set(num_train=None, exact=None):
    labels = np.arange(100, dtype=np.uint8) % 10
    images = np.arange(100, dtype=np.uint8).repeat(4).reshape(100, 1, 2, 2)
    both = np.concatenate([images, images[:20] + 100]), np.concatenate([labels, labels[:20]])
    options = {"num_test": 20, "num_classifier": 30, "num_train": num_train, "exact": exact, "note": ""}
    return data.published("made", *both, **options)


def identities(dataset, part):
    """Which image each row is: its constant pixel value."""
    return dataset.part(part)[0][:, 0, 0, 0].tolist()


def test_test_images_are_c_and_the_training_images_are_divided_evenly_by_class():
    dataset = made_set()
    assert identities(dataset, "C") == list(range(100, 120))
    assert np.bincount(dataset.part("A")[1]).tolist() == [7] * 10
    assert np.bincount(dataset.part("B")[1]).tolist() == [3] * 10
    assert sorted(identities(dataset, "A") + identities(dataset, "B")) == list(range(100))


def test_a_smaller_a_is_a_stratified_subset_and_leaves_b_and_c_alone():
    whole, small = made_set(), made_set(num_train=20)
    assert np.bincount(small.part("A")[1]).tolist() == [2] * 10
    assert set(identities(small, "A")) < set(identities(whole, "A"))
    for part in "BC":
        assert identities(small, part) == identities(whole, part)


def test_labels_and_exactness_stay_with_their_images():
    exact = np.arange(120) % 7 != 0
    dataset = made_set(num_train=20, exact=exact)
    for image, label, flag in zip(dataset.images[:, 0, 0, 0], dataset.labels, dataset.exact, strict=True):
        assert label == image % 10
        assert flag == (image % 7 != 0)


@pytest.mark.parametrize("num_train", [0, 71, -5])
def test_a_num_train_that_does_not_fit_is_refused(num_train):
    with pytest.raises(ValueError, match=rf"num_train must be in 1\.\.70 .* got {num_train}"):
        made_set(num_train=num_train)


def has_files():
    root = os.environ.get("DPMOT_DATA")
    return bool(root) and os.path.isdir(os.path.join(root, "fashion-mnist"))


@pytest.mark.skipif(not has_files(), reason="DPMOT_DATA is unset or holds no fashion-mnist/")
def test_the_real_fashion_mnist_is_complete_and_balanced():
    dataset = fashion_mnist.load(num_train=1000)
    for part, each in (("A", 100), ("B", 1000), ("C", 1000)):
        images, labels = dataset.part(part)
        assert images.shape == (each * 10, 1, 28, 28)
        assert np.bincount(labels).tolist() == [each] * 10


@pytest.mark.parametrize(
    ("sizes", "zeros", "told"),
    [
        ((2**31, 28, 28), 0, "announces 1683627180032 bytes, more than"),
        ((2, 3, 4), 2**28, "announces 24 bytes, it goes on after them"),
        ((2, 3, 4), 20, "announces 24 bytes, found 20"),
    ],
)
def test_no_more_is_unpacked_than_the_header_announces(tmp_path, sizes, zeros, told):
    with gzip.open(tmp_path / "a.gz", "wb", compresslevel=1) as file:  # 256 MB become 1 MB
        file.write(bytes([0, 0, 8, 3]) + struct.pack(">3I", *sizes) + bytes(zeros))
    tracemalloc.start()
    with pytest.raises(ValueError, match=rf"^a\.gz: its header {told}"):
        read_idx(tmp_path / "a.gz", ndim=3, md5sum="0" * 32)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**21  # buffers
