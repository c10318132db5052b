"""The five accepted versions of CIFAR-10, on archives of a few records, and the refused ones."""

import io
import os
import pickle
import struct
import tarfile
from hashlib import sha256

import numpy as np
import pytest

from dpmot.data import MissingData, cifar10

RECORDS = 4  # in each made file, so 20 training images and 4 test images
FILES = tuple(f"{batch}.bin" for batch in cifar10.BATCHES)


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
    folder = root / "cifar10" / cifar10.BIN
    folder.mkdir(parents=True)
    for i, name in enumerate(FILES):
        (folder / name).write_bytes(binary(made, i))
    return folder


def pickled(made, i, *, module=b"numpy.core.multiarray", labels=None):
    """The bytes of batch i as Python 2 pickled it, opcode by opcode: {data: uint8 (n, 3072), labels: [...]}."""

    def text(content):
        return b"T" + struct.pack("<i", len(content)) + content

    images, classes = (array[i * RECORDS : (i + 1) * RECORDS] for array in made)
    classes = classes.tolist() if labels is None else labels
    empty = b"c" + module + b"\n_reconstruct\ncnumpy\nndarray\n" + b"(K\x00t" + text(b"b") + b"\x87R"
    dtype = b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R"
    dtype += b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    shape = b"M" + struct.pack("<H", len(images)) + b"M" + struct.pack("<H", 3072) + b"\x86"
    data = empty + b"(K\x01" + shape + dtype + b"\x89" + text(images.tobytes()) + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in classes) + b"e"
    return b"\x80\x02}(" + text(b"data") + data + text(b"labels") + numbers + b"u."


def write_python_folder(root, made, **changes):
    folder = root / "cifar10" / cifar10.PY
    folder.mkdir(parents=True)
    for i, name in enumerate(cifar10.BATCHES):
        (folder / name).write_bytes(pickled(made, i, **changes))
    return folder


def write_archive(root, members, kind=tarfile.REGTYPE, name=cifar10.BIN_ARCHIVE):
    """A .tar.gz of (name, content) pairs; returns its path."""
    path = root / "cifar10" / name
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size = kind, "elsewhere", len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def members(made):
    return [(f"{cifar10.BIN}/{name}", binary(made, i)) for i, name in enumerate(FILES)]


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


def assert_is(found, made):
    for array, expected in zip(found, made, strict=False):
        np.testing.assert_array_equal(array, expected)


@pytest.fixture
def small(made, monkeypatch):
    """The module as if the small set were the published one."""
    monkeypatch.setattr(cifar10, "RECORDS", RECORDS)
    batches = tuple(sha256(binary(made, i)).hexdigest() for i in range(len(cifar10.BATCHES)))
    monkeypatch.setattr(cifar10, "BATCH_SUMS", batches)
    monkeypatch.setattr(cifar10, "LABEL_SUM", sha256(made[1].tobytes()).hexdigest())
    monkeypatch.setattr(cifar10, "FLAGGED_SUMS", {})


def read(root):
    return cifar10.read(cifar10.expected(root))


def test_the_unpacked_binary_version_is_read(tmp_path, made, small):
    write_folder(tmp_path, made)
    *found, exact, source = read(tmp_path)
    assert_is(found, made)
    assert exact is None and source == "authors' binary version, SHA-256 of every batch checked"


def test_the_authors_archive_is_read_without_unpacking_it(tmp_path, made, small):
    path = write_archive(tmp_path, [("cifar-10-batches-bin/readme.html", b"x"), *members(made)])
    *found, exact, source = read(tmp_path)
    assert_is(found, made)
    assert exact is None and "every batch checked" in source
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_the_unpacked_python_version_is_read(tmp_path, made, small, module):
    write_python_folder(tmp_path, made, module=module)
    *found, exact, source = read(tmp_path)
    assert_is(found, made)
    assert exact is None and source == "authors' Python version, SHA-256 of every batch checked"


def test_the_python_archive_is_read_without_unpacking_it(tmp_path, made, small):
    batches = [(f"{cifar10.PY}/{name}", pickled(made, i)) for i, name in enumerate(cifar10.BATCHES)]
    path = write_archive(tmp_path, batches, name=cifar10.PY_ARCHIVE)
    assert_is(read(tmp_path)[:2], made)
    assert list(path.parent.iterdir()) == [path]


