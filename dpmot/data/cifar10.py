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
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import IO, cast

import numpy as np

from dpmot.data import DataSet, check_integer, data_root, published, require, verify
from dpmot.data._download import Remote
from dpmot.data._download import download as fetch

SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32
BIN, BIN_ARCHIVE = "cifar-10-batches-bin", "cifar-10-binary.tar.gz"
PY, PY_ARCHIVE = "cifar-10-batches-py", "cifar-10-python.tar.gz"
NPZ = "cifar10.npz"
KINDS, HALVES = ("x", "y", "exact"), ("train", "test")
NPZ_ARRAYS = tuple(f"{kind}_{half}" for kind in KINDS for half in HALVES)
BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
RECORDS = 10_000  # in each of the six batches
LARGEST = 5 * RECORDS * PIXELS + 1000  # bytes of an array of the npz version, with its header
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


BATCH_SUMS = (  # SHA-256 of the binary records of each batch
    "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
)
LABEL_SUM = "3edb456524d5918aefded81f5aef7c32efab2a788211df998a4eb0c8957baa1f"  # of all labels, training images first
FLAGGED_SUMS = {  # of the flags and all pixels of the npz with which this project was developed: 111 are inexact
    "567513ae2c3519c2f6b2e5a93ce19e9600648ede9ff4f67ec26bc7da47ae9471": (
        "e8608a54512cbdb9a046e19d1a58e58bfffac4cbdb3e0195fb1b80b95d77ad4a"
    )
}


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


def check(*, num_train: int | None = None) -> None:
    """``num_train`` in 1..40,000."""
    check_integer("num_train", num_train, 1, 40_000)


def load(*, root: Path | None = None, num_train: int | None = None) -> DataSet:
    """uint8 (60000, 3, 32, 32): A 40,000 and B 10,000 of the training images, C the 10,000 test images."""
    check(num_train=num_train)
    images, labels, exact, source = read(require(expected(root)))
    note = f"{CITATION}; {source}"
    return published("cifar10", images, labels, num_test=RECORDS, num_train=num_train, note=note, exact=exact)


def read(paths: Sequence[Path]) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, str]:
    """Read one of the five versions, of the files that ``expected`` returned.

    Returns:
        Images uint8 (N, 3, 32, 32) and labels (N,), training images first; flags of exactness or None; and a sentence
        on where they come from and how exact they are.
    """
    first = paths[0]
    if first.name == NPZ:
        images, labels, exact = read_npz(first)
        return images, labels, exact, _exactness(images, labels, exact)
    python = first.name == PY_ARCHIVE or first.parent.name == PY
    archived = len(paths) == 1
    contents = _members(first) if archived else ((path.name, path.read_bytes()) for path in paths)
    pixels, classes = zip(
        *((_unpickled if python else _records)(content, name) for name, content in contents), strict=True
    )
    images, labels = np.concatenate(pixels).reshape(-1, *SHAPE), np.concatenate(classes)
    _check_batches(images, labels, first.name if archived else first.parent.name)
    return images, labels, None, f"authors' {'Python' if python else 'binary'} version, SHA-256 of every batch checked"


def _check_batches(images: np.ndarray, labels: np.ndarray, where: str) -> None:
    records = np.concatenate([labels[:, None], images.reshape(-1, PIXELS)], axis=1)
    for batch, rows, digest in zip(BATCHES, np.split(records, len(BATCHES)), BATCH_SUMS, strict=True):
        what = f"{batch} of {where}: SHA-256 of its images and labels"
        verify(what, _digest(rows), digest, f"; get it again from {PAGE}")


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """The six batches of an archive, by exact name; no other member is touched."""
    folder, ending = (BIN, ".bin") if path.name == BIN_ARCHIVE else (PY, "")
    most = RECORDS * (1 + PIXELS) if ending else 2 * RECORDS * (1 + PIXELS) + 100_000  # file names are pickled too
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


