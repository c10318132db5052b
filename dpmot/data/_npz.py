"""The images of an npz file, and their labels, whatever stands beside them; no object is unpickled."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from dpmot.data._pictures import DAMAGED, opened
from dpmot.data._viewer import Picture, shown

CHANNELS = (1, 3, 4)
IMAGES = ("images", "image", "imgs", "x", "data", "arr_0")  # names, where several arrays could be images
LABELS = ("labels", "label", "y", "targets", "target", "classes", "class", "arr_1")


class Array(NamedTuple):
    """How an array of an npz file could be images: of which shape, and on which axis its channels are, if any."""

    member: str
    shape: tuple[int, ...]
    size: tuple[int, int]  # (width, height)
    channels: int | None


@dataclass(frozen=True)
class Npz:
    """The images of an npz file, read row by row, whatever stands beside them: uint8 (N, H, W), or with channels."""

    path: Path
    picture: Picture

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.picture.shape

    def __len__(self) -> int:
        return self._images().shape[0]

    @property
    def left(self) -> str:
        """The arrays that are not read, in words."""
        read = {self._images().member, self._named_labels()}
        others = [name for name in self._headers() if name not in read]
        return f"not read: {', '.join(others)}" if others else ""

    def identity(self) -> list:
        """Name, size and checksum of every array."""
        with opened(self.path) as archive:
            return [[info.filename, info.file_size, info.CRC] for info in archive.infolist()]

    def _headers(self) -> dict[str, tuple[tuple[int, ...], np.dtype] | None]:
        """Shape and type of every array, None of what is no plain one."""
        found: dict[str, tuple[tuple[int, ...], np.dtype] | None] = {}
        with opened(self.path) as archive:
            for info in archive.infolist():
                found[info.filename] = None
                with suppress(*DAMAGED), archive.open(info) as file:
                    found[info.filename] = _npy_header(file)
        return found

    def _images(self) -> Array:
        headers, fitting = self._headers(), []
        for name, header in headers.items():
            if header is not None and header[1] == np.uint8:
                fitting += [one for one in _layouts(name, header[0]) if self.picture.given in (None, one.size)]
        if len(fitting) > 1:
            fitting = [one for one in fitting if Path(one.member).stem.lower() in IMAGES] or fitting
        if len(fitting) != 1:
            shown = [
                f"{name} {header[1]} {header[0]}" if header else f"{name}, no plain array"
                for name, header in headers.items()
            ]
            size = "" if self.picture.given is None else " of {}x{} pixels".format(*self.picture.given)
            wanted = f"one uint8 array{size}, (N, H, W, C), (N, C, H, W) or (N, H, W) with C 1, 3 or 4"
            remedy = "keep one of several; store other levels as 0..255 in uint8"
            raise ValueError(f"{self.path.name}: must hold {wanted}, found {'; '.join(shown) or 'nothing'}; {remedy}")
        return fitting[0]

    def _named_labels(self) -> str | None:
        named = [name for name in self._headers() if Path(name).stem.lower() in LABELS]
        if len(named) > 1:
            raise ValueError(f"{self.path.name}: {', '.join(named)} could all be labels; keep one of them")
        return named[0] if named else None

    def labels(self) -> np.ndarray:
        """Label of each image (N,): as stored, the place of the 1 in rows of classes, or 0 where no array is so called.

        Raises:
            ValueError: several arrays are called labels, or they are no labels of the images.
        """
        name, n = self._named_labels(), len(self)
        if name is None:
            return np.zeros(n, np.int64)
        try:
            with np.load(self.path, allow_pickle=False) as arrays:
                stored = arrays[name.removesuffix(".npy")]
        except DAMAGED as error:
            raise ValueError(f"{self.path.name}: {name} is damaged or no plain array ({error})") from None
        labels = stored[:, 0] if stored.shape == (n, 1) else stored
        if labels.ndim == 2 and ((labels == 1).sum(axis=1) == 1).all() and np.count_nonzero(labels) == n:
            labels = labels.argmax(axis=1)
        whole = labels.dtype.kind in "uibSU" or (labels.dtype.kind == "f" and (labels == np.round(labels)).all())
        if labels.shape != (n,) or not whole:
            wanted = f"whole numbers or texts ({n},) or ({n}, 1), or rows with a single 1 ({n}, K)"
            raise ValueError(f"{self.path.name}: {name} must hold {wanted}, found {stored.dtype} {stored.shape}")
        return labels

    def images(self) -> Iterator[tuple[np.ndarray, list[str]]]:
        """One row after the other; zipfile compares the checksum after the last."""
        from PIL import Image

        array = self._images()
        for k, content in enumerate(self._rows(array)):
            row = np.frombuffer(content, np.uint8).reshape(array.shape[1:])
            row = row if array.channels is None else np.moveaxis(row, array.channels - 1, 2)
            pixels, told = shown(Image.fromarray(row[:, :, 0] if row.shape[2:] == (1,) else row))
            yield self.picture.fit(pixels, told, f"{self.path.name}: {array.member}, image {k}")

    def _rows(self, array: Array) -> Iterator[bytes]:
        size = int(np.prod(array.shape[1:]))
        try:
            with opened(self.path) as archive, archive.open(array.member) as file:
                _npy_header(file)
                for _ in range(array.shape[0]):
                    content = file.read(size)
                    if len(content) != size:
                        raise ValueError("it ends before its last image")
                    yield content
                if file.read(1):
                    raise ValueError("it goes on after its last image")
        except DAMAGED as error:
            raise ValueError(f"{self.path.name}: damaged or cut off ({error}); get it again") from None


def _layouts(name: str, shape: tuple[int, ...]) -> list[Array]:
    if len(shape) == 3:
        return [Array(name, shape, (shape[2], shape[1]), None)]
    last = [Array(name, shape, (shape[2], shape[1]), 3)] if len(shape) == 4 and shape[3] in CHANNELS else []
    first = [Array(name, shape, (shape[3], shape[2]), 1)] if len(shape) == 4 and shape[1] in CHANNELS else []
    return last + first


def _npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype] | None:
    """Shape and type of an array; None of objects, which would be unpickled, and of another order of its numbers."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    return None if fortran or dtype.hasobject else (shape, dtype)
