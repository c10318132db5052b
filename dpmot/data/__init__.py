"""Data sets: images, labels and a fixed three-way split.

One file in this folder is one data set. The split keeps apart what must not meet: "A" trains the networks and gives the
atoms, "B" trains the classifier and the feature network, "C" is the reference of every metric. A file has

    expected(root=None)         the files that ``load`` will read, below ``data_root(root)``; none where it draws images
    load(*, root=None, ...)     the :class:`DataSet`, with the file's own options; ``num_train``, where there is one, is
                                the number of images that stay in A, see :meth:`DataSet.subsampled`
    check(...)                  refuses options of ``load`` that are given, as far as it needs no file to judge them:
                                ValueError "<option>: <what is wrong>", which ``load`` raises too
    SHAPE                       the shape S of one image, where the set is read from files and has one; else
    image_shape(...)            S by the options; see :func:`declared_shape`
    download(root=None)         fetches what is missing, where it is published; see :mod:`dpmot.data._download`

and raises MissingData without a data root or a file, ValueError for an option that is not allowed and for a file that
is damaged or not the published one. Importing this package, and calling ``expected``, costs numpy only.
"""

import inspect
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from dpmot.seeds import generator

PARTS = ("A", "B", "C")
SPLIT_SEED = 0  # one fixed split for every experiment: a results file names the data set only


class MissingData(ValueError):
    """The data root is unknown, or a file is not in it; the message says what to put where."""


@dataclass(frozen=True, eq=False)
class Mixture:
    """The law of a toy set: (1/K) sum_k N(means_k, std^2 I), in the units of the points.

    Args:
        means: (K, d) float.
        std: common standard deviation, > 0.
    """

    means: np.ndarray
    std: float

    def __post_init__(self) -> None:
        if self.means.ndim != 2 or not self.std > 0:
            raise ValueError(f"A mixture needs means (K, d) and std > 0, got {self.means.shape} and {self.std}")


