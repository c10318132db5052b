"""The images that are compared: what a user hands over, or a split of a data set by its name, as ``cifar10:C``."""

import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dpmot import plugins
from dpmot.data import PARTS, _given
from dpmot.data._arrays import Range, RangeWanted

if TYPE_CHECKING:
    from torch import Tensor

LEAST = 20  # images: a jackknife has so many groups


@dataclass(frozen=True, eq=False)
class Images:
    """Images of one set.

    Attributes:
        name: as tables call it.
        raw: uint8 (n, C, H, W).
        sha256: hash of their content.
        labels: their classes, int64 (n,), where the split they are holds each class in its share; else None.
        notes: what a reader of their numbers should know.
        scaled: whether they were floats of the range that was stated.
    """

    name: str
    raw: np.ndarray
    sha256: str
    labels: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    scaled: bool = False

    def __len__(self) -> int:
        return len(self.raw)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image, (C, H, W)."""
        return self.raw.shape[1:]

    @property
    def labels_sha256(self) -> str | None:
        """Hash of the classes, where they are known."""
        return None if self.labels is None else sha256(np.ascontiguousarray(self.labels).data).hexdigest()

    @property
    def tensor(self) -> "Tensor":
        """The same as a tensor."""
        import torch

        return torch.from_numpy(np.ascontiguousarray(self.raw))


def read(
    source: Any,
    *,
    role: str,
    shape: tuple[int, ...] | None = None,
    values: Range | None = None,
    root: Path | None = None,
) -> Images:
    """Images from a path, an array, a tensor, or a split of a data set by name.

    Args:
        source: see :func:`dpmot.data._given.read`; what :func:`dpmot.sample` gives; or a text as "cifar10:C", if there
            is no file of that name.
        role: begins every message: samples, reference, train.
        shape: (C, H, W) that each image must have.
        values: range of floats.
        root: folder of the data sets' files; None: that of the variable DPMOT_DATA.

    Raises:
        ValueError: images that cannot be compared, or an unknown data set; one line.
        OSError: a file cannot be read.
    """
    if isinstance(source, Images):
        return source
    if hasattr(source, "images") and not hasattr(source, "shape"):  # dpmot.sample's
        source = source.images
    if isinstance(source, str) and not Path(source).exists() and (found := _of_data_set(source, role, shape, root)):
        return found
    try:
        given = _given.read(source, shape=shape, values=values, least=LEAST, mixed=True, name=role)
    except RangeWanted as error:
        how = "value_range=(-1, 1) in Python, --range -1 1 on the command line"
        raise ValueError(f"{error}; for [-1, 1]: {how}") from None
    if given.images.ndim != 4:
        raise ValueError(f"{role}: must be images, got points {given.images.shape}")
    name = Path(source).name if isinstance(source, str | Path) else role
    return Images(name, given.images, given.sha256, notes=given.notes, scaled=given.scaled)


def _of_data_set(source: str, role: str, shape: tuple[int, ...] | None, root: Path | None) -> Images | None:
    """A split of a data set by name; None where the text is no such name."""
    name, colon, part = source.partition(":")
    if not re.fullmatch("[a-z0-9_]+", name) or (not colon and name not in plugins.names("data")):
        return None
    if part not in PARTS:
        told = f"{role}: {source} names a data set; say which of its splits: {name}:A (training), {name}:B or {name}:C"
        raise ValueError(f"{told} (held out)")
    data = plugins.find("data", name).load(root=root)
    images, labels = data.part(part)
    if images.ndim != 4 or shape not in (None, images.shape[1:]):
        wanted = "images" if images.ndim != 4 else f"of shape {shape}"
        raise ValueError(f"{role}: must be {wanted}, {source} holds {images.shape[1:]}")
    return Images(source, images, _given.Given(images).sha256, labels, (data.note,) if data.note else ())