def test_a_pickle_that_names_anything_but_an_array_is_refused_and_not_executed(tmp_path, made, small):
    folder = write_python_folder(tmp_path, made)
    owned = tmp_path / "owned"
    for code in (f"cos\nsystem\n(S'touch {owned}'\ntR.", f'cbuiltins\neval\n(S\'open("{owned}","w")\'\ntR.'):
        (folder / "data_batch_3").write_bytes(code.encode())
        with pytest.raises(ValueError, match=r"data_batch_3: .*asks for (os\.system|builtins\.eval).*not executed"):
            read(tmp_path)
    (folder / "data_batch_3").write_bytes(pickle.dumps(np.array([{}], dtype=object)))
    with pytest.raises(ValueError, match="data_batch_3: damaged or no batch"):
        read(tmp_path)
    assert not owned.exists()


def test_a_pickle_of_other_labels_or_shape_is_named(tmp_path, made, small):
    folder = write_python_folder(tmp_path, made)
    for labels, message in (([1, 2, 3], "as many labels"), ([1, 2, 3, 11], r"must lie in 0\.\.9, found 1\.\.11")):
        (folder / "test_batch").write_bytes(pickled(made, 5, labels=labels))
        with pytest.raises(ValueError, match=f"test_batch: .*{message}"):
            read(tmp_path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_the_npz_version_is_read_with_its_flags(tmp_path, made, small, save):
    write_npz(tmp_path, npz_arrays(made), save)
    *found, exact, source = read(tmp_path)
    assert_is(found, made)
    assert np.flatnonzero(~exact).tolist() == [0, 6, 12, 18]
    assert "4 of 24 images (4 train, 0 test) are JPEG copies" in source
    assert "labels checked by SHA-256, pixels not" in source


def test_an_npz_without_inexact_images_is_held_to_the_published_checksums(tmp_path, made, small):
    exact = npz_arrays(made) | {"exact_train": np.ones(20, bool)}
    write_npz(tmp_path, exact)
    assert "every image flagged exact, SHA-256 of every batch checked" in read(tmp_path)[-1]
    exact["x_train"] = exact["x_train"].copy()
    exact["x_train"][9, 1, 2, 3] ^= 1
    write_npz(tmp_path, exact)
    with pytest.raises(ValueError, match=r"data_batch_3 of cifar10\.npz: SHA-256 of its images and labels"):
        read(tmp_path)


def test_an_npz_whose_flags_are_known_must_hold_the_pixels_known_with_them(tmp_path, made, small, monkeypatch):
    arrays = npz_arrays(made)
    flags = np.concatenate([arrays["exact_train"], arrays["exact_test"]])
    known = {sha256(flags.tobytes()).hexdigest(): sha256(made[0].tobytes()).hexdigest()}
    monkeypatch.setattr(cifar10, "FLAGGED_SUMS", known)
    write_npz(tmp_path, arrays)
    assert "labels and pixels checked" in read(tmp_path)[-1]
    arrays["x_test"] = arrays["x_test"] ^ 1
    write_npz(tmp_path, arrays)
    with pytest.raises(ValueError, match=r"cifar10\.npz: SHA-256 of its pixels"):
        read(tmp_path)


def test_a_mislabelled_npz_is_refused(tmp_path, made, small):
    arrays = npz_arrays(made)
    write_npz(tmp_path, arrays | {"y_train": np.roll(arrays["y_train"], 1)})
    with pytest.raises(ValueError, match=r"cifar10\.npz: SHA-256 of its labels .* images are mislabelled"):
        read(tmp_path)


def test_the_authors_files_go_before_the_npz(tmp_path, made):
    npz = write_npz(tmp_path, npz_arrays(made))
    assert cifar10.expected(tmp_path) == [npz]
    python = write_archive(tmp_path, [], name=cifar10.PY_ARCHIVE)
    assert cifar10.expected(tmp_path) == [python]
    folder = write_python_folder(tmp_path, made)
    assert cifar10.expected(tmp_path) == [folder / name for name in cifar10.BATCHES]
    archive = write_archive(tmp_path, members(made))
    assert cifar10.expected(tmp_path) == [archive]
    folder = write_folder(tmp_path, made)
    assert cifar10.expected(tmp_path) == [folder / name for name in FILES]


def test_a_missing_batch_is_named(tmp_path, made):
    (write_folder(tmp_path, made) / "data_batch_3.bin").unlink()
    with pytest.raises(MissingData, match=r"cifar-10-batches-bin: data_batch_3\.bin;"):
        cifar10.load(root=tmp_path)


@pytest.mark.parametrize("cut", [1, 3073, RECORDS * 3073])
def test_a_cut_off_batch_is_named_even_at_a_record_boundary(tmp_path, made, small, cut):
    path = write_folder(tmp_path, made) / "data_batch_2.bin"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(ValueError, match=rf"data_batch_2\.bin: must hold 4 records .* found {4 * 3073 - cut} bytes"):
        read(tmp_path)


def test_a_label_that_does_not_exist_is_named_with_its_file(tmp_path, made, small):
    path = write_folder(tmp_path, made) / "test_batch.bin"
    path.write_bytes(b"\x0a" + path.read_bytes()[1:])
    with pytest.raises(ValueError, match=r"test_batch\.bin: labels must lie in 0\.\.9, found \d\.\.10"):
        read(tmp_path)


def test_a_flipped_bit_in_a_batch_is_found_by_its_checksum(tmp_path, made, small):
    path = write_folder(tmp_path, made) / "data_batch_4.bin"
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"data_batch_4 of cifar-10-batches-bin: SHA-256 .* is [0-9a-f]{64}, not"):
        read(tmp_path)


