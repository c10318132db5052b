"""Images that a user hands over, in whatever form, as one array: what networks of others have drawn, or real ones.

A folder or zip archive of image files, an npz file (ADM's: ``arr_0``, (N, H, W, C) uint8), an npy or safetensors file,
an array or a tensor. Nothing is resized, cropped or guessed: sizes must agree, floats need the range of their values,
and where (N, C, H, W) and (N, H, W, C) cannot be told apart that is said. Whether images are grey or in colour is asked
of their pixels, because many tools store grey ones with three equal channels. The same images give the same bytes in
every form. No file is unpickled.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from dpmot.data._arrays import FORMS, Range, RangeWanted, Row, as_array, check_range, check_type, layout, rows_of
from dpmot.data._npz import Npz, size_of
from dpmot.data._pictures import pictures_in, printable
from dpmot.data._viewer import Picture, opened
from dpmot.runtime.fingerprint import file_digest

if TYPE_CHECKING:
    from torch import Tensor

    Source = str | Path | np.ndarray | Tensor


HASHED, HASHED_FILES = 1 << 25, 1000  # bytes and files whose content is read for every plan: a tenth of a second


@dataclass(frozen=True, eq=False)
class Given:
    """Images as they are measured.

    Attributes:
        images: uint8 (N, C, H, W), C = 1 or 3; or points, float32 (N, d).
        notes: what a reader of their numbers should know, one sentence each.
        scaled: whether they were floats of the range that was stated.
    """

    images: np.ndarray
    notes: tuple[str, ...] = ()
    scaled: bool = False

    @property
    def sha256(self) -> str:
        """Hash of the images, whatever form they came in; 64 hex digits, computed on each call."""
        content = sha256(f"{self.images.dtype.str}{self.images.shape}".encode())
        content.update(np.ascontiguousarray(self.images).data)
        return content.hexdigest()


def read(
    source: "Source",
    *,
    shape: Sequence[int] | None = None,
    values: Range | None = None,
    least: int = 1,
    most: int | None = None,
    mixed: bool = False,
    name: str = "samples",
) -> Given:
    """Read images.

    Args:
        source: a path, an array or a tensor.
        shape: (C, H, W) that each image must have, or (d,) of a point; None: that of the first.
        values: range of the values of floats, one of ``RANGES``; must be None where they are integers.
        mixed: the range is that of several sources, of which some may be integers.
        least: fewest that are allowed.
        most: take the first so many; None: all.
        name: begins every message.

    Raises:
        ValueError: another form, type, shape or number, values outside the range, or a damaged file; one line.
        OSError: a file cannot be read.
    """
    where = printable(str(source)) if isinstance(source, str | Path) else type(source).__name__
    said = name if where in name else f"{name} ({where})"
    check_range(values, said)
    if mixed and values is not None:
        with suppress(RangeWanted):
            return read(source, shape=shape, least=least, most=most, name=name)
    found = _of_path(Path(source), shape, values, said) if isinstance(source, str | Path) else as_array(source, said)
    if isinstance(found, np.ndarray):
        if found.ndim == 2 or (shape is not None and len(shape) == 1):
            return _points(found, shape, values, least, most, said)
        found = _Rows.of_array(found, shape, values, said)
    if found.count < least:
        left = f"; {found.left}" if found.left else ""
        raise ValueError(f"{said}: holds {found.count} images, at least {least} are needed{left}")
    return replace(_whole(found, shape, most, said), scaled=values is not None)


def file_state(path: Path) -> list:
    """What changes when a file, or one of a folder's images, is exchanged.

    The hash of the content, up to ``HASHED`` bytes in ``HASHED_FILES`` files. Of more: sizes, inodes, and the times at
    which content and inode were changed, of which nobody sets the last; a file that is only touched counts as another.

    Raises:
        ValueError: there is nothing that can be read, in one line.
    """
    _check_kind(path, printable(str(path)))
    files = {"": path}
    if path.is_dir():
        found = pictures_in(path, Picture((3, 1, 1)))
        found.identity()  # names what cannot be read
        files = {name: path / name for name in found.names}
    facts = [(name, file.stat()) for name, file in files.items()]
    if len(files) <= HASHED_FILES and sum(fact.st_size for _, fact in facts) <= HASHED:
        return [[name, file_digest(file)] for name, file in files.items()]
    return [[name, fact.st_size, fact.st_ino, fact.st_mtime_ns, fact.st_ctime_ns] for name, fact in facts]


def file_sha256(path: Path) -> str:
    """Hash of a file, or of the bytes of a folder's images in the order of their names; 64 hex digits."""
    content = sha256()
    if path.is_dir():
        for one, _ in pictures_in(path, Picture((3, 1, 1))).contents():
            content.update(one)
    else:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                content.update(block)
    return content.hexdigest()


