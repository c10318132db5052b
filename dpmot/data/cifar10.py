"""CIFAR-10: 50,000 + 10,000 colour images, 32x32, 10 classes.

Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009; no licence is stated. In
``<root>/cifar10/`` the first of these is read:

1. ``cifar-10-batches-bin/``, the authors' binary version, unpacked;
2. ``cifar-10-binary.tar.gz``, the same as published;
3. ``cifar-10-batches-py/``, the authors' Python version, unpacked;
4. ``cifar-10-python.tar.gz``, the same as published;
5. ``cifar10.npz`` with x_train, y_train, exact_train, x_test, y_test, exact_test; images whose ``exact`` is
   False are JPEG copies, and the note of the data set counts them.

Six members of an archive are read by name, nothing is unpacked to disk. A binary record is one label byte and 3072
pixel bytes (red, green, blue planes, row by row), 10,000 records a file. Whatever version was read, the images of each
batch are put in this form and compared with the published SHA-256 of its file: what is checked is the content. An npz
with inexact images cannot be; of it the labels are checked, and the images where its flags are known.

The Python version is a pickle. It is read by an unpickler that knows three names, those of an array of bytes, and
refuses every other: nothing of the file can be executed.
"""

import io
import pickle
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import IO, cast

import numpy as np

from dpmot.data import DataSet, data_root, require, verify
from dpmot.data._download import Remote
from dpmot.data._download import download as fetch
from dpmot.data._splits import TrainTest, assemble

SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32
BIN, BIN_ARCHIVE = "cifar-10-batches-bin", "cifar-10-binary.tar.gz"
PY, PY_ARCHIVE = "cifar-10-batches-py", "cifar-10-python.tar.gz"
NPZ = "cifar10.npz"
NPZ_ARRAYS = ("x_train", "y_train", "x_test", "y_test", "exact_train", "exact_test")
BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
RECORDS = 10_000  # in each of the six batches
PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
REMOTE = Remote(
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    170_052_171,
)
CITATION = "CIFAR-10 (Krizhevsky 2009), no licence stated"
ARRAY_OF_BYTES = {  # the names in a pickled batch, as numpy 1 and 2 spell them
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
}


@dataclass(frozen=True)
class Checksums:
    """SHA-256 of what is read.

    Attributes:
        batches: of the binary records of each batch, by name.
        labels: of all labels, training images first.
        flagged: of all pixels of an npz with inexact images, by the SHA-256 of its flags.
    """

    batches: Mapping[str, str]
    labels: str
    flagged: Mapping[str, str] = field(default_factory=dict)


PUBLISHED = Checksums(
    batches={
        "data_batch_1": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
        "data_batch_2": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
        "data_batch_3": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
        "data_batch_4": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
        "data_batch_5": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
        "test_batch": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
    },
    labels="3edb456524d5918aefded81f5aef7c32efab2a788211df998a4eb0c8957baa1f",
    flagged={  # the 111 inexact images of the npz with which this project was developed
        "567513ae2c3519c2f6b2e5a93ce19e9600648ede9ff4f67ec26bc7da47ae9471": (
            "e8608a54512cbdb9a046e19d1a58e58bfffac4cbdb3e0195fb1b80b95d77ad4a"
        )
    },
)


def expected(root: Path | None = None) -> list[Path]:
    """The files that ``load`` will read: of the first version that is there, else the authors' binary archive."""
    folder = data_root(root, files=[f"cifar10/{BIN_ARCHIVE} (or cifar10/{NPZ})"]) / "cifar10"
    for name, archive, ending in ((BIN, BIN_ARCHIVE, ".bin"), (PY, PY_ARCHIVE, "")):
        if (folder / name).is_dir():
            return [folder / name / f"{batch}{ending}" for batch in BATCHES]
        if (folder / archive).exists():
            return [folder / archive]
    return [folder / (NPZ if (folder / NPZ).exists() else BIN_ARCHIVE)]


