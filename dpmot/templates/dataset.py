"""Bars: 8x8 grey images of one bright bar, class 0 horizontal, class 1 vertical, at a random place and brightness."""

from pathlib import Path

import numpy as np

from dpmot.data import DataSet, stratified_split
from dpmot.seeds import generator


def expected(root: Path | None = None) -> list[Path]:
    """No files: the images are drawn."""
    return []


def load(*, root: Path | None = None, num_images: int = 900, seed: int = 0) -> DataSet:
    """uint8 (num_images, 1, 8, 8).

    Args:
        root: not used; a set with files looks for them here.
        num_images: N.
        seed: of the draw.
    """
    draw = generator(seed, "template_name")
    labels = np.arange(num_images, dtype=np.int64) % 2
    images = draw.integers(0, 40, size=(num_images, 1, 8, 8)).astype(np.uint8)
    for image, label, place in zip(images, labels, draw.integers(8, size=num_images), strict=True):
        image[(0, place) if label == 0 else (0, slice(None), place)] = draw.integers(180, 256)
    split = stratified_split(labels)
    return DataSet("template_name", images, labels, split, num_classes=2, note="bars, drawn")