@dataclass(frozen=True)
class _Rows:
    """Images one after the other, of one size (width, height)."""

    count: int
    size: tuple[int, int]
    rows: Iterator[Row]
    left: str = ""
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of_array(cls, array: np.ndarray, shape: Sequence[int] | None, values: Range | None, said: str) -> "_Rows":
        """An array of images, of uint8 or of floats in a range."""
        check_type(array, values, said)
        axis = layout(array, shape, said)
        return cls(len(array), size_of(array.shape, axis), rows_of(array, axis, values, said))


def _check_kind(path: Path, said: str) -> None:
    if not path.exists():
        raise ValueError(f"{said}: there is no such file or folder; give {FORMS}")
    if path.is_file() and path.suffix.lower() not in (".zip", ".npz", ".npy", ".safetensors"):
        told = "may hold code and is not opened; " if path.suffix.lower() in (".pt", ".pth", ".pkl", ".pickle") else ""
        raise ValueError(f"{said}: {told}give {FORMS}, e.g. numpy.savez_compressed('samples.npz', images)")


def _of_path(path: Path, shape: Sequence[int] | None, values: Range | None, said: str) -> "np.ndarray | _Rows":
    _check_kind(path, said)
    ending = path.suffix.lower()
    if path.is_dir() or ending == ".zip":
        if values is not None:
            raise ValueError(f"{said}: a range is of floats, image files hold levels; leave it out")
        return _of_files(path, said)
    if ending == ".npz":
        return _of_npz(path, shape, values, said)
    if ending == ".safetensors":
        return _tensor_of(path, said)
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{said}: no plain array, damaged or cut off ({error}); save it again") from None


def _of_files(path: Path, said: str) -> _Rows:
    files = pictures_in(path, Picture((3, 1, 1)))
    if not files.names:
        raise ValueError(f"{said}: holds no images{'; ' * bool(files.left)}{files.left}; give {FORMS}")
    first, _ = opened(*next(iter(files.contents())))
    notes = [files.left] * bool(files.left)
    return _Rows(len(files), first.size, replace(files, picture=_exact(first.size)).images(), files.left, notes)


def _exact(size: tuple[int, int]) -> Picture:
    """Pictures of that width and height as they are, in three channels."""
    return Picture((3, size[1], size[0]), given=size, crop=(0, 0, *size))


def _of_npz(path: Path, shape: Sequence[int] | None, values: Range | None, said: str) -> "np.ndarray | _Rows":
    npz, points = Npz(path, Picture((3, 1, 1))), shape is not None and len(shape) == 1
    if (values is not None or points) and (floats := npz.floats()) is not None:
        return floats
    try:
        size = npz.size
    except ValueError as error:
        if shape is None or len(shape) == 1 or npz.floats() is not None:
            if npz.floats() is not None:
                raise RangeWanted(said, "its images are floats") from None
            raise ValueError(f"{said}: {error}") from None
        size = (shape[2], shape[1])  # which of several arrays holds the images
    npz = replace(npz, picture=_exact(size))
    if values is not None:
        raise ValueError(f"{said}: a range is of floats, its images are integers; leave it out")
    return _Rows(len(npz), size, npz.levels(), npz.left, [npz.left] * bool(npz.left))


