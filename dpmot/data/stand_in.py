"""Stand-ins for images that are not at hand: smooth random patterns, one family a class, in any shape.

They let an experiment run end to end in the shape of its real data. No number made from them means anything, and
their note says so. An image is the coarse pattern of its class, a coarse pattern of its own, and fine noise.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dpmot.data import PARTS, DataSet, check_integer, check_sizes, generator

NOTE = "stand-in images, no number means anything"
COARSE = 4  # cells of a pattern along each side


def expected(root: Path | None = None) -> list[Path]:
    """No files: the images are drawn."""
    return []


def check(
    *, shape: Sequence[int] = (3, 32, 32), num_classes: int = 10, num_images: Sequence[int] = (256,) * 3, seed: int = 0
) -> None:
    """(C, H, W), at least one class, and three sizes that hold every class."""
    if len(shape) != 3:
        raise ValueError(f"shape: must be (C, H, W), got {list(shape)}")
    for side in shape:
        check_integer("shape", side, 1)
    check_integer("num_classes", num_classes, 1)
    check_sizes("num_images", num_images, least=num_classes)
    check_integer("seed", seed, 0)


def image_shape(*, shape: Sequence[int] = (3, 32, 32)) -> tuple[int, ...]:
    """As the options say."""
    check(shape=shape)
    return tuple(shape)


def load(
    *,
    root: Path | None = None,
    of: str = "no data set",
    shape: Sequence[int] = (3, 32, 32),
    num_classes: int = 10,
    num_images: Sequence[int] = (256, 256, 256),
    seed: int = 0,
) -> DataSet:
    """uint8 (sum of num_images, *shape).

    Args:
        of: the data set whose place they take.
        shape: (C, H, W).
        num_classes: K >= 1; the classes share each part evenly.
        num_images: size of A, B and C.
        seed: of the draw.
    """
    check(shape=shape, num_classes=num_classes, num_images=num_images, seed=seed)
    draw = generator(seed, "stand-in")
    labels = np.concatenate([np.arange(n, dtype=np.int64) % num_classes for n in num_images])
    channels, height, width = shape
    classes = draw.uniform(60, 195, (num_classes, channels, COARSE, COARSE))
    rows, columns = (np.arange(side) * COARSE // side for side in (height, width))
    images = np.empty((len(labels), *shape), np.uint8)
    for image, label in zip(images, labels, strict=True):
        pattern = classes[label] + draw.normal(0, 20, classes[label].shape)
        fine = draw.integers(-6, 7, shape)
        image[:] = (pattern[:, rows][:, :, columns] + fine).clip(0, 255)
    return DataSet(
        name="stand_in",
        images=images,
        labels=labels,
        split=np.repeat(PARTS, num_images),
        num_classes=num_classes,
        note=f"in the place of {of}: {NOTE}",
    )
