"""CIFAR-10: 50,000 + 10,000 colour images, 32x32, 10 classes.

Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009; no licence is stated. In
``<root>/cifar10/`` the first of these is read:

1. ``cifar-10-batches-bin/``, the authors' binary version, unpacked;
2. ``cifar-10-binary.tar.gz``, the same as published; six members are read by name, nothing is unpacked to disk;
3. ``cifar10.npz`` with x_train, y_train, exact_train, x_test, y_test, exact_test; images whose ``exact`` is
   False are JPEG copies, and the note of the data set counts them.

A binary record is one label byte and 3072 pixel bytes (red, green, blue planes, row by row), 10,000 records a
file. The Python version is a pickle, which would execute code from the file: it is refused.
"""

import tarfile
import zipfile
from collections.abc import Callable
from hashlib import file_digest
from pathlib import Path

import numpy as np

from dpmot.data import DataSet, MissingData, data_root, require
from dpmot.data._train_test import TrainTest, assemble

FOLDER, ARCHIVE, NPZ = "cifar-10-batches-bin", "cifar-10-binary.tar.gz", "cifar10.npz"
NPZ_ARRAYS = ("x_train", "y_train", "x_test", "y_test", "exact_train", "exact_test")
PICKLED = ("cifar-10-batches-py", "cifar-10-python.tar.gz")
TRAIN_FILES = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST_FILE = "test_batch.bin"
RECORDS = 10_000  # in each of the six files
ARCHIVE_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"  # as the authors' page gives it
PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32
CITATION = "CIFAR-10 (Krizhevsky 2009), no licence stated"


def expected(root: Path | None = None) -> list[Path]:
    """The files that ``load`` will read: of the first version that is there, else the authors' archive.

    Raises:
        MissingData: no data root is given, or only the Python version is there.
    """
    folder = data_root(root, files=[f"cifar10/{ARCHIVE} (or cifar10/{NPZ})"]) / "cifar10"
    return _files(folder)


def _files(folder: Path) -> list[Path]:
    if (folder / FOLDER).is_dir():
        return [folder / FOLDER / name for name in (*TRAIN_FILES, TEST_FILE)]
    present = [folder / name for name in (ARCHIVE, NPZ) if (folder / name).exists()]
    pickled = [name for name in PICKLED if (folder / name).exists()]
    if pickled and not present:
        raise MissingData(f"{pickled[0]} is a pickle and is not read: put {ARCHIVE} from {PAGE} beside it in {folder}")
    return present[:1] or [folder / ARCHIVE]


def load(*, root: Path | None = None, num_train: int | None = None) -> DataSet:
    """uint8 (60000, 3, 32, 32): A 40,000 and B 10,000 of the training images, C the 10,000 test images.

    Args:
        root: data root; None takes DPMOT_DATA.
        num_train: images kept in A (stratified); None keeps 40,000.

    Raises:
        MissingData: a file is not there.
        ValueError: a file is damaged or not what its name says, or num_train does not fit.
    """
    paths = expected(root)
    require(paths)
    parts, source = read(paths, records=RECORDS, archive_md5=ARCHIVE_MD5)
    note = f"{CITATION}; {source}"
    return assemble(parts, name="cifar10", num_classes=10, note=note, num_train=num_train, num_classifier=10_000)


def read(paths: list[Path], *, records: int, archive_md5: str) -> tuple[TrainTest, str]:
    """Read one of the three versions.

    Args:
        paths: what ``expected`` returned.
        records: images in each of the six binary files, so 5 records train and records test images.
        archive_md5: of the .tar.gz.

    Returns:
        The images, and a sentence on where they come from and how exact they are.

    Raises:
        ValueError: a file is damaged or not what its name says.
    """
    if paths[0].name == NPZ:
        parts = read_npz(paths[0], records=records)
        return parts, _exactness(parts.exact, len(parts.train_labels))
    if paths[0].name == ARCHIVE:
        return read_archive(paths[0], records=records, md5sum=archive_md5), "authors' archive, MD5 checked"
    return _batches(lambda name: (paths[0].parent / name).read_bytes(), records), "authors' binary files, no checksum"


