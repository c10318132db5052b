"""Any folder of images, or a zip archive of one: the largest square in the middle, resized by an antialiased filter.

Images that all lie in subfolders have these as classes, in the order of their names; else there is one class. Files
are taken in natural order of their names, and split in three equal parts, stratified by class.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dpmot.data import DataSet, check_integer, check_num_train, data_root, require, stratified_split
from dpmot.data._pictures import FILTERS, Picture, decoded, pictures_in

LEAST = 3  # one image a part
LARGEST = 4096  # side in pixels


def expected(root: Path | None = None, *, folder: str = "images") -> list[Path]:
    """The folder, or the archive of that name."""
    base = data_root(root, files=[f"{folder}/ or {folder}.zip"])
    archive = base / f"{folder}.zip"
    return [archive if archive.exists() and not (base / folder).is_dir() else base / folder]


def check(
    *,
    folder: str = "images",
    size: int = 64,
    channels: int = 3,
    resize: str = "bicubic",
    num_train: int | None = None,
) -> None:
    """A name, a side of 1..4096 pixels, 1 or 3 channels, a filter, and ``num_train`` of at least 1."""
    if not folder or Path(folder).is_absolute() or ".." in Path(folder).parts:
        raise ValueError(f"folder: {folder!r} is no name below the data root, e.g. images")
    check_integer("size", size, 1, LARGEST)
    if isinstance(channels, bool) or channels not in (1, 3):
        raise ValueError(f"channels: {channels!r} is not 1 (grey) or 3 (colour)")
    if resize not in FILTERS:
        raise ValueError(f"resize: {resize!r} is not one of {', '.join(FILTERS)}")
    check_num_train(num_train)


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
    source = pictures_in(path, Picture((channels, size, size), resize=resize))
    if len(source) < LEAST:
        raise ValueError(f"{path}: holds {len(source)} images, at least {LEAST} are needed")
    labels = _labels(source.names)
    return DataSet(
        name="folder",
        images=decoded(
            source,
            name=f"{path.stem}-{size}-{channels}-{resize}",
            options={"size": size, "channels": channels, "resize": resize},
        ),
        labels=labels,
        split=stratified_split(labels),
        num_classes=int(labels.max()) + 1,
        note=f"{len(source)} images of {path.name}, middle square, {resize} to {size}x{size}; no public checksum",
    ).subsampled(num_train)


def _labels(names: Sequence[str]) -> np.ndarray:
    above = [name.rpartition("/")[0] for name in names]
    if not all(above):
        return np.zeros(len(names), np.int64)
    return np.unique(above, return_inverse=True)[1].astype(np.int64)