@dataclass(frozen=True, eq=False)
class DataSet:
    """Images with labels and the part each belongs to.

    Args:
        name: the plugin's name.
        images: uint8 (N, C, H, W) in 0..255, or float32 points (N, d) for toy sets.
        labels: int64 (N,) in 0..num_classes-1.
        split: (N,) of "A", "B", "C".
        num_classes: K.
        note: what a reader of a number must know: source, citation, exactness.
        exact: bool (N,), False where an image is not the authors' own pixels; None where nothing is flagged.
        mixture: the generating law of a toy set, else None.

    Raises:
        ValueError: an array has another type, shape or range.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    split: np.ndarray
    num_classes: int
    note: str = ""
    exact: np.ndarray | None = None
    mixture: Mixture | None = None

    def __post_init__(self) -> None:
        n, dtype = len(self.images), self.images.dtype
        if (dtype, self.images.ndim) not in ((np.uint8, 4), (np.float32, 2)):
            allowed = "uint8 (N, C, H, W) or float32 (N, d)"
            raise ValueError(f"{self.name}: images must be {allowed}, got {dtype} {self.images.shape}")
        if dtype == np.float32 and not np.isfinite(self.images).all():
            raise ValueError(f"{self.name}: points must be finite, got NaN or infinite values")
        for column, kind in (("labels", np.int64), ("split", np.str_), ("exact", np.bool_)):
            array = getattr(self, column)
            if array is not None and (array.dtype.type is not kind or array.shape != (n,)):
                wanted = f"{np.dtype(kind).name} ({n},)"
                raise ValueError(f"{self.name}: {column} must be {wanted}, got {array.dtype} {array.shape}")
        if n and not 0 <= self.labels.min() <= self.labels.max() < self.num_classes:
            given = f"{self.labels.min()}..{self.labels.max()}"
            raise ValueError(f"{self.name}: labels must lie in 0..{self.num_classes - 1}, got {given}")
        if unknown := sorted(set(self.split.tolist()) - set(PARTS)):
            raise ValueError(f'{self.name}: split must hold "A", "B", "C" only, got {unknown}')

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape S of one image: (C, H, W), or (d,) for points."""
        return self.images.shape[1:]

    def part(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Images (n, *S) and labels (n,) of one part, in stored order.

        Raises:
            ValueError: no such part, or it is empty.
        """
        if name not in PARTS:
            raise ValueError(f'{self.name}: no part "{name}": choose "A", "B" or "C"')
        member = self.split == name
        if not member.any():
            raise ValueError(f'{self.name}: part "{name}" is empty')
        return self.images[member], self.labels[member]

    def subsampled(self, num_train: int | None) -> "DataSet":
        """The same with ``num_train`` images in A, stratified by class; None keeps all. B and C do not depend on it.

        Raises:
            ValueError: A has fewer images, or num_train is below 1.
        """
        atoms = np.flatnonzero(self.split == "A")
        if num_train in (None, len(atoms)):
            return self  # images may be mapped from a file and larger than memory
        if not 1 <= num_train <= len(atoms):
            beside = f"split A; {int((self.split == 'B').sum())} more images are split B"
            raise ValueError(f"{self.name}: num_train must be in 1..{len(atoms)} ({beside}), got {num_train}")
        stays = self.split != "A"
        chosen = stratified_choice(self.labels[atoms], num_train, purpose="num_train")
        stays[atoms[chosen]] = True
        lost = {*self.labels[atoms].tolist()} - {*self.labels[atoms[chosen]].tolist()}
        told = f"; {len(lost)} of {self.num_classes} classes have no image in A" if lost else ""
        columns = {"images": self.images, "labels": self.labels, "split": self.split, "exact": self.exact}
        arrays = {name: array[stays] for name, array in columns.items() if array is not None}
        return replace(self, note=self.note + told, **arrays)

    @property
    def sha256(self) -> str:
        """Hash of the contents: images, labels and split with their types and shapes; computed on each call."""
        digest = sha256()
        for array in (self.images, self.labels, self.split.astype("S1")):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def declared_shape(module: ModuleType, options: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Shape (C, H, W) of an image of a data set with these options, from its file alone; None of points.

    Raises:
        ValueError: an option that the file does not allow.
    """
    if function := getattr(module, "image_shape", None):
        taken = inspect.signature(function).parameters
        return function(**{key: options[key] for key in taken if key in options})
    return getattr(module, "SHAPE", None)


def check_integer(option: str, value: Any, low: int, high: int | None = None) -> None:
    """Refuse what is no integer in low..high; None, for which ``load`` takes what there is, is allowed.

    Raises:
        ValueError: names the option, what was given and what is allowed.
    """
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if value is not None and not (whole and low <= value <= (high or value)):
        allowed = f"in {low}..{high}" if high else f"of at least {low}"
        raise ValueError(f"{option}: {value!r} is no integer {allowed}")


def check_sizes(option: str, sizes: Sequence[int], *, least: int) -> None:
    """Refuse what are no three sizes of A, B and C that hold a point of each class.

    Raises:
        ValueError: names the option, what was given and what is allowed.
    """
    if len(sizes) != len(PARTS) or min(sizes) < least:
        allowed = f"three sizes (A, B, C), each at least the {least} classes"
        raise ValueError(f"{option}: must be {allowed}, got {list(sizes)}")
    for size in sizes:
        check_integer(option, size, least)


def stratified_choice(labels: np.ndarray, count: int, *, purpose: str) -> np.ndarray:
    """Choose ``count`` of N at random, every class within one of its exact share count N_k / N.

    The images are shuffled, sorted by class, and taken at evenly spaced positions.

    Args:
        labels: (N,) integers.
        count: 0..N.
        purpose: names the random stream.

    Returns:
        bool (N,), True where chosen.

    Raises:
        ValueError: count is outside 0..N.
    """
    n = len(labels)
    if not 0 <= count <= n:
        raise ValueError(f"Cannot choose {count} of {n} images: allowed are 0..{n}")
    order = generator(SPLIT_SEED, purpose).permutation(n)
    order = order[np.argsort(labels[order], kind="stable")]
    position = np.arange(n)
    chosen = np.zeros(n, dtype=bool)
    chosen[order[(position + 1) * count // n > position * count // n]] = True
    return chosen


def assign(part: str, count: int, split: np.ndarray, labels: np.ndarray, *, of: str) -> None:
    """Give a part ``count`` of the images of the part ``of``, stratified by class, in ``split`` (N,) itself."""
    rows = np.flatnonzero(split == of)
    split[rows[stratified_choice(labels[rows], count, purpose=f"split {part}")]] = part


def stratified_split(labels: np.ndarray) -> np.ndarray:
    """(N,) of "A", "B", "C": three equal parts up to rounding, each class within two of its exact share.

    A class of three images or more has one in each part: where chance leaves one without, the fullest part gives it.
    """
    n = len(labels)
    split = np.full(n, "C")
    assign("A", round(n / 3), split, labels, of="C")
    assign("B", round(2 * n / 3) - round(n / 3), split, labels, of="C")
    for rows in (np.flatnonzero(labels == label) for label in np.unique(labels)):
        for part in sorted(set(PARTS) - set(split[rows])) if len(rows) >= len(PARTS) else ():
            fullest = max(PARTS, key=lambda other: np.count_nonzero(split[rows] == other))
            split[rows[split[rows] == fullest][0]] = part
    return split


def rare_classes(labels: np.ndarray, split: np.ndarray, names: Sequence[str]) -> str:
    """Which classes have no image in one of the parts, in words for the note; empty where none."""
    found = []
    for label, name in enumerate(names):
        own = split[labels == label]
        if missing := [part for part in PARTS if part not in own]:
            found.append(f'class "{name}" has {len(own)} of {len(labels)} images, none in split {", ".join(missing)}')
    return "; ".join(found[:3]) + (f"; {len(found) - 3} more such classes" if len(found) > 3 else "")


def published(
    name: str,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    num_test: int,
    num_train: int | None,
    note: str,
    num_classifier: int = 10_000,
    num_classes: int = 10,
    exact: np.ndarray | None = None,
) -> DataSet:
    """The data set of a published training set, followed by its test set.

    C is the ``num_test`` test images, B ``num_classifier`` of the training images, stratified, and A ``num_train`` of
    the rest, so the classifier never sees an atom and no network sees a reference image.
    """
    split = np.repeat(["A", "C"], [len(labels) - num_test, num_test])
    assign("B", num_classifier, split, labels, of="A")
    return DataSet(name, images, labels.astype(np.int64), split, num_classes, note, exact).subsampled(num_train)


def data_root(explicit: Path | str | None, *, files: Sequence[str]) -> Path:
    """The folder that holds the data sets' files: the argument, else the variable DPMOT_DATA.

    Args:
        explicit: ``data_root:`` of the config, or None.
        files: what is looked for there, relative to the root; named in the error.

    Raises:
        MissingData: neither is given, or it is no folder.
    """
    given = explicit or os.environ.get("DPMOT_DATA")
    remedy = f"set DPMOT_DATA or `data_root:` in the config to the folder that holds {', '.join(files)}"
    if not given:
        raise MissingData(f"No data root is given: {remedy}")
    if not Path(given).is_dir():
        raise MissingData(f"The data root {given} is no folder: {remedy}")
    return Path(given)


def require(paths: Sequence[Path], *, remedy: str = "") -> Sequence[Path]:
    """The paths, if every file is there; ``remedy`` is what else can be done about one that is not.

    Raises:
        MissingData: names the files that are not.
    """
    if missing := [path for path in paths if not path.exists()]:
        names = ", ".join(path.name for path in missing)
        told = f"Missing in {missing[0].parent}: {names}; put it there, or set DPMOT_DATA to another folder"
        raise MissingData(f"{told}, or {remedy}" if remedy else told)
    return paths


def verify(what: str, digest: str, published: str, then: str) -> None:
    """Compare a digest with the published one; ``then`` ends the message: what to do, or what it means.

    Raises:
        ValueError: they differ.
    """
    if digest != published:
        raise ValueError(f"{what} is {digest}, not {published}{then}")