def _records(content: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (records, 3072) and labels (records,) of one binary batch."""
    if len(content) != RECORDS * (1 + PIXELS):
        size = f"{RECORDS} records of {1 + PIXELS} bytes"
        raise ValueError(f"{name}: must hold {size}, found {len(content)} bytes; get it again from {PAGE}")
    rows = np.frombuffer(content, np.uint8).reshape(RECORDS, 1 + PIXELS)
    return rows[:, 1:], _classes(rows[:, 0], name)


class ArrayUnpickler(pickle.Unpickler):
    """An unpickler of dictionaries, lists, numbers, texts and arrays: it knows the names of ARRAY_OF_BYTES alone."""

    def find_class(self, module: str, name: str) -> Callable:
        """One of the three names; any other raises pickle.UnpicklingError."""
        if (module, name) not in ARRAY_OF_BYTES:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no array needs: it was not executed")
        known: dict[str, Callable] = {"ndarray": np.ndarray, "dtype": np.dtype}
        return known.get(name) or cast("Callable", np.empty(0).__reduce__()[0])


def _unpickled(content: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (records, 3072) and labels (records,) of one pickled batch."""
    try:
        batch = ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
        images, labels = batch[b"data"], np.asarray(batch[b"labels"])
    except Exception as error:  # damage in a pickle is answered with a dozen kinds of exception
        raise ValueError(f"{name}: damaged or no batch of CIFAR-10 ({error!r}); get it again from {PAGE}") from None
    plain = type(images) is np.ndarray and (images.dtype, images.shape) == (np.uint8, (RECORDS, PIXELS))
    if not plain or labels.shape != (RECORDS,) or labels.dtype.kind != "i":
        raise ValueError(f"{name}: must hold uint8 ({RECORDS}, {PIXELS}) and as many labels; get it again from {PAGE}")
    return images, _classes(labels, name)


def _classes(labels: np.ndarray, name: str) -> np.ndarray:
    if not 0 <= labels.min() <= labels.max() <= 9:
        span = f"{labels.min()}..{labels.max()}"
        raise ValueError(f"{name}: labels must lie in 0..9, found {span}; get it again from {PAGE}")
    return labels.astype(np.uint8)


def read_npz(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, labels and flags of exactness of the npz version; object arrays are refused, so nothing is executed."""
    try:
        with zipfile.ZipFile(path) as archive:  # numpy alone stops reading before a member's checksum is compared
            if large := [info.filename for info in archive.infolist() if info.file_size > LARGEST]:
                raise ValueError(f"{large[0]} announces more bytes than the images have")
            if damaged := archive.testzip():
                raise ValueError(f"the checksum of {damaged} differs")
        with np.load(path, allow_pickle=False) as arrays:
            stored = {name: arrays[name] for name in NPZ_ARRAYS}
    except KeyError as error:
        raise ValueError(f"{path.name}: {error.args[0]}; it must hold {', '.join(NPZ_ARRAYS)}") from error
    except Exception as error:  # numpy and zipfile answer damage with a dozen kinds of exception
        raise ValueError(f"{path.name}: damaged, cut off or no plain npz file ({error})") from error
    for name, array in stored.items():
        n = RECORDS if name.endswith("test") else (len(BATCHES) - 1) * RECORDS
        shape = (n, *SHAPE) if name.startswith("x") else (n,)
        dtype = np.dtype(bool if name.startswith("exact") else np.uint8)
        if array.shape != shape or array.dtype != dtype:
            raise ValueError(f"{path.name}: {name} must be {dtype} {shape}, found {array.dtype} {array.shape}")
    images, labels, exact = (np.concatenate([stored[f"{kind}_{half}"] for half in HALVES]) for kind in KINDS)
    return images, labels, exact


def _exactness(images: np.ndarray, labels: np.ndarray, exact: np.ndarray) -> str:
    """Check the content of an npz as far as it can be, and say how exact it is."""
    verify(f"{NPZ}: SHA-256 of its labels", _digest(labels), LABEL_SUM, ": images are mislabelled")
    if exact.all():
        _check_batches(images, labels, NPZ)
        return f"{NPZ}, every image flagged exact, SHA-256 of every batch checked"
    if known := FLAGGED_SUMS.get(_digest(exact)):
        verify(f"{NPZ}: SHA-256 of its pixels", _digest(images), known, ", as of the file with these flags")
    train, test = int((~exact[:-RECORDS]).sum()), int((~exact[-RECORDS:]).sum())
    where = f"{train + test} of {len(exact)} images ({train} train, {test} test)"
    checked = "labels and pixels checked by SHA-256" if known else "labels checked by SHA-256, pixels not"
    return f"{NPZ}: {where} are JPEG copies at about 30 dB, not the authors' pixels; {checked}"


def _digest(array: np.ndarray) -> str:
    return sha256(np.ascontiguousarray(array).data).hexdigest()
