"""Image files, decoded once: pictures in fixed order, and their copy on disk as one memory-mapped uint8 array.

A source is a folder or a zip archive; :mod:`dpmot.data._npz` is another. Nothing is unpacked to disk: members of an
archive are read by name. Links of a folder are followed, wherever they lead; those of an archive are not. The copy
``<name>.npy`` lies beside a manifest that holds what it was made from and the SHA-256 of its content, which is compared
on every reading; of two processes that want it, one makes it and the other waits.
"""

import errno
import glob
import os
import posixpath
import re
import stat
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np
from tqdm import tqdm

from dpmot.data._viewer import DECODER, Picture
from dpmot.runtime.files import atomic, exclusive, read_json, write_json

ENDINGS = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)
HIDDEN = {  # left by systems, beside names that begin with a dot
    *("__macosx", "@eadir", "thumbs.db", "desktop.ini"),
    *("lost+found", "$recycle.bin", "system volume information"),
}
LARGEST = 1 << 28  # bytes of one image file; a forged archive cannot fill the memory
ROWS = 256  # images hashed at a time
SOME = 5  # kinds of files that a note names
CACHE = "DPMOT_CACHE"
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError)  # from reading an archive


class Source(Protocol):
    """Pictures in fixed order; the identity changes when they do."""

    @property
    def path(self) -> Path: ...
    @property
    def shape(self) -> tuple[int, int, int]: ...
    def __len__(self) -> int: ...
    def identity(self) -> list: ...
    def images(self) -> Iterator[tuple[np.ndarray, list[str]]]: ...


