"""The idx format: big-endian magic (0, 0, type, ndim), ndim sizes of 32 bits, then the array.

Source: LeCun, Cortes and Burges, "The MNIST database", file format section; type 8 is uint8. The four gzipped
files of MNIST and of the sets made in its likeness are checked by the MD5 of their *unpacked* bytes, because
the compression of a copy may differ.
"""

import gzip
import struct
import zlib
from collections.abc import Mapping
from hashlib import md5
from math import prod
from pathlib import Path

import numpy as np

from dpmot.data._train_test import TrainTest

FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def read_idx(path: Path, *, ndim: int, md5sum: str) -> np.ndarray:
    """One gzipped idx file of uint8.

    Args:
        path: the .gz file.
        ndim: 3 for images (n, H, W), 1 for labels (n,).
        md5sum: of the unpacked bytes.

    Raises:
        ValueError: the file is cut off, damaged or something else; names the file.
    """
    content = _unpack(path)
    header = 4 + 4 * ndim
    magic = bytes([0, 0, 8, ndim])
    if content[:4] != magic or len(content) < header:
        found = content[:4].hex() or "an empty file"
        raise ValueError(f"{path.name}: not an idx file of uint8 with {ndim} axes (magic {magic.hex()}), found {found}")
    sizes = struct.unpack(f">{ndim}I", content[4:header])
    if len(content) - header != prod(sizes):
        found = len(content) - header
        raise ValueError(f"{path.name}: its header announces {prod(sizes)} bytes, found {found}; download it again")
    found = md5(content, usedforsecurity=False).hexdigest()
    if found != md5sum:
        raise ValueError(f"{path.name}: MD5 of the unpacked file is {found}, not {md5sum}; download it again")
    return np.frombuffer(content, np.uint8, offset=header).reshape(sizes)


def _unpack(path: Path) -> bytes:
    try:
        with gzip.open(path) as file:
            return file.read()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path.name}: damaged or cut-off gzip file ({error}); download it again") from error


def read_train_test(folder: Path, *, md5sums: Mapping[str, str]) -> TrainTest:
    """The four files of a folder.

    Args:
        folder: holds ``FILES``.
        md5sums: of the unpacked bytes, by file name.

    Raises:
        ValueError: a file is damaged, or images and labels differ in number.
    """
    arrays = [read_idx(folder / name, ndim=3 if "images" in name else 1, md5sum=md5sums[name]) for name in FILES]
    train_images, train_labels, test_images, test_labels = arrays
    for images, labels, name in ((train_images, train_labels, FILES[0]), (test_images, test_labels, FILES[2])):
        if len(images) != len(labels):
            raise ValueError(f"{name}: {len(images)} images, but {len(labels)} labels in the file beside it")
    return TrainTest(train_images[:, None], train_labels, test_images[:, None], test_labels)
