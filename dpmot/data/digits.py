"""The 8x8 handwritten digits that ship with scikit-learn: N = 1797, 10 classes, grey.

Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository,
1998 (its test set). Stored values v in 0..16 become u = round(255 v / 16).
"""

from pathlib import Path

import numpy as np

from dpmot.data import DataSet, check_integer, stratified_split

NOTE = "scikit-learn digits (UCI Optical Recognition of Handwritten Digits, Alpaydin and Kaynak 1998), CC BY 4.0"
PART = 599  # images of each split


def expected(root: Path | None = None) -> list[Path]:
    """No files: the images are part of scikit-learn."""
    return []


def image_shape() -> tuple[int, ...]:
    """(C, H, W)."""
    return 1, 8, 8


def check(*, num_train: int | None = None) -> None:
    """``num_train`` in 1..599."""
    check_integer("num_train", num_train, 1, PART)


def load(*, root: Path | None = None, num_train: int | None = None) -> DataSet:
    """uint8 (1797, 1, 8, 8), split in three parts of 599 by a fixed stratified choice; ``num_train`` of them in A.

    Raises:
        ValueError: num_train is outside 1..599.
    """
    check(num_train=num_train)
    from sklearn.datasets import load_digits  # here, because it costs a second

    bunch = load_digits()
    labels = bunch.target.astype(np.int64)
    whole = DataSet(
        name="digits",
        images=np.rint(bunch.images[:, None] * (255 / 16)).astype(np.uint8),
        labels=labels,
        split=stratified_split(labels),
        num_classes=10,
        note=NOTE,
    )
    return whole.subsampled(num_train)