def _tensor_of(path: Path, said: str) -> np.ndarray:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            shaped = [name for name in names if len(file.get_slice(name).get_shape()) in (2, 3, 4)]
            called = [name for name in shaped if name.rpartition("/")[2] in ("images", "samples")] or shaped
            if len(called) != 1:
                told = ", ".join(printable(name) for name in names[:8]) + (", ..." if names[8:] else "")
                raise ValueError(f"{said}: must hold one tensor of images, found {told or 'nothing'}; save one alone")
            return as_array(file.get_tensor(called[0]), said)
    except SafetensorError as error:
        raise ValueError(f"{said}: no safetensors file, or damaged ({error}); save it again") from None


def _whole(found: _Rows, shape: Sequence[int] | None, most: int | None, said: str) -> Given:
    """All rows in one array; grey or in colour by their pixels."""
    width, height = found.size
    if shape is not None and len(shape) != 3:
        raise ValueError(f"{said}: must hold points, floats (N, {shape[0]}), found images")
    if shape is not None and (height, width) != tuple(shape[1:]):
        wanted = f"must be {shape[2]} x {shape[1]} pixels, found {width} x {height}"
        raise ValueError(f"{said}: {wanted}; resize them yourself, the filter is part of every number")
    count = min(found.count, most or found.count)
    channels = 3 if shape is None else shape[0]
    images, coloured = np.empty((count, channels, height, width), np.uint8), False
    told = dict.fromkeys(found.notes, 0)
    rows = zip(range(count), found.rows, strict=False)
    for k, (row, done) in tqdm(rows, total=count, desc=said[:60], unit="image", delay=2, mininterval=1):
        if channels == 1 or not coloured:  # one image in colour tells that all are
            coloured = row.ndim == 3 and not bool((row[0] == row[1]).all() and (row[0] == row[2]).all())
        if coloured and channels == 1:
            raise ValueError(f"{said}: image {k} is in colour, the images it is compared with are grey")
        images[k] = row if row.ndim == 2 or channels == 3 else row[:1]
        for one in done:
            told[one] = told.get(one, 0) + 1
    if not coloured and channels == 3:
        if shape is not None:
            raise ValueError(f"{said}: all its images are grey, those it is compared with are in colour")
        images = np.ascontiguousarray(images[:, :1])
    notes = [f"{said}: {f'{number} of {count} {what}' if number else what}" for what, number in told.items()]
    low, high = int(images.min()), int(images.max())
    if high - low <= 128:
        notes.append(f"{said}: levels lie in {low}..{high} of 0..255 only: is that what was drawn?")
    return Given(images, tuple(notes))


def _points(
    array: np.ndarray, shape: Sequence[int] | None, values: Range | None, least: int, most: int | None, said: str
) -> Given:
    """Points (N, d), float32."""
    if shape is not None and len(shape) == 3:
        wanted = f"(N, {', '.join(map(str, shape))})"
        raise ValueError(f"{said}: must hold images {wanted}, got {array.dtype} {array.shape}; reshape them")
    d = array.shape[1] if shape is None and array.ndim == 2 else shape and shape[0]
    if array.dtype.kind != "f" or array.ndim != 2 or (shape is not None and tuple(array.shape[1:]) != tuple(shape)):
        raise ValueError(f"{said}: must hold floats (N, {d or 'd'}), got {array.dtype} {array.shape}")
    if values is not None:
        raise ValueError(f"{said}: a range is of images, these are points; leave it out")
    points = np.array(array[:most], dtype=np.float32)
    if len(points) < least:
        raise ValueError(f"{said}: holds {len(points)} points, at least {least} are needed")
    if not np.isfinite(points).all():
        bad = int((~np.isfinite(points)).any(axis=1).sum())
        raise ValueError(f"{said}: {bad} of {len(points)} points are NaN or infinite")
    return Given(points)