def download(root: Path | None = None) -> None:
    """Fetch the authors' binary archive, if no version is there."""
    paths = expected(root)
    if paths[0].name == BIN_ARCHIVE:
        fetch({paths[0]: REMOTE})


def load(*, root: Path | None = None, num_train: int | None = None) -> DataSet:
    """uint8 (60000, 3, 32, 32): A 40,000 and B 10,000 of the training images, C the 10,000 test images."""
    parts, source = read(require(expected(root)), records=RECORDS, checksums=PUBLISHED)
    note = f"{CITATION}; {source}"
    return assemble(parts, name="cifar10", num_classes=10, note=note, num_train=num_train, num_classifier=10_000)


def read(paths: Sequence[Path], *, records: int, checksums: Checksums) -> tuple[TrainTest, str]:
    """Read one of the five versions.

    Args:
        paths: what ``expected`` returned.
        records: images in each of the six batches, so 5 records train and records test images.
        checksums: of their content.

    Returns:
        The images, and a sentence on where they come from and how exact they are.
    """
    first = paths[0]
    if first.name == NPZ:
        parts = read_npz(first, records=records)
        return parts, _exactness(parts, checksums)
    python = first.name == PY_ARCHIVE or first.parent.name == PY
    archived = len(paths) == 1
    contents = _members(first, records) if archived else ((path.name, path.read_bytes()) for path in paths)
    where, batches = first.name if archived else first.parent.name, []
    for batch, (name, content) in zip(BATCHES, contents, strict=True):
        images, labels = (_unpickled if python else _records)(content, name, records)
        if not 0 <= labels.min() <= labels.max() <= 9:
            span = f"{labels.min()}..{labels.max()}"
            raise ValueError(f"{name}: labels must lie in 0..9, found {span}; get it again from {PAGE}")
        batches.append((images.reshape(records, *SHAPE), labels.astype(np.uint8)))
        _check_batch(*batches[-1], f"{batch} of {where}", checksums.batches[batch])
    (*train_images, test_images), (*train_labels, test_labels) = zip(*batches, strict=True)
    parts = TrainTest(np.concatenate(train_images), np.concatenate(train_labels), test_images, test_labels)
    return parts, f"authors' {'Python' if python else 'binary'} version, SHA-256 of every batch checked"


def _check_batch(images: np.ndarray, labels: np.ndarray, where: str, digest: str) -> None:
    records = np.concatenate([labels[:, None], images.reshape(len(images), PIXELS)], axis=1)
    verify(f"{where}: SHA-256 of its images and labels", _digest(records), digest, f"; get it again from {PAGE}")


def _members(path: Path, records: int) -> Iterator[tuple[str, bytes]]:
    """The six batches of an archive, by exact name; no other member is touched."""
    folder, ending = (BIN, ".bin") if path.name == BIN_ARCHIVE else (PY, "")
    most = records * (1 + PIXELS) if ending else 2 * records * (1 + PIXELS) + 100_000  # file names are pickled too
    try:
        with tarfile.open(path, "r:gz") as archive:
            for batch in BATCHES:
                name = f"{folder}/{batch}{ending}"
                member = archive.getmember(name)
                # the size is checked before reading, so a forged archive cannot fill the memory
                if not member.isreg() or member.size > most or (ending and member.size != most):
                    wanted = f"a plain file of {'' if ending else 'at most '}{most} bytes"
                    raise ValueError(f"{path.name}: {name} must be {wanted}")
                with cast("IO[bytes]", archive.extractfile(member)) as file:  # None of what is no plain file only
                    yield f"{path.name}: {name}", file.read()
    except KeyError:
        raise ValueError(f"{path.name}: holds no {name}; download it from {PAGE}") from None
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise ValueError(f"{path.name}: cut off or damaged ({error}); download it again from {PAGE}") from None