def test_batches_in_each_others_place_are_found(tmp_path, made, small):
    folder = write_folder(tmp_path, made)
    (folder / "data_batch_1.bin").rename(folder / "x")
    (folder / "data_batch_2.bin").rename(folder / "data_batch_1.bin")
    (folder / "x").rename(folder / "data_batch_2.bin")
    with pytest.raises(ValueError, match="data_batch_1 of cifar-10-batches-bin: SHA-256"):
        read(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_damaged_archive_is_named(tmp_path, made, small, damage):
    path = write_archive(tmp_path, members(made))
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    path.write_bytes(content[: len(content) // 2] if damage == "cut" else content)
    with pytest.raises(ValueError, match=r"cifar-10-binary\.tar\.gz"):
        read(tmp_path)


def test_an_archive_that_is_not_the_authors_is_refused_by_the_plugin(tmp_path, made):
    write_archive(tmp_path, members(made))
    with pytest.raises(ValueError, match="must be a plain file of 30730000 bytes"):
        cifar10.load(root=tmp_path)


@pytest.mark.parametrize("name", [cifar10.BIN_ARCHIVE, cifar10.PY_ARCHIVE])
def test_a_member_is_found_by_its_exact_name_only(tmp_path, made, small, name):
    write_archive(tmp_path, [(f"../{name}", content) for name, content in members(made)], name=name)
    with pytest.raises(ValueError, match=rf"{name}: holds no cifar-10-batches-\w+/data_batch_1"):
        read(tmp_path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_link_in_the_place_of_a_member_is_not_followed(tmp_path, small, kind):
    write_archive(tmp_path, [(f"{cifar10.BIN}/{name}", b"") for name in FILES], kind)
    with pytest.raises(ValueError, match="must be a plain file of 12292 bytes"):
        read(tmp_path)


def test_a_member_of_another_size_is_refused(tmp_path, made, small):
    write_archive(tmp_path, [(name, content + b"x") for name, content in members(made)])
    with pytest.raises(ValueError, match="must be a plain file of 12292 bytes"):
        read(tmp_path)


@pytest.mark.parametrize("name", cifar10.NPZ_ARRAYS)
def test_a_missing_array_of_the_npz_is_named(tmp_path, made, small, name):
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
def test_an_array_of_another_kind_is_named(tmp_path, made, small, name, array, message):
    write_npz(tmp_path, npz_arrays(made) | {name: array})
    with pytest.raises(ValueError, match=message):
        read(tmp_path)


def test_no_single_flipped_bit_in_the_npz_goes_unnoticed(tmp_path, made, small):
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
                found = read(tmp_path)
            except ValueError as error:
                assert "cifar10.npz" in str(error)
            else:
                assert_is(found[:2], made)


@pytest.mark.parametrize("content", [b"", b"not a zip file", b"PK\x03\x04"])
def test_a_file_that_is_no_npz_is_named(tmp_path, made, small, content):
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
