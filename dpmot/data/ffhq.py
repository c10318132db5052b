"""FFHQ at 256x256: 70,000 faces, without classes.

Source: Karras, Laine and Aila, "A Style-Based Generator Architecture for Generative Adversarial Networks", CVPR 2019;
CC BY-NC-SA 4.0 (https://github.com/NVlabs/ffhq-dataset), at 1024x1024. Copies at 256x256 are made by their users, so
there is no public checksum. In ``<root>/ffhq/`` the first of these is read:

1. ``ffhq256.npz``, one array uint8 (70000, 256, 256, 3) as the evaluator of ADM has it, or with channels first;
2. ``ffhq256.zip``, pictures of 256x256 in natural order of their names;
3. ``images256x256/``, the same as a folder;
4. ``images1024x1024/``, the published pictures, resized by an antialiased Lanczos filter.

C is the test set of the authors of DPM-OT (with NCSNv2's and DDIM's code): the last tenth of a shuffle with seed 2019.
"""

from pathlib import Path

import numpy as np

from dpmot.data import DataSet, assign, check_integer, data_root, require
from dpmot.data._npz import Npz
from dpmot.data._pictures import Source, decoded, pictures_in
from dpmot.data._viewer import Picture

SHAPE = (3, 256, 256)
COUNT = 70_000
VERSIONS = ("ffhq256.npz", "ffhq256.zip", "images256x256", "images1024x1024")
AUTHORS_SEED = 2019
CITATION = "FFHQ (Karras, Laine and Aila 2019), CC BY-NC-SA 4.0"


def expected(root: Path | None = None) -> list[Path]:
    """The first version that is there, else the archive."""
    folder = data_root(root, files=[f"ffhq/{VERSIONS[0]} (or {', '.join(VERSIONS[1:])})"]) / "ffhq"
    present = [folder / name for name in VERSIONS if (folder / name).exists()]
    return present[:1] or [folder / VERSIONS[1]]


def check(*, num_train: int | None = None) -> None:
    """``num_train`` in 1..56,000."""
    check_integer("num_train", num_train, 1, 56_000)


def load(*, root: Path | None = None, num_train: int | None = None) -> DataSet:
    """uint8 (70000, 3, 256, 256): A 56,000, B 7,000, C the authors' 7,000 test images; one class."""
    check(num_train=num_train)
    (path,) = require(expected(root))
    given = (1024, 1024) if path.name == VERSIONS[3] else (256, 256)
    picture = Picture(SHAPE, given=given, resize="lanczos")
    source: Source = Npz(path, picture) if path.suffix == ".npz" else pictures_in(path, picture)
    if len(source) != COUNT:
        raise ValueError(f"{path.name}: must hold {COUNT} images, found {len(source)}")
    images, told = decoded(source, name="ffhq-256", options={"version": path.name})
    note = f"{CITATION}; from {path.name}, which has no public checksum" + (f"; {told}" if told else "")
    data = DataSet("ffhq", images, np.zeros(COUNT, np.int64), authors_split(COUNT), 1, note)
    return data.subsampled(num_train)


def authors_split(count: int) -> np.ndarray:
    """(count,) of "A", "B", "C": C the last tenth of the authors' shuffle, B as many of the rest, by our own seed."""
    order = np.random.RandomState(AUTHORS_SEED).permutation(count)
    test = order[int(count * 0.9) :]
    split = np.full(count, "A")
    split[test] = "C"
    assign("B", len(test), split, np.zeros(count, int), of="A")
    return split
