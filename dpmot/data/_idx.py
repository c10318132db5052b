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


def read_idx(path: Path, *, ndim: int, md5sum: str) -> np.ndarray:
    """One gzipped idx file of uint8, of 3 axes (n, H, W) or 1 (n,); ``md5sum`` is of its unpacked bytes."""
    try:
        content = gzip.decompress(path.read_bytes())
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path.name}: damaged or cut-off gzip file ({error}); download it again") from error
    header = 4 + 4 * ndim
    magic = bytes([0, 0, 8, ndim])
    if content[:4] != magic or len(content) < header:
        begins = content[:4].hex() or "an empty file"
        raise ValueError(
            f"{path.name}: not an idx file of uint8 with {ndim} axes (magic {magic.hex()}), found {begins}"
        )
    sizes = struct.unpack(f">{ndim}I", content[4:header])
    if (length := len(content) - header) != prod(sizes):
        raise ValueError(f"{path.name}: its header announces {prod(sizes)} bytes, found {length}; download it again")
    digest = md5(content, usedforsecurity=False).hexdigest()
    verify(f"{path.name}: MD5 of the unpacked file", digest, md5sum, "; download it again")
    return np.frombuffer(content, np.uint8, offset=header).reshape(sizes)


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
