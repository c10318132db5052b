"""The idx format: big-endian magic (0, 0, type, ndim), ndim sizes of 32 bits, then the array.

Source: LeCun, Cortes and Burges, "The MNIST database", file format section; type 8 is uint8. The four gzipped
files of MNIST and of the sets made in its likeness are checked by the MD5 of their *unpacked* bytes, because
the compression of a copy may differ.
"""

import gzip
import struct
import zlib
from dataclasses import dataclass
from hashlib import md5
from math import prod
from pathlib import Path

import numpy as np

from dpmot.data import DataSet, check_integer, data_root, published, require, verify
from dpmot.data._download import Remote
from dpmot.data._download import download as fetch

FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
LARGEST = 2**26  # bytes of an array: the 60,000 images of the published sets are 47 million


def read_idx(path: Path, *, ndim: int, md5sum: str) -> np.ndarray:
    """One gzipped idx file of uint8, of 3 axes (n, H, W) or 1 (n,); ``md5sum`` is of its unpacked bytes."""
    try:
        with gzip.open(path) as file:
            header, sizes = _header(file, path.name, ndim)
            content = file.read(prod(sizes) + 1)  # one more shows whether it goes on
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path.name}: damaged or cut-off gzip file ({error}); download it again") from error
    if len(content) != prod(sizes):
        found = f"found {len(content)}" if len(content) < prod(sizes) else "it goes on after them"
        raise ValueError(f"{path.name}: its header announces {prod(sizes)} bytes, {found}; download it again")
    digest = md5(header + content, usedforsecurity=False).hexdigest()
    verify(f"{path.name}: MD5 of the unpacked file", digest, md5sum, "; download it again")
    return np.frombuffer(content, np.uint8).reshape(sizes)


def _header(file: gzip.GzipFile, name: str, ndim: int) -> tuple[bytes, tuple[int, ...]]:
    """The header and the sizes it announces: read first, so that no forged file fills the memory."""
    header, magic = file.read(4 + 4 * ndim), bytes([0, 0, 8, ndim])
    if header[:4] != magic or len(header) < 4 + 4 * ndim:
        begins = header[:4].hex() or "an empty file"
        raise ValueError(f"{name}: not an idx file of uint8 with {ndim} axes (magic {magic.hex()}), found {begins}")
    sizes = struct.unpack(f">{ndim}I", header[4:])
    if prod(sizes) > LARGEST:
        raise ValueError(f"{name}: its header announces {prod(sizes)} bytes, more than {LARGEST}; download it again")
    return header, sizes


@dataclass(frozen=True)
class IdxSet:
    """A published set of four idx.gz files: 60,000 training images and 10,000 test images."""

    name: str
    folder: str  # below the data root
    address: str  # where the files are published
    sums: tuple[tuple[str, str, int], ...]  # of each: MD5 of the unpacked bytes, SHA-256 and size as published
    note: str

    def expected(self, root: Path | None = None) -> list[Path]:
        """The four files."""
        files = [f"{self.folder}/{name}" for name in FILES]
        return [data_root(root, files=files) / name for name in files]

    def download(self, root: Path | None = None) -> None:
        """Fetch those of the four files that are missing."""
        files = zip(self.expected(root), self.sums, strict=True)
        fetch({path: Remote(f"{self.address}/{path.name}", sha256, size) for path, (_, sha256, size) in files})

    def check(self, *, num_train: int | None = None) -> None:
        """``num_train`` in 1..50,000."""
        check_integer("num_train", num_train, 1, 50_000)

    def load(self, *, root: Path | None = None, num_train: int | None = None) -> DataSet:
        """uint8 (70000, 1, 28, 28): A 50,000 and B 10,000 of the training images, C the 10,000 test images."""
        self.check(num_train=num_train)
        paths = require(self.expected(root))
        arrays = [
            read_idx(path, ndim=3 if "images" in path.name else 1, md5sum=md5sum)
            for path, (md5sum, _, _) in zip(paths, self.sums, strict=True)
        ]
        for path, images, labels in zip(paths[::2], arrays[::2], arrays[1::2], strict=True):
            if len(images) != len(labels):
                raise ValueError(f"{path.name}: {len(images)} images, but {len(labels)} labels in the file beside it")
        images, labels = np.concatenate(arrays[::2])[:, None], np.concatenate(arrays[1::2])
        return published(self.name, images, labels, num_test=len(arrays[3]), num_train=num_train, note=self.note)
