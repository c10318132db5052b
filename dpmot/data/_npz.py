"""The images of an npz file, and their labels, whatever stands beside them; no object is unpickled."""

import io
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from dpmot.data._pictures import DAMAGED, opened, printable
from dpmot.data._viewer import CUT, Picture, shown

LABEL, HEADER = 2**14, 2**16  # most bytes of an image's label, and beside all labels
CHANNELS = (1, 3, 4)
IMAGES = ("images", "image", "imgs", "x", "data", "arr_0")  # names, where several arrays could be images
LABELS = ("labels", "label", "y", "targets", "target", "classes", "class", "arr_1")


class _Header(NamedTuple):
    """Shape and type of an array, and whether its first axis, not its last, varies fastest in the file."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool


@dataclass(frozen=True)
class Npz:
    """The images of an npz file, read row by row, whatever stands beside them: (N, H, W), or with channels.

    They are uint8, or uint16 with white at 65535 as in a file of 16 bits; floats are refused: nothing says their white.
    """

    path: Path
    picture: Picture

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.picture.shape

    def __len__(self) -> int:
        return self._images()[1].shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of its images."""
        _, header, axis = self._images()
        return size_of(header.shape, axis)

    @property
    def left(self) -> str:
        """The arrays that are not read, in words."""
        read = {self._images()[0], self._named_labels()}
        others = [printable(name) for name in self._headers() if name not in read]
        return f"not read: {', '.join(others)}" if others else ""

    def identity(self) -> list:
        """Name, size and checksum of every array."""
        with opened(self.path) as archive:
            return [[info.filename, info.file_size, info.CRC] for info in archive.infolist()]

    def levels(self) -> Iterator[tuple[np.ndarray, list[str]]]:
        """One row after the other as :meth:`images`, of its own size: uint8 (H, W) or (3, H, W), and what was done.

        Rows that are levels already need no picture to be made of them, which takes ten times as long.
        """
        name, header, axis = self._images()
        channels = 1 if axis is None else header.shape[axis]
        if header.dtype != np.uint8 or channels not in (1, 3):
            yield from self.images()
            return
        for row in self._array(name) if header.fortran else self._rows(name, header):
            levels = row if axis is None else np.moveaxis(row, axis - 1, 0)
            yield levels[0] if levels.ndim == 3 and channels == 1 else levels, []

    def floats(self) -> np.ndarray | None:
        """The one array of floats that can be the images, as it is stored; None where none, or several, can be."""
        shaped = [name for name, one in self._headers().items() if one and one.dtype.kind == "f" and len(one.shape) > 1]
        named = [name for name in shaped if Path(name).stem.lower() in IMAGES] or shaped
        return self._array(named[0]) if len(named) == 1 else None

    def _headers(self) -> dict[str, _Header | None]:
        """Header of every array, None of what is no plain one."""
        found: dict[str, _Header | None] = {}
        with opened(self.path) as archive:
            for info in archive.infolist():
                if info.filename in found:
                    raise ValueError(f"{self.path.name}: holds {info.filename} twice; keep one of them")
                found[info.filename] = None
                with suppress(*DAMAGED), archive.open(info) as file:
                    found[info.filename] = _npy_header(file, info.file_size)
        return found

    def _images(self) -> tuple[str, _Header, int | None]:
        """Name, header, and the axis of its channels, if any, of the one array that can be the images."""
        headers = self._headers()
        called = [name for name in headers if Path(name).stem.lower() in IMAGES[:3]]
        shaped = [  # of any type: where the images are floats, masks of uint8 beside them are not the images
            (name, header, axis)
            for name, header in headers.items()
            if header and all(header.shape[1:]) and name in (called or headers)
            for axis in channel_axes(header.shape)
            if self.picture.given in (None, size_of(header.shape, axis))
        ]
        shaped = [one for one in shaped if Path(one[0]).stem.lower() in IMAGES] or shaped
        fitting = [one for one in shaped if one[1].dtype == np.uint8] or [
            one for one in shaped if one[1].dtype.kind == "u" and one[1].dtype.itemsize == 2
        ]
        grey = all(axis is None for _, _, axis in fitting)
        if len(fitting) != 1 or (grey and any(axis is not None for _, _, axis in shaped)):
            raise ValueError(self._none(headers))
        return fitting[0]

    def _none(self, headers: Mapping[str, _Header | None]) -> str:
        size = "" if self.picture.given is None else " of {}x{} pixels".format(*self.picture.given)
        shapes = "(N, H, W, C), (N, C, H, W) or (N, H, W) with C 1, 3 or 4"
        arrays = [
            f"{name} {one.dtype} {one.shape}" if one else f"{name}, no plain array" for name, one in headers.items()
        ]
        return (
            f"{self.path.name}: must hold one uint8 array{size}, {shapes}, or one of uint16, found "
            f"{'; '.join(arrays) or 'nothing'}; keep one of several; store other levels as 0..255 in uint8"
        )

    def _named_labels(self) -> str | None:
        """The array of a label's name with a row for each image; whatever is called labels, where there is none."""
        images, header, _ = self._images()
        named = {name: one for name, one in self._headers().items() if Path(name).stem.lower() in LABELS}
        named.pop(images, None)
        rows = header.shape[:1]
        fitting = [name for name, one in named.items() if one and one.shape[:1] == rows and len(one.shape) <= 2]
        fitting = fitting or [name for name in named if Path(name).stem.lower() in LABELS[:2]]
        if len(fitting) > 1:
            raise ValueError(f"{self.path.name}: {', '.join(fitting)} could all be labels; keep one of them")
        return fitting[0] if fitting else None

    def _array(self, name: str, most: float = math.inf) -> np.ndarray:
        try:
            with opened(self.path) as archive:  # whole: numpy alone need not compare the checksum
                if (size := archive.getinfo(name).file_size) > most:
                    raise ValueError(f"it announces {size} bytes, more than labels have")
                return np.load(io.BytesIO(archive.read(name)), allow_pickle=False)
        except DAMAGED as error:
            raise ValueError(f"{self.path.name}: {name} is damaged or no plain array ({error})") from None

    def labels(self) -> np.ndarray:
        """Label of each image (N,): whole numbers or texts, the place of the 1 in rows of classes, 0 without labels.

        Raises:
            ValueError: several arrays are called labels, or they are no labels of the images.
        """
        name, n = self._named_labels(), len(self)
        if name is None:
            return np.zeros(n, np.int64)
        stored = self._array(name, most=HEADER + n * LABEL)
        labels = stored[:, 0] if stored.shape == (n, 1) else stored
        if labels.ndim == 2 and ((labels == 1).sum(axis=1) == 1).all() and np.count_nonzero(labels) == n:
            labels = labels.argmax(axis=1)
        if labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels == np.round(labels)).all():
            labels = labels.astype(np.int64)
        if labels.dtype.kind == "S":
            labels = np.char.decode(labels, "utf-8", "backslashreplace")
        if labels.shape != (n,) or labels.dtype.kind not in "uibU":
            wanted = f"whole numbers or texts ({n},) or ({n}, 1), or rows with a single 1 ({n}, K)"
            found = f"{stored.dtype} {stored.shape}"
            raise ValueError(f"{self.path.name}: {name} must hold {wanted}, found {found}; rename or remove it")
        return labels

    def images(self) -> Iterator[tuple[np.ndarray, list[str]]]:
        """One row after the other; zipfile compares the checksum after the last."""
        from PIL import Image

        name, header, axis = self._images()
        wide, highest = header.dtype.itemsize == 2, 0
        for k, row in enumerate(self._array(name) if header.fortran else self._rows(name, header)):
            row = row if axis is None else np.moveaxis(row, axis - 1, 2)
            if wide:
                highest, row = max(highest, int(row.max())), (row >> 8).astype(np.uint8)
            pixels, told = shown(Image.fromarray(row[:, :, 0] if row.shape[2:] == (1,) else row))
            yield self.picture.fit(pixels, [*told, CUT] if wide else told, f"{self.path.name}: {name}, image {k}")
        if wide and highest < 256:
            raise ValueError(
                f"{self.path.name}: {name} is {header.dtype}, but its levels end at {highest}; store uint8"
            )

    def _rows(self, name: str, header: _Header) -> Iterator[np.ndarray]:
        count, *shape = header.shape
        size = int(np.prod(shape)) * header.dtype.itemsize
        try:
            with opened(self.path) as archive, archive.open(name) as file:
                _npy_header(file)
                for _ in range(count):
                    content = file.read(size)
                    if len(content) != size:
                        raise ValueError("it ends before its last image")
                    yield np.frombuffer(content, header.dtype).reshape(shape)
                if file.read(1):
                    raise ValueError("it goes on after its last image")
        except DAMAGED as error:
            raise ValueError(f"{self.path.name}: damaged or cut off ({error}); get it again") from None


def channel_axes(shape: tuple[int, ...]) -> list[int | None]:
    """What can be the axis of the channels of images of this shape, None where grey images have none."""
    if len(shape) == 4:
        return [axis for axis in (3, 1) if shape[axis] in CHANNELS]
    return [None] if len(shape) == 3 and shape[2] not in CHANNELS else []  # (H, W, 3) is a single image


def size_of(shape: tuple[int, ...], axis: int | None) -> tuple[int, int]:
    """(H, W) in pixels of images (n, ...) whose channels lie along ``axis``; None: channels have no axis."""
    height, width = (side for k, side in enumerate(shape) if k not in (0, axis))
    return width, height


def _npy_header(file: IO[bytes], size: float = math.inf) -> _Header | None:
    """None of an array of objects, which would be unpickled, or of more bytes than the ``size`` of its file."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    whole = min(shape, default=0) >= 0 and math.prod(shape) * dtype.itemsize <= size
    return _Header(shape, dtype, fortran) if whole and not dtype.hasobject else None
