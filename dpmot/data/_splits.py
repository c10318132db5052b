"""From a published train/test division to the parts A, B, C.

C is the authors' test set, B a fixed stratified share of their training set and A the rest of it, so the
classifier never sees an atom and no network sees a reference image.
"""

from dataclasses import dataclass

import numpy as np

from dpmot.data import DataSet, assign


@dataclass(frozen=True, eq=False)
class TrainTest:
    """What the files of a data set hold, in their order.

    Args:
        train_images, test_images: uint8 (n, C, H, W).
        train_labels, test_labels: integers (n,).
        exact: bool (n_train + n_test,), False where an image is not the authors' own pixels; or None.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    exact: np.ndarray | None = None


def assemble(
    parts: TrainTest, *, name: str, num_classes: int, note: str, num_train: int | None, num_classifier: int
) -> DataSet:
    """The data set of both published sets: B is ``num_classifier`` images, A of the rest ``num_train``."""
    labels = np.concatenate([parts.train_labels, parts.test_labels]).astype(np.int64)
    split = np.repeat(["A", "C"], [len(parts.train_labels), len(parts.test_labels)])
    assign("B", num_classifier, split, labels, of="A")
    images = np.concatenate([parts.train_images, parts.test_images])
    return DataSet(name, images, labels, split, num_classes, note, parts.exact).subsampled(num_train)