def _records(content: bytes, name: str, records: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (records, 3072) and labels (records,) of one binary batch."""
    if len(content) != records * (1 + PIXELS):
        size = f"{records} records of {1 + PIXELS} bytes"
        raise ValueError(f"{name}: must hold {size}, found {len(content)} bytes; get it again from {PAGE}")
    rows = np.frombuffer(content, np.uint8).reshape(records, 1 + PIXELS)
    return rows[:, 1:], rows[:, 0]


class ArrayUnpickler(pickle.Unpickler):
    """An unpickler of dictionaries, lists, numbers, texts and arrays: it knows the names of ARRAY_OF_BYTES alone."""

    def find_class(self, module: str, name: str) -> Callable:
        """One of the three names; any other raises pickle.UnpicklingError."""
        if (module, name) not in ARRAY_OF_BYTES:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no array needs: it was not executed")
        known: dict[str, Callable] = {"ndarray": np.ndarray, "dtype": np.dtype}
        return known.get(name) or cast("Callable", np.empty(0).__reduce__()[0])


def _unpickled(content: bytes, name: str, records: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (records, 3072) and labels (records,) of one pickled batch."""
    try:
        batch = ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
        images, labels = batch[b"data"], np.asarray(batch[b"labels"])
    except Exception as error:  # damage in a pickle is answered with a dozen kinds of exception
        raise ValueError(f"{name}: damaged or no batch of CIFAR-10 ({error!r}); get it again from {PAGE}") from None
    plain = type(images) is np.ndarray and (images.dtype, images.shape) == (np.uint8, (records, PIXELS))
    if not plain or labels.shape != (records,) or labels.dtype.kind != "i":
        raise ValueError(f"{name}: must hold uint8 ({records}, {PIXELS}) and as many labels; get it again from {PAGE}")
    return images, labels


def read_npz(path: Path, *, records: int) -> TrainTest:
    """The npz version with its flags of exactness; object arrays are refused, so nothing is executed."""
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
        n = records if name.endswith("test") else (len(BATCHES) - 1) * records
        shape = (n, *SHAPE) if name.startswith("x") else (n,)
        dtype = np.dtype(bool if name.startswith("exact") else np.uint8)
        if array.shape != shape or array.dtype != dtype:
            raise ValueError(f"{path.name}: {name} must be {dtype} {shape}, found {array.dtype} {array.shape}")
    x_train, y_train, x_test, y_test, exact_train, exact_test = (stored[name] for name in NPZ_ARRAYS)
    return TrainTest(x_train, y_train, x_test, y_test, np.concatenate([exact_train, exact_test]))


def _exactness(parts: TrainTest, checksums: Checksums) -> str:
    """Check the content of an npz as far as it can be, and say how exact it is."""
    images, labels = (parts.train_images, parts.test_images), (parts.train_labels, parts.test_labels)
    verify(f"{NPZ}: SHA-256 of its labels", _digest(*labels), checksums.labels, ": images are mislabelled")
    exact = np.asarray(parts.exact)  # an npz always has flags
    if exact.all():
        rows, classes = (np.split(np.concatenate(halves), len(BATCHES)) for halves in (images, labels))
        for k, batch in enumerate(BATCHES):
            _check_batch(rows[k], classes[k], f"{batch} of {NPZ}", checksums.batches[batch])
        return f"{NPZ}, every image flagged exact, SHA-256 of every batch checked"
    if known := checksums.flagged.get(_digest(exact)):
        verify(f"{NPZ}: SHA-256 of its pixels", _digest(*images), known, ", as of the file with these flags")
    train, test = (int((~half).sum()) for half in np.split(exact, [len(parts.train_labels)]))
    where = f"{train + test} of {len(exact)} images ({train} train, {test} test)"
    checked = "labels and pixels checked by SHA-256" if known else "labels checked by SHA-256, pixels not"
    return f"{NPZ}: {where} are JPEG copies at about 30 dB, not the authors' pixels; {checked}"


def _digest(*arrays: np.ndarray) -> str:
    total = sha256()
    for array in arrays:
        total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()
