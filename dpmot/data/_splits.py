"""From a published train/test division to the parts A, B, C.

C is the authors' test set, B a fixed stratified share of their training set and A the rest of it, so the
classifier never sees an atom and no network sees a reference image.
"""

from dataclasses import dataclass

import numpy as np

from dpmot.data import SPLIT_SEED, DataSet, stratified_choice


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
    """Split, subsample A, and join train and test.

    Args:
        parts: the two published sets.
        name, num_classes, note: passed to the data set.
        num_train: images kept in A, stratified; None keeps all. B and C do not depend on it.
        num_classifier: images of the training set that become B.

    Raises:
        ValueError: num_train does not fit.
    """
    labels = parts.train_labels
    split = np.full(len(labels), "A")
    split[stratified_choice(labels, num_classifier, seed=SPLIT_SEED, purpose="split B")] = "B"
    keep = kept(labels, split, num_train, name=name)
    everywhere = np.concatenate([keep, np.ones(len(parts.test_labels), dtype=bool)])
    return DataSet(
        name=name,
        images=np.concatenate([parts.train_images[keep], parts.test_images]),
        labels=np.concatenate([labels[keep], parts.test_labels]).astype(np.int64),
        split=np.concatenate([split[keep], np.full(len(parts.test_labels), "C")]),
        num_classes=num_classes,
        note=note,
        exact=None if parts.exact is None else parts.exact[everywhere],
    )


def kept(labels: np.ndarray, split: np.ndarray, num_train: int | None, *, name: str) -> np.ndarray:
    """Which images stay when A is cut to ``num_train``, stratified; None keeps all. B and C do not depend on it.

    Returns:
        bool (n,).

    Raises:
        ValueError: num_train does not fit.
    """
    atoms = np.flatnonzero(split == "A")
    if num_train is not None and not 1 <= num_train <= len(atoms):
        beside = f"split A; {int((split == 'B').sum())} more images are split B"
        raise ValueError(f"{name}: num_train must be in 1..{len(atoms)} ({beside}), got {num_train}")
    keep = split != "A"
    count = len(atoms) if num_train is None else num_train
    keep[atoms[stratified_choice(labels[atoms], count, seed=SPLIT_SEED, purpose="num_train")]] = True
    return keep
