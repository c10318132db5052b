"""The three accepted versions of CIFAR-10, on archives of a few records, and the refused ones."""

import io
import os
import tarfile
from hashlib import md5

import numpy as np
import pytest

from dpmot.data import MissingData, cifar10

RECORDS = 4  # in each made file, so 20 training images and 4 test images
FILES = (*cifar10.TRAIN_FILES, cifar10.TEST_FILE)


@pytest.fixture(scope="module")
def made():
    """Images (24, 3, 32, 32) and labels (24,), training images first."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (24, 3, 32, 32), dtype=np.uint8), rng.integers(0, 10, 24).astype(np.uint8)


def binary(made, i):
    """The bytes of file i: label, red plane, green plane, blue plane, record after record."""
    images, labels = (array[i * RECORDS : (i + 1) * RECORDS] for array in made)
    return b"".join(bytes([label]) + image.tobytes() for image, label in zip(images, labels, strict=True))


def write_folder(root, made):
    folder = root / "cifar10" / cifar10.FOLDER
    folder.mkdir(parents=True)
    for i, name in enumerate(FILES):
        (folder / name).write_bytes(binary(made, i))
    return folder


def write_archive(root, members, kind=tarfile.REGTYPE):
    """A .tar.gz of (name, content) pairs; returns its path and MD5."""
    path = root / "cifar10" / cifar10.ARCHIVE
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size = kind, "elsewhere", len(content)
            archive.addfile(member, io.BytesIO(content))
    return path, md5(path.read_bytes()).hexdigest()


def members(made):
    return [(f"{cifar10.FOLDER}/{name}", binary(made, i)) for i, name in enumerate(FILES)]


def npz_arrays(made):
    images, labels = made
    exact = np.arange(24) % 6 != 0  # images 0, 6, 12, 18 are inexact, all in train
    halves = {"train": slice(0, 20), "test": slice(20, 24)}
    columns = {"x": images, "y": labels, "exact": exact}
    return {f"{key}_{half}": array[rows] for key, array in columns.items() for half, rows in halves.items()}


def write_npz(root, arrays, save=np.savez):
    path = root / "cifar10" / cifar10.NPZ
    path.parent.mkdir(exist_ok=True)
    save(path, **arrays)
    return path


def assert_is(parts, made):
    images, labels = made
    np.testing.assert_array_equal(np.concatenate([parts.train_images, parts.test_images]), images)
    np.testing.assert_array_equal(np.concatenate([parts.train_labels, parts.test_labels]), labels)
    assert len(parts.test_labels) == RECORDS


def read(root, md5sum=""):
    return cifar10.read(cifar10.expected(root), records=RECORDS, archive_md5=md5sum)


def test_the_unpacked_binary_version_is_read(tmp_path, made):
    write_folder(tmp_path, made)
    parts, source = read(tmp_path)
    assert_is(parts, made)
    assert parts.exact is None and "no checksum" in source


def test_the_authors_archive_is_read_without_unpacking_it(tmp_path, made):
    path, digest = write_archive(tmp_path, [("cifar-10-batches-bin/readme.html", b"x"), *members(made)])
    parts, source = read(tmp_path, digest)
    assert_is(parts, made)
    assert parts.exact is None and "MD5 checked" in source
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_the_npz_version_is_read_with_its_flags(tmp_path, made, save):
    write_npz(tmp_path, npz_arrays(made), save)
    parts, source = read(tmp_path)
    assert_is(parts, made)
    assert np.flatnonzero(~parts.exact).tolist() == [0, 6, 12, 18]
    assert "4 of 24 images (4 train, 0 test) are JPEG copies" in source


def test_an_npz_without_inexact_images_says_so(tmp_path, made):
    write_npz(tmp_path, npz_arrays(made) | {"exact_train": np.ones(20, bool)})
    assert "every image flagged exact" in read(tmp_path)[1]


def test_the_authors_files_go_before_the_npz(tmp_path, made):
    npz = write_npz(tmp_path, npz_arrays(made))
    assert cifar10.expected(tmp_path) == [npz]
    archive, _ = write_archive(tmp_path, members(made))
    assert cifar10.expected(tmp_path) == [archive]
    folder = write_folder(tmp_path, made)
    assert cifar10.expected(tmp_path) == [folder / name for name in FILES]


@pytest.mark.parametrize("name", cifar10.PICKLED)
def test_the_pickled_version_is_refused_with_what_to_use_instead(tmp_path, name):
    (tmp_path / "cifar10" / name).mkdir(parents=True)
    for ask in (cifar10.expected, lambda root: cifar10.load(root=root)):
        with pytest.raises(MissingData, match=rf"{name} is a pickle .* put cifar-10-binary\.tar\.gz from https"):
            ask(tmp_path)


def test_the_pickled_version_beside_a_readable_one_is_ignored(tmp_path, made):
    (tmp_path / "cifar10" / cifar10.PICKLED[0]).mkdir(parents=True)
    npz = write_npz(tmp_path, npz_arrays(made))
    assert cifar10.expected(tmp_path) == [npz]


def test_a_missing_batch_is_named(tmp_path, made):
    (write_folder(tmp_path, made) / "data_batch_3.bin").unlink()
    with pytest.raises(MissingData, match=r"cifar-10-batches-bin: data_batch_3\.bin;"):
        cifar10.load(root=tmp_path)


@pytest.mark.parametrize("cut", [1, 3073, RECORDS * 3073])
def test_a_cut_off_batch_is_named_even_at_a_record_boundary(tmp_path, made, cut):
    path = write_folder(tmp_path, made) / "data_batch_2.bin"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(ValueError, match=rf"data_batch_2\.bin: must hold 4 records .* found {4 * 3073 - cut} bytes"):
        read(tmp_path)


def test_a_label_that_does_not_exist_is_named_with_its_file(tmp_path, made):
    path = write_folder(tmp_path, made) / "test_batch.bin"
    path.write_bytes(b"\x0a" + path.read_bytes()[1:])
    with pytest.raises(ValueError, match=r"test_batch\.bin: labels must lie in 0\.\.9, found 10"):
        read(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_damaged_archive_is_found_by_its_md5(tmp_path, made, damage):
    path, digest = write_archive(tmp_path, members(made))
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    path.write_bytes(content[:-10] if damage == "cut" else content)
    with pytest.raises(ValueError, match=rf"cifar-10-binary\.tar\.gz: MD5 is [0-9a-f]{{32}}, not {digest}"):
        read(tmp_path, digest)


def test_an_archive_that_is_not_the_authors_is_refused_by_the_plugin(tmp_path, made):
    write_archive(tmp_path, members(made))
    with pytest.raises(ValueError, match="not c32a1d4ab5d03f1284b67883e8d87530"):
        cifar10.load(root=tmp_path)


def test_a_member_is_found_by_its_exact_name_only(tmp_path, made):
    elsewhere = [(f"../{name}", content) for name, content in members(made)]
    _, digest = write_archive(tmp_path, elsewhere)
    with pytest.raises(ValueError, match=r"holds no cifar-10-batches-bin/data_batch_1\.bin"):
        read(tmp_path, digest)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_link_in_the_place_of_a_member_is_not_followed(tmp_path, kind):
    links = [(f"{cifar10.FOLDER}/{name}", b"") for name in FILES]
    _, digest = write_archive(tmp_path, links, kind)
    with pytest.raises(ValueError, match="must be a plain file of 12292 bytes"):
        read(tmp_path, digest)


def test_a_member_of_another_size_is_refused(tmp_path, made):
    wrong = [(name, content + b"x") for name, content in members(made)]
    _, digest = write_archive(tmp_path, wrong)
    with pytest.raises(ValueError, match="must be a plain file of 12292 bytes"):
        read(tmp_path, digest)


@pytest.mark.parametrize("name", cifar10.NPZ_ARRAYS)
def test_a_missing_array_of_the_npz_is_named(tmp_path, made, name):
    arrays = npz_arrays(made)
    del arrays[name]
    write_npz(tmp_path, arrays)
    with pytest.raises(ValueError, match=rf"cifar10\.npz: .*{name}"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("x_train", np.zeros((20, 32, 32, 3), np.uint8), r"x_train must be uint8 \(20, 3, 32, 32\), found uint8"),
        ("x_test", np.zeros((4, 3, 32, 32), np.float32), "x_test must be uint8 .* found float32"),
        ("y_train", np.zeros(19, np.uint8), r"y_train must be uint8 \(20,\), found uint8 \(19,\)"),
        ("exact_test", np.ones(4, np.uint8), "exact_test must be bool"),
        ("y_test", np.array([{}] * 4, dtype=object), "allow_pickle=False"),
    ],
)
def test_an_array_of_another_kind_is_named(tmp_path, made, name, array, message):
    write_npz(tmp_path, npz_arrays(made) | {name: array})
    with pytest.raises(ValueError, match=message):
        read(tmp_path)


def test_no_single_flipped_bit_in_the_npz_goes_unnoticed(tmp_path, made):
    arrays = npz_arrays(made)
    path = write_npz(tmp_path, arrays)
    good = path.read_bytes()
    # position 69 is the .npy header's length: numpy alone reads shifted pixels there without an error
    for position in (69, 200, len(good) // 2, len(good) - 300, len(good) - 10):
        for bit in range(8):
            damaged = bytearray(good)
            damaged[position] ^= 1 << bit
            path.write_bytes(damaged)
            try:
                parts, _ = read(tmp_path)
            except ValueError as error:
                assert "cifar10.npz" in str(error)
            else:
                assert_is(parts, made)


@pytest.mark.parametrize("content", [b"", b"not a zip file", b"PK\x03\x04"])
def test_a_file_that_is_no_npz_is_named(tmp_path, made, content):
    write_npz(tmp_path, npz_arrays(made)).write_bytes(content)
    with pytest.raises(ValueError, match=r"cifar10\.npz: damaged, cut off or no plain npz file"):
        read(tmp_path)


def has_npz():
    root = os.environ.get("DPMOT_DATA")
    return bool(root) and os.path.exists(os.path.join(root, "cifar10", cifar10.NPZ))


@pytest.mark.skipif(not has_npz(), reason="DPMOT_DATA is unset or holds no cifar10/cifar10.npz")
def test_the_real_npz_is_complete_balanced_and_states_its_inexact_images():
    dataset = cifar10.load(num_train=1000)
    for part, each in (("A", 100), ("B", 1000), ("C", 1000)):
        images, labels = dataset.part(part)
        assert images.shape == (each * 10, 3, 32, 32)
        assert np.bincount(labels).tolist() == [each] * 10
    assert "111 of 60000 images (86 train, 25 test)" in dataset.note
    assert (~dataset.exact[dataset.split == "C"]).sum() == 25
