"""The 8x8 handwritten digits that ship with scikit-learn: N = 1797, 10 classes, grey.

Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository,
1998 (its test set). Stored values v in 0..16 become u = round(255 v / 16).
"""

from pathlib import Path

import numpy as np

from dpmot.data import DataSet, stratified_split

NOTE = "scikit-learn digits (UCI Optical Recognition of Handwritten Digits, Alpaydin and Kaynak 1998), CC BY 4.0"


def expected(root: Path | None = None) -> list[Path]:
    """No files: the images are part of scikit-learn."""
    return []


def image_shape() -> tuple[int, ...]:
    """(C, H, W)."""
    return 1, 8, 8


def load(*, root: Path | None = None) -> DataSet:
    """uint8 (1797, 1, 8, 8), split in three parts of 599 by a fixed stratified choice."""
    from sklearn.datasets import load_digits  # here, because it costs a second

    bunch = load_digits()
    labels = bunch.target.astype(np.int64)
    return DataSet(
        name="digits",
        images=np.rint(bunch.images[:, None] * (255 / 16)).astype(np.uint8),
        labels=labels,
        split=stratified_split(labels),
        num_classes=10,
        note=NOTE,
    )