def read_archive(path: Path, *, records: int, md5sum: str) -> TrainTest:
    """The six members of the authors' archive, by exact name; no other member is touched.

    Raises:
        ValueError: the MD5 differs, or a member is missing, no plain file, or of another size.
    """
    with path.open("rb") as file:
        found = file_digest(file, "md5").hexdigest()
    if found != md5sum:
        raise ValueError(f"{path.name}: MD5 is {found}, not {md5sum}: cut off or damaged; download it from {PAGE}")
    with tarfile.open(path, "r:gz") as archive:
        return _batches(lambda name: _member(archive, name, records), records)


def _member(archive: tarfile.TarFile, name: str, records: int) -> bytes:
    try:
        member = archive.getmember(f"{FOLDER}/{name}")
    except KeyError:
        raise ValueError(f"{ARCHIVE}: holds no {FOLDER}/{name}; download it from {PAGE}") from None
    # the size is checked before reading, so a forged archive cannot fill the memory
    if not member.isreg() or member.size != records * (1 + PIXELS):
        raise ValueError(f"{ARCHIVE}: {member.name} must be a plain file of {records * (1 + PIXELS)} bytes")
    return archive.extractfile(member).read()


def _batches(content: Callable[[str], bytes], records: int) -> TrainTest:
    train = [_records(content(name), name, records) for name in TRAIN_FILES]
    test_images, test_labels = _records(content(TEST_FILE), TEST_FILE, records)
    images, labels = (np.concatenate(arrays) for arrays in zip(*train, strict=True))
    return TrainTest(images, labels, test_images, test_labels)


def _records(content: bytes, name: str, records: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (records, 3, 32, 32) and labels (records,) of one binary file."""
    if len(content) != records * (1 + PIXELS):
        size = f"{records} records of {1 + PIXELS} bytes"
        raise ValueError(f"{name}: must hold {size}, found {len(content)} bytes; get it again from {PAGE}")
    rows = np.frombuffer(content, np.uint8).reshape(records, 1 + PIXELS)
    if rows[:, 0].max() > 9:
        raise ValueError(f"{name}: labels must lie in 0..9, found {rows[:, 0].max()}; get it again from {PAGE}")
    return rows[:, 1:].reshape(records, *SHAPE), rows[:, 0]


def read_npz(path: Path, *, records: int) -> TrainTest:
    """The npz version with its flags of exactness; object arrays are refused, so nothing is executed.

    Raises:
        ValueError: the file is damaged, an array is missing or of another type or shape.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # numpy alone stops reading before a member's checksum is compared
            if damaged := archive.testzip():
                raise ValueError(f"the checksum of {damaged} differs")
        with np.load(path, allow_pickle=False) as arrays:
            stored = {name: arrays[name] for name in NPZ_ARRAYS}
    except KeyError as error:
        raise ValueError(f"{path.name}: {error.args[0]}; it must hold {', '.join(NPZ_ARRAYS)}") from error
    except Exception as error:  # numpy and zipfile answer damage with a dozen kinds of exception
        raise ValueError(f"{path.name}: damaged, cut off or no plain npz file ({error})") from error
    for name, array in stored.items():
        n = records if name.endswith("test") else len(TRAIN_FILES) * records
        shape = (n, *SHAPE) if name.startswith("x") else (n,)
        dtype = bool if name.startswith("exact") else np.uint8
        if array.shape != shape or array.dtype != dtype:
            wanted = f"{np.dtype(dtype)} {shape}"
            raise ValueError(f"{path.name}: {name} must be {wanted}, found {array.dtype} {array.shape}")
    *images_and_labels, exact_train, exact_test = stored.values()
    return TrainTest(*images_and_labels, np.concatenate([exact_train, exact_test]))


def _exactness(exact: np.ndarray, num_train: int) -> str:
    inexact = int((~exact).sum())
    if not inexact:
        return f"{NPZ}, every image flagged exact"
    train, test = (int((~half).sum()) for half in np.split(exact, [num_train]))
    where = f"{inexact} of {len(exact)} images ({train} train, {test} test)"
    return f"{NPZ}: {where} are JPEG copies at about 30 dB, not the authors' pixels"
