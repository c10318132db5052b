"""Image files, decoded once: a source of pictures in fixed order, and its memory-mapped copy as one uint8 array.

A source is a folder, a zip archive or an npz file. Nothing is unpacked to disk: members of an archive are read by
name, and a file of a folder must lie inside it. The copy ``<name>.npy`` lies beside a manifest that holds what it was
made from and the SHA-256 of its content, which is compared on every reading; of two processes that want it, one makes
it and the other waits.
"""

import errno
import io
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO

import numpy as np
from tqdm import tqdm

from dpmot.runtime.files import atomic, exclusive, read_json, write_json

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
LARGEST = 1 << 26  # bytes of one image file; a forged archive cannot fill the memory
ROWS = 256  # images hashed at a time
CACHE = "DPMOT_CACHE"
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError)  # from reading an archive
FILTERS = ("box", "bilinear", "hamming", "bicubic", "lanczos")  # Pillow's, all of them antialiased


@dataclass(frozen=True)
class Picture:
    """How the bytes of one file become an array.

    Attributes:
        shape: (C, H, W) of the result, C = 1 or 3.
        given: (width, height) that the file must have; None: any.
        crop: (left, top, right, bottom) in pixels; None: the largest square in the middle.
        resize: one of ``FILTERS``.
    """

    shape: tuple[int, int, int]
    given: tuple[int, int] | None = None
    crop: tuple[int, int, int, int] | None = None
    resize: str = "bilinear"

    def decode(self, content: bytes, name: str) -> np.ndarray:
        """uint8 (C, H, W).

        Raises:
            ValueError: no image, damaged, or of another size; names the file.
        """
        from PIL import Image, UnidentifiedImageError  # here: plans look at no picture

        try:
            with Image.open(io.BytesIO(content)) as picture:
                picture.verify()  # the checksums of a PNG, which reading alone does not compare; it ends the reading
            with Image.open(io.BytesIO(content)) as picture:
                pixels = picture.convert("L" if self.shape[0] == 1 else "RGB")
        except UnidentifiedImageError:
            raise ValueError(f"{name}: no image, or its first bytes are damaged; get it again") from None
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise ValueError(f"{name}: damaged or cut off ({error}); get it again") from None
        if self.given not in (None, pixels.size):
            wanted, size = ("{}x{}".format(*sides) for sides in (self.given, pixels.size))
            raise ValueError(f"{name}: must be {wanted} pixels, found {size}")
        channels, height, width = self.shape
        pixels = pixels.crop(self.crop or _square(*pixels.size))
        if pixels.size != (width, height):
            pixels = pixels.resize((width, height), Image.Resampling[self.resize.upper()])
        return np.asarray(pixels).reshape(height, width, channels).transpose(2, 0, 1)


def _square(width: int, height: int) -> tuple[int, int, int, int]:
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


@dataclass(frozen=True)
class Files:
    """Image files of a folder, by relative name, or members of a zip archive.

    ``verify`` is asked once before an archive is read.
    """

    path: Path
    names: Sequence[str]
    picture: Picture
    verify: Callable[[Path], None] = lambda path: None

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.picture.shape

    def __len__(self) -> int:
        return len(self.names)

    def identity(self) -> list:
        """Name, size and time of change of every file, or checksum of every member; one that is missing is named."""
        if not self.path.is_dir():
            with opened(self.path) as archive:
                members = [self._member(archive, name) for name in self.names]
            return [[name, info.file_size, info.CRC] for name, info in zip(self.names, members, strict=True)]
        try:
            facts = [(name, (self.path / name).stat()) for name in self.names]
        except OSError as error:
            raise ValueError(f"{error.filename}: {error.strerror}; get it again") from None
        return [[name, fact.st_size, fact.st_mtime_ns] for name, fact in facts]

    def images(self) -> Iterator[np.ndarray]:
        """Decode one after the other; a file that lies outside the folder is refused."""
        for content, where in self._of_folder() if self.path.is_dir() else self._of_archive():
            yield self.picture.decode(content, where)

    def _of_folder(self) -> Iterator[tuple[bytes, str]]:
        root = self.path.resolve()
        for name in self.names:
            file = (root / name).resolve()
            if not file.is_relative_to(root):
                raise ValueError(f"{self.path / name}: lies outside the folder, at {file}")
            yield file.read_bytes(), str(self.path / name)

    def _of_archive(self) -> Iterator[tuple[bytes, str]]:
        self.verify(self.path)
        with opened(self.path) as archive:
            for name in self.names:
                info, where = self._member(archive, name), f"{self.path.name}: {name}"
                if info.file_size > LARGEST:
                    raise ValueError(f"{where}: announces {info.file_size} bytes, more than an image has")
                try:
                    content = archive.read(info)  # zipfile compares each member's checksum
                except DAMAGED as error:
                    raise ValueError(f"{where}: damaged ({error}); download it again") from None
                yield content, where

    def _member(self, archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
        try:
            return archive.getinfo(name)
        except KeyError:
            raise ValueError(f"{self.path.name}: holds no {name}; get it again") from None


@dataclass(frozen=True)
class Npz:
    """The one array uint8 (N, H, W, C) or (N, C, H, W) of an npz file, read row by row; no object is unpickled."""

    path: Path
    shape: tuple[int, int, int]

    def __len__(self) -> int:
        return self._header()[1][0]

    def identity(self) -> list:
        """Name, size and checksum of the array."""
        with opened(self.path) as archive:
            return [[info.filename, info.file_size, info.CRC] for info in archive.infolist()]

    def _header(self) -> tuple[zipfile.ZipInfo, tuple[int, ...]]:
        arrays = []
        with opened(self.path) as archive:
            for info in archive.infolist():
                with archive.open(info) as file:
                    arrays.append((info, *_npy_header(file, f"{self.path.name}: {info.filename}")))
        channels, height, width = self.shape
        allowed = ((height, width, channels), self.shape)
        fitting = [(info, shape) for info, shape, dtype in arrays if shape[1:] in allowed and dtype == np.uint8]
        if len(fitting) != 1:
            shown = ", ".join(f"{info.filename} {dtype} {shape}" for info, shape, dtype in arrays) or "nothing"
            wanted = f"one uint8 array (N, {', '.join(map(str, allowed[0]))}), or with channels first"
            raise ValueError(f"{self.path.name}: must hold {wanted}, found {shown}")
        return fitting[0]

    def images(self) -> Iterator[np.ndarray]:
        """One row after the other; zipfile compares the checksum after the last."""
        info, shape = self._header()
        size, last = int(np.prod(shape[1:])), shape[1:] == (*self.shape[1:], self.shape[0])
        with opened(self.path) as archive, archive.open(info) as file:
            _npy_header(file, f"{self.path.name}: {info.filename}")
            try:
                for _ in range(shape[0]):
                    content = file.read(size)
                    if len(content) != size:
                        raise ValueError("it ends before its last image")
                    row = np.frombuffer(content, np.uint8).reshape(shape[1:])
                    yield row.transpose(2, 0, 1) if last else row
                if file.read(1):
                    raise ValueError("it goes on after its last image")
            except DAMAGED as error:
                raise ValueError(f"{self.path.name}: damaged or cut off ({error}); get it again") from None


Source = Files | Npz  # pictures in fixed order; the identity changes when they do


def _npy_header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype]:
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except DAMAGED as error:
        raise ValueError(f"{name}: no plain array ({' '.join(str(error).split())})") from None
    if fortran or dtype.hasobject:
        raise ValueError(f"{name}: must be a plain array in C order")
    return shape, dtype


