"""The images of an npz file, and their labels, whatever stands beside them; no object is unpickled."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from dpmot.data._pictures import DAMAGED, opened
from dpmot.data._viewer import Picture, shown

CHANNELS = (1, 3, 4)
IMAGES = ("images", "image", "imgs", "x", "data", "arr_0")  # names, where several arrays could be images
LABELS = ("labels", "label", "y", "targets", "target", "classes", "class", "arr_1")


@dataclass(frozen=True)
class Npz:
    """The images of an npz file, read row by row, whatever stands beside them: uint8 (N, H, W), or with channels."""

    path: Path
    picture: Picture

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.picture.shape

    def __len__(self) -> int:
        return self._images()[1][0]

    @property
    def left(self) -> str:
        """The arrays that are not read, in words."""
        read = {self._images()[0], self._named_labels()}
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

    def _images(self) -> tuple[str, tuple[int, ...], int | None]:
        """Name, shape, and the axis of its channels, if any, of the one array that can be the images."""
        headers = self._headers()
        fitting = [
            (name, header[0], axis)
            for name, header in headers.items()
            if header is not None and header[1] == np.uint8
            for axis in {3: (None,), 4: (3, 1)}.get(len(header[0]), ())
            if axis is None or header[0][axis] in CHANNELS
            if self.picture.given in (None, _size(header[0], axis))
        ]
        if len(fitting) > 1:
            fitting = [one for one in fitting if Path(one[0]).stem.lower() in IMAGES] or fitting
        if len(fitting) != 1:
            found = [f"{name} {one[1]} {one[0]}" if one else f"{name}, no plain array" for name, one in headers.items()]
            size = "" if self.picture.given is None else " of {}x{} pixels".format(*self.picture.given)
            wanted = f"one uint8 array{size}, (N, H, W, C), (N, C, H, W) or (N, H, W) with C 1, 3 or 4"
            remedy = "keep one of several; store other levels as 0..255 in uint8"
            raise ValueError(f"{self.path.name}: must hold {wanted}, found {'; '.join(found) or 'nothing'}; {remedy}")
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

        name, shape, axis = self._images()
        for k, content in enumerate(self._rows(name, shape)):
            row = np.frombuffer(content, np.uint8).reshape(shape[1:])
            row = row if axis is None else np.moveaxis(row, axis - 1, 2)
            pixels, told = shown(Image.fromarray(row[:, :, 0] if row.shape[2:] == (1,) else row))
            yield self.picture.fit(pixels, told, f"{self.path.name}: {name}, image {k}")

    def _rows(self, name: str, shape: tuple[int, ...]) -> Iterator[bytes]:
        size = int(np.prod(shape[1:]))
        try:
            with opened(self.path) as archive, archive.open(name) as file:
                _npy_header(file)
                for _ in range(shape[0]):
                    content = file.read(size)
                    if len(content) != size:
                        raise ValueError("it ends before its last image")
                    yield content
                if file.read(1):
                    raise ValueError("it goes on after its last image")
        except DAMAGED as error:
            raise ValueError(f"{self.path.name}: damaged or cut off ({error}); get it again") from None


def _size(shape: tuple[int, ...], axis: int | None) -> tuple[int, int]:
    height, width = (side for k, side in enumerate(shape) if k not in (0, axis))
    return width, height


def _npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype] | None:
    """Shape and type of an array; None of objects, which would be unpickled, and of another order of its numbers."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    return None if fortran or dtype.hasobject else (shape, dtype)
