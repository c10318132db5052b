"""Any folder of images, a zip archive of one, or an npz file: their middle squares, resized by an antialiased filter.

Images that all lie in subfolders have these as classes, sorted as torchvision's ImageFolder sorts them (10 before 2);
else there is one class. Folders that are all called train, val, test or the like are refused. Files are taken in
natural order of their names (2 before 10), and split in three equal parts, stratified by class. An npz file has one
array of images, uint8 or uint16, which keep their order, and may have labels beside it.
:mod:`dpmot.data._viewer` says how a picture is shown.
"""

import posixpath
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from dpmot.data import DataSet, check_integer, data_root, rare_classes, require, stratified_split
from dpmot.data._npz import Npz
from dpmot.data._pictures import Files, decoded, pictures_in, printable
from dpmot.data._viewer import FILTERS, Picture

LEAST = 3  # one image a part
LARGEST = 4096  # side in pixels
SHOWN = 5  # classes in the note
PARTS_OF_OTHERS = {"train", "training", "val", "valid", "validation", "dev", "eval", "test", "testing"}


def expected(root: Path | None = None, *, folder: str = "images") -> list[Path]:
    """The folder, or the archive or npz file of that name."""
    folder = str(Path(folder))  # without a slash at its end
    base = data_root(root, files=[f"{folder}/ or {folder}.zip or {folder}.npz"])
    others = [path for ending in (".zip", ".npz") if (path := base / f"{folder}{ending}").exists()]
    return [others[0] if others and not (base / folder).is_dir() else base / folder]


def check(
    *, folder: str = "images", size: int = 64, channels: int = 3, resize: str = "bicubic", num_train: int | None = None
) -> None:
    """A name, a side of 1..4096 pixels, 1 or 3 channels, a filter, and ``num_train`` of at least 1."""
    parts = Path(folder).parts
    if not parts or Path(folder).is_absolute() or ".." in parts or not folder.isprintable():
        raise ValueError(f"folder: {folder!r} is no name below the data root, e.g. images")
    check_integer("size", size, 1, LARGEST)
    if isinstance(channels, bool) or channels not in (1, 3):
        raise ValueError(f"channels: {channels!r} is not 1 (grey) or 3 (colour)")
    if resize not in FILTERS:
        raise ValueError(f"resize: {resize!r} is not one of {', '.join(FILTERS)}")
    check_integer("num_train", num_train, 1)


def image_shape(*, size: int = 64, channels: int = 3) -> tuple[int, int, int]:
    """(C, H, W)."""
    check(size=size, channels=channels)
    return channels, size, size


def load(
    *,
    root: Path | None = None,
    folder: str = "images",
    size: int = 64,
    channels: int = 3,
    resize: str = "bicubic",
    num_train: int | None = None,
) -> DataSet:
    """uint8 (N, channels, size, size), a third each of A, B and C.

    Args:
        root: data root.
        folder: below the root.
        size: side in pixels.
        channels: 1 grey or 3 colour.
        resize: a filter of Pillow, all antialiased: box, bilinear, hamming, bicubic or lanczos.
        num_train: images that stay in A.
    """
    check(folder=folder, size=size, channels=channels, resize=resize, num_train=num_train)
    (path,) = require(expected(root, folder=folder))
    picture = Picture((channels, size, size), resize=resize)
    source: Files | Npz = Npz(path, picture) if path.suffix.lower() == ".npz" else pictures_in(path, picture)
    if len(source) < LEAST:
        told = f"; {source.left}" if source.left else ""
        raise ValueError(f"{path}: holds {len(source)} images, at least {LEAST} are needed{told}")
    given = source.labels() if isinstance(source, Npz) else _folders(path, source.names)
    found, labels = np.unique(given, return_inverse=True)
    classes, split = [printable(str(name)) for name in found], stratified_split(labels)
    images, told = decoded(
        source,
        name=f"{path.stem}-{size}-{channels}-{resize}",
        options={"size": size, "channels": channels, "resize": resize},
    )
    note = f"{len(source)} images of {path.name}, middle square, {resize} to {size}x{size}; no public checksum"
    if len(classes) > 1:
        note += f"; {len(classes)} classes: {', '.join(classes[:SHOWN])}{', ...' if len(classes) > SHOWN else ''}"
    note = "; ".join(filter(None, [note, source.left, told, rare_classes(labels, split, classes)]))
    data = DataSet("folder", images, labels.astype(np.int64), split, len(classes), note)
    return data.subsampled(num_train)


def _folders(path: Path, names: Sequence[str]) -> list[str]:
    """The folder of each image below the one that holds all: its class."""
    above = [posixpath.dirname(unicodedata.normalize("NFC", name)) for name in names]
    top = posixpath.commonpath(above) if all(above) else ""
    first = {at[len(top) :].lstrip("/").partition("/")[0] for at in above}
    if len(first) > 1 and {name.lower() for name in first} <= PARTS_OF_OTHERS:
        raise ValueError(
            f"{path}: its folders {', '.join(sorted(first))} are parts of a data set, not classes, but images are "
            "split anew here: read one of them, or put all images of a class into one folder"
        )
    holding = {at or "." for at in above}
    for folder in sorted({*above} - {top}):
        if beside := {*map(str, PurePosixPath(folder).parents)} & holding:
            where = "at its top" if "." in beside else f"in {printable(min(beside))}"
            raise ValueError(
                f"{path}: images {where} lie beside the folder {printable(folder)}, so their class is not known: move "
                "them into a folder of their own, or all images into one"
            )
    return [at[len(top) :].lstrip("/") for at in above]
