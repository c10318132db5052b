"""Fashion-MNIST: 60,000 + 10,000 grey images of clothes, 28x28, 10 classes.

Source: Xiao, Rasul and Vollgraf, arXiv:1708.07747; MIT licence. The four idx.gz files of the authors lie in
``<root>/fashion-mnist/``.
"""

from pathlib import Path

from dpmot.data import DataSet, data_root, require
from dpmot.data._idx import FILES, read_train_test
from dpmot.data._train_test import assemble

NOTE = "Fashion-MNIST (Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747), MIT; contents checked by MD5"

# of the unpacked bytes, in the order of FILES
MD5SUMS = (
    "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "9018921c3c673c538a1fc5bad174d6f9",
    "8181f5470baa50b63fa0f6fddb340f0a",
    "15d484375f8d13e6eb1aabb0c3f46965",
)


def expected(root: Path | None = None) -> list[Path]:
    """The four idx.gz files.

    Raises:
        MissingData: no data root is given.
    """
    files = [f"fashion-mnist/{name}" for name in FILES]
    return [data_root(root, files=files) / name for name in files]


def load(*, root: Path | None = None, num_train: int | None = None) -> DataSet:
    """uint8 (70000, 1, 28, 28): A 50,000 and B 10,000 of the training images, C the 10,000 test images.

    Args:
        root: data root; None takes DPMOT_DATA.
        num_train: images kept in A (stratified); None keeps 50,000.

    Raises:
        MissingData: a file is not there.
        ValueError: a file is damaged or not the authors', or num_train does not fit.
    """
    paths = expected(root)
    require(paths)
    parts = read_train_test(paths[0].parent, md5sums=dict(zip(FILES, MD5SUMS, strict=True)))
    return assemble(parts, name="fashion_mnist", num_classes=10, note=NOTE, num_train=num_train, num_classifier=10_000)