def opened(path: Path) -> zipfile.ZipFile:
    """A zip archive; a file that is none, or is cut off, is refused by name."""
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise ValueError(f"{path.name}: damaged, cut off or no zip file ({error}); get it again") from None


def pictures_in(path: Path, picture: Picture) -> Files:
    """All image files of a folder or a zip archive, in natural order of their names: 2.png before 10.png."""
    if path.is_dir():
        files = (Path(at, name).relative_to(path) for at, _, names in os.walk(path) for name in names)
        names = [file.as_posix() for file in files if not any(part.startswith(".") for part in file.parts)]
    else:
        with opened(path) as archive:
            names = [name for name in archive.namelist() if not Path(name).name.startswith(".")]
    pictures = [name for name in names if name.lower().endswith(ENDINGS)]
    return Files(path, sorted(pictures, key=_natural), picture)


def _natural(name: str) -> list[int | str]:
    return [int(one) if one.isdigit() else one for one in re.split(r"(\d+)", name)]


def decoded(source: Source, *, name: str, options: Mapping) -> np.ndarray:
    """The pictures of a source as one read-only, memory-mapped array uint8 (N, *shape).

    It lies in the folder of the variable DPMOT_CACHE, or in ``.decoded`` beside the source.

    Args:
        source: what is decoded where there is no copy, or the copy is of something else.
        name: of the copy.
        options: what the decoding depends on.

    Raises:
        ValueError: a picture is damaged or of another size, or the copy is damaged; names the file.
        OSError: the copy cannot be written; says what to set.
    """
    folder = Path(os.environ.get(CACHE) or source.path.parent / ".decoded")
    file, manifest = folder / f"{name}.npy", folder / f"{name}.json"
    digest = sha256(repr(source.identity()).encode()).hexdigest()
    made_from = {"shape": [len(source), *source.shape], "options": dict(options), "source": digest}

    def made() -> bool:
        return file.exists() and manifest.exists() and made_from.items() <= read_json(manifest).items()

    try:
        if made():
            with suppress(ValueError):  # without a lock another process may have been between the two files
                return _mapped(file, read_json(manifest)["sha256"])
        with exclusive(file):
            if not made():
                _decode(source, file)
                write_json(manifest, {**made_from, "sha256": _content(np.load(file, mmap_mode="r"))})
            return _mapped(file, read_json(manifest)["sha256"])
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise OSError(f"{folder} cannot be written: set {CACHE} to a folder for decoded images") from None
        raise


def _mapped(file: Path, digest: str) -> np.ndarray:
    with suppress(ValueError, EOFError):  # numpy's words for a file that is cut off
        images = np.load(file, mmap_mode="r", allow_pickle=False)
        if _content(images) == digest:
            return images
    raise ValueError(f"{file} is damaged: its content is not what was decoded; delete it and run again")


def _decode(source: Source, file: Path) -> None:
    for left in file.parent.glob(f".{file.name}.*.tmp"):  # by a process that was killed: we hold the lock
        left.unlink()
    with atomic(file) as temporary, temporary.open("wb") as raw:
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(source), *source.shape)}
        np.lib.format.write_array_header_1_0(raw, header)
        for image in tqdm(source.images(), total=len(source), desc=file.stem, unit="image", mininterval=5):
            raw.write(np.ascontiguousarray(image).data)


def _content(images: np.ndarray) -> str:
    digest = sha256(repr(images.shape).encode())
    for first in range(0, len(images), ROWS):
        digest.update(np.ascontiguousarray(images[first : first + ROWS]).data)
    return digest.hexdigest()