@dataclass(frozen=True)
class Files:
    """Image files of a folder, by relative name, or members of a zip archive.

    Attributes:
        verify: asked once before an archive is read.
        left: what else lies there and is not read, in words.
    """

    path: Path
    names: Sequence[str]
    picture: Picture
    verify: Callable[[Path], None] = lambda path: None
    left: str = ""

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.picture.shape

    def __len__(self) -> int:
        return len(self.names)

    def identity(self) -> list:
        """Name, size and time of change of every file, or checksum of every member; one that is missing is named."""
        if not self.path.is_dir():
            with opened(self.path) as archive:
                infos = self._infos(archive)
            return [[name, info.file_size, info.CRC] for name, info in zip(self.names, infos, strict=True)]
        try:
            facts = [(name, (self.path / name).stat()) for name in self.names]
        except OSError as error:
            raise ValueError(f"{printable(str(error.filename))}: {error.strerror}; get it again") from None
        for name, fact in facts:
            if not stat.S_ISREG(fact.st_mode):
                raise ValueError(f"{printable(str(self.path / name))}: is no plain file; remove it")
        return [[name, fact.st_size, fact.st_mtime_ns] for name, fact in facts]

    def images(self) -> Iterator[tuple[np.ndarray, list[str]]]:
        """Decode one after the other."""
        for content, where in self.contents():
            yield self.picture.decode(content, where)

    def contents(self) -> Iterator[tuple[bytes, str]]:
        """Bytes and name of one after the other."""
        return self._of_folder() if self.path.is_dir() else self._of_archive()

    def _of_folder(self) -> Iterator[tuple[bytes, str]]:
        for name in self.names:
            file, where = self.path / name, printable(str(self.path / name))
            try:
                _check_size(file.stat().st_size, where)
                content = file.read_bytes()
            except OSError as error:
                raise ValueError(f"{where}: {error.strerror}; get it again") from None
            yield content, where

    def _of_archive(self) -> Iterator[tuple[bytes, str]]:
        self.verify(self.path)
        with opened(self.path) as archive:
            for name, info in zip(self.names, self._infos(archive), strict=True):
                where = f"{self.path.name}: {printable(name)}"
                _check_size(info.file_size, where)
                try:
                    content = archive.read(info)  # zipfile compares each member's checksum
                except DAMAGED as error:
                    raise ValueError(f"{where}: damaged ({error}); download it again") from None
                yield content, where

    def _infos(self, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
        found = members(archive)
        for name in self.names:
            if name not in found:
                raise ValueError(f"{self.path.name}: holds no {printable(name)}; get it again")
        return [found[name] for name in self.names]


def _check_size(size: int, where: str) -> None:
    if size > LARGEST:
        raise ValueError(f"{where}: announces {size} bytes, more than an image has")


def printable(name: str) -> str:
    """A name as it is, or escaped where it has line ends or bytes that are no text."""
    return name if name.isprintable() else ascii(name)


def members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Files, and folders with a slash at their end, by name: plain slashes, nothing that leads out, each file once."""
    found: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        stored = info.filename.replace("\\", "/")  # as some tools of Windows write it
        name = posixpath.normpath(f"/{stored}").lstrip("/")
        if _hidden(name):
            continue
        if stored.endswith("/"):
            found[f"{name}/"] = info
            continue
        where = Path(str(archive.filename)).name
        if name in found:
            raise ValueError(f"{where}: holds {printable(name)} twice; keep one of them")
        if info.flag_bits & 1:
            raise ValueError(f"{where}: {printable(name)} is encrypted; store it without")
        found[name] = info
    return found


def opened(path: Path) -> zipfile.ZipFile:
    """A zip archive; a file that is none, or is cut off, is refused by name."""
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise ValueError(f"{path.name}: damaged, cut off or no zip file ({error}); get it again") from None


def pictures_in(path: Path, picture: Picture) -> Files:
    """All image files of a folder or a zip archive, in natural order of their names: 2.png before 10.png."""
    if path.is_dir():
        names = list(_walk(path))
    else:
        with opened(path) as archive:
            names = list(members(archive))
    return Files(path, sorted(filter(_is_picture, names), key=_natural), picture, left=_left(names))


def _walk(folder: Path) -> Iterator[str]:
    """As :func:`members`, links followed; one that leads back, or nowhere, is refused."""
    for at, folders, files in os.walk(folder, followlinks=True, onerror=_raise):
        here = Path(at)
        folders[:] = [name for name in folders if not _hidden(name)]
        above = {(folder / part).resolve() for part in (here.relative_to(folder), *here.relative_to(folder).parents)}
        for name in folders:
            if (here / name).is_symlink() and (here / name).resolve() in above:
                raise ValueError(f"{printable(str(here / name))}: a link that leads back to where it lies; remove it")
            yield f"{(here / name).relative_to(folder).as_posix()}/"
        for name in filter(lambda name: not _hidden(name), files):
            if not _is_picture(name) and not (here / name).exists():  # often a folder of images that is not there
                raise ValueError(f"{printable(str(here / name))}: a link that leads nowhere; mend or remove it")
            yield (here / name).relative_to(folder).as_posix()


def _raise(error: OSError) -> None:
    raise error


def _is_picture(name: str) -> bool:
    return name.lower().endswith(ENDINGS)


def _hidden(name: str) -> bool:
    return any(part.startswith(".") or part.lower() in HIDDEN for part in PurePosixPath(name).parts)


def _natural(name: str) -> tuple[list[str | tuple[int, str]], str]:
    """Numbers by value; one order for both ways to store accents, and for names that are the same but for zeros."""
    parts = re.split(r"0*([0-9]+)", unicodedata.normalize("NFC", name))
    return [(len(part), part) if k % 2 else part for k, part in enumerate(parts)], name


def _left(names: Sequence[str]) -> str:
    """What is not read: "12 of 18 files read; 6 .svg in owl/ are not; nothing in cat/"; empty where all is."""
    files = [name for name in names if not name.endswith("/")]
    holding = {f"{at}/" for above in {PurePosixPath(name).parent for name in files} for at in (above, *above.parents)}
    empty = [printable(name) for name in names if name.endswith("/") and name not in holding]
    nothing = f"nothing in {', '.join(sorted(empty)[:SOME])}{', ...' if empty[SOME:] else ''}" if empty else ""
    return "; ".join(filter(None, [_unread(files), nothing]))


def _unread(files: Sequence[str]) -> str:
    paths = [PurePosixPath(name) for name in files if not _is_picture(name)]
    if not paths:
        return ""
    counts = Counter((str(path.parent), path.suffix.lower() or "without ending") for path in paths)
    order = sorted(counts, key=lambda kind: (-counts[kind], kind))
    some = [
        f"{counts[at, kind]} {printable(kind)}" + ("" if at == "." else f" in {printable(at)}/")
        for at, kind in order[:SOME]
    ]
    if more := sum(counts[kind] for kind in order[SOME:]):
        some.append(f"{more} more")
    return f"{len(files) - len(paths)} of {len(files)} files read; {', '.join(some)} are not"


def decoded(source: Source, *, name: str, options: Mapping) -> tuple[np.ndarray, str]:
    """The pictures of a source as one read-only, memory-mapped array uint8 (N, *shape), and what was done to show them.

    It lies in the folder of the variable DPMOT_CACHE, or in ``.decoded`` beside the source.

    Args:
        source: what is decoded where there is no copy, or the copy is of something else.
        name: of the copy.
        options: what the decoding depends on.

    Returns:
        The images, and a sentence for the note of a data set: "" or "3 of 12 turned by the orientation tag".

    Raises:
        ValueError: a picture is damaged or of another size, or the copy is damaged; names the file.
        OSError: the copy cannot be written; says what to set.
    """
    folder = Path(os.environ.get(CACHE) or source.path.parent / ".decoded")
    file, manifest = folder / f"{name}.npy", folder / f"{name}.json"
    digest = sha256(repr(source.identity()).encode()).hexdigest()
    shape = [len(source), *source.shape]
    made_from = {"shape": shape, "options": dict(options), "source": digest, "decoder": DECODER}

    def made() -> dict:
        facts = read_json(manifest) if file.exists() and manifest.exists() else {}
        return facts if made_from.items() <= facts.items() else {}

    def read(facts: dict) -> tuple[np.ndarray, str]:
        told = [f"{number} of {len(source)} {what}" for what, number in facts["told"].items()]
        return _mapped(file, facts["sha256"]), ", ".join(told)

    try:
        if facts := made():
            with suppress(ValueError):  # without a lock another process may have been between the two files
                return read(facts)
        with exclusive(file):
            if not (facts := made()):
                told = _decode(source, file)
                facts = {**made_from, "told": told, "sha256": _content(np.load(file, mmap_mode="r"))}
                write_json(manifest, facts)
            return read(facts)
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


def _decode(source: Source, file: Path) -> Counter[str]:
    """Write the copy; how often what was done to show a picture."""
    for left in file.parent.glob(f".{glob.escape(file.name)}.*.tmp"):  # by a process that was killed: we hold the lock
        left.unlink()
    counts: Counter[str] = Counter()
    with atomic(file) as temporary, temporary.open("wb") as raw:
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(source), *source.shape)}
        np.lib.format.write_array_header_1_0(raw, header)
        for image, told in tqdm(source.images(), total=len(source), desc=file.stem, unit="image", mininterval=5):
            counts.update(told)
            raw.write(np.ascontiguousarray(image).data)
    return counts


def _content(images: np.ndarray) -> str:
    digest = sha256(repr(images.shape).encode())
    for first in range(0, len(images), ROWS):
        digest.update(np.ascontiguousarray(images[first : first + ROWS]).data)
    return digest.hexdigest()
