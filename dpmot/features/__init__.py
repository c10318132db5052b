"""What a metric sees of a set of samples: feature vectors, class probabilities and, where known, sources.

One file per extractor; each has ``extract(images, *, ...) -> Features``. Images are uint8 (n, C, H, W),
toy points are floats (n, d). This module itself imports numpy only, so tables and tests stay light.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, wraps
from hashlib import sha256
from threading import Lock
from typing import TypeVar
from weakref import WeakKeyDictionary

import numpy as np

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False, kw_only=True)
class Features:
    """The features of n samples. Equal by identity only; arrays are read-only views.

    Attributes:
        values: float (n, d), d >= 1.
        extractor: name of the file that made them; it becomes the metric's suffix.
        probabilities: class probabilities, float (n, K), rows summing to one; None where there are none.
        labels: true classes, integer (n,), or None.
        source: row of the "train" reference from which each sample's own start was made (DPM-OT and copy
            starts), int64 (n,), or None where a sample has no such row.
        num_sources: sources that a sample could have had, the first rows of that reference; None: all of them.
        off_mode: whether each sample lies off every mode of a mixture that is known, bool (n,), or None.
        parts: the sets that these samples are one after the other, where they were joined: what is asked of each
            sample alone is taken from them. See :func:`joined`.
    """

    values: np.ndarray
    extractor: str
    probabilities: np.ndarray | None = None
    labels: np.ndarray | None = None
    source: np.ndarray | None = None
    num_sources: int | None = None
    off_mode: np.ndarray | None = None
    parts: "tuple[Features, ...]" = ()

    def __post_init__(self) -> None:
        set_field = object.__setattr__  # the dataclass is frozen
        set_field(self, "values", _matrix(self.values, "values"))
        if self.probabilities is not None:
            set_field(self, "probabilities", _probabilities(self.probabilities, len(self)))
        for name in ("labels", "source"):
            if getattr(self, name) is not None:
                set_field(self, name, _indices(getattr(self, name), name, len(self)))
        off = self.off_mode
        if off is not None and (np.shape(off) != (len(self),) or np.asarray(off).dtype != bool):
            raise ValueError(
                f"Feature off_mode must be {len(self)} booleans, got {np.asarray(off).dtype} {np.shape(off)}"
            )

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def sha256(self) -> str:
        """Hash of the content of values and probabilities, with their shapes and types."""
        digest = sha256()
        for array in (self.values, self.probabilities):
            if array is not None:
                digest.update(f"{array.dtype.str}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def subset(self, index: np.ndarray) -> "Features":
        """The samples ``index``: integers (m,) or a mask (n,)."""
        rows = np.asarray(index)

        def take(array: np.ndarray | None) -> np.ndarray | None:
            return None if array is None else array[rows]

        return Features(
            values=take(self.values),
            extractor=self.extractor,
            probabilities=take(self.probabilities),
            labels=take(self.labels),
            source=take(self.source),
            num_sources=self.num_sources,
            off_mode=take(self.off_mode),
        )

    def check_comparable(self, reference: "Features", name: str) -> None:
        """Refuse a reference that lives in another space.

        Raises:
            ValueError: another extractor or another number of dimensions.
        """
        mine, theirs = (self.extractor, self.values.shape[1]), (reference.extractor, reference.values.shape[1])
        if mine != theirs:
            raise ValueError(
                f'Samples are in {mine[1]} dimensions of "{mine[0]}" but the reference "{name}" is in {theirs[1]} of '
                f'"{theirs[0]}": extract both with the same network'
            )


def joined(parts: Sequence[Features]) -> Features:
    """Sets of samples of one extractor as one set, in their order; class labels are left out."""

    def together(attribute: str) -> np.ndarray | None:
        arrays = [getattr(part, attribute) for part in parts]
        return None if arrays[0] is None else np.concatenate(arrays)

    arrays = {name: together(name) for name in ("values", "probabilities", "source", "off_mode")}
    return Features(**arrays, extractor=parts[0].extractor, num_sources=parts[0].num_sources, parts=tuple(parts))


class NonFiniteFeatures(ValueError):
    """Features that are NaN or infinite; ``rows`` are the samples that have them, int64."""

    def __init__(self, message: str, rows: np.ndarray) -> None:
        super().__init__(message)
        self.rows = rows


def remembered(function: Callable[[Features], Result]) -> Callable[[Features], Result]:
    """Compute ``function(features)`` once per Features object, in whichever thread, and forget it with the object.

    The references are the same in every cell of an experiment, and their moments and neighbours cost more
    than a cell's.
    """
    memory: WeakKeyDictionary[Features, Result] = WeakKeyDictionary()
    locks: WeakKeyDictionary[Features, Lock] = WeakKeyDictionary()
    short = Lock()

    @wraps(function)
    def once(features: Features) -> Result:
        with short:
            own = locks.setdefault(features, Lock())
        with own:
            if features not in memory:
                memory[features] = function(features)
            return memory[features]

    return once


def loaded_once(load: Callable[..., Result]) -> Callable[..., Result]:
    """``load`` with its last result kept; threads that ask for it at once wait for the one that loads."""
    kept, lock = lru_cache(maxsize=1)(load), Lock()

    @wraps(load)
    def once(*args: object, **kwargs: object) -> Result:
        with lock:
            return kept(*args, **kwargs)

    once.cache_clear = kept.cache_clear
    return once


def _read_only(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.setflags(write=False)
    return view


def _matrix(array: np.ndarray, name: str) -> np.ndarray:
    array = np.asarray(array)
    if array.ndim != 2 or array.shape[1] == 0 or array.dtype.kind != "f":
        raise ValueError(f"Feature {name} must be floats of shape (n, d), got {array.dtype} {array.shape}")
    bad = np.flatnonzero((~np.isfinite(array)).any(axis=1))
    if len(bad):
        told = f"Feature {name} of {len(bad)} of {len(array)} samples are NaN or infinite: check those samples"
        raise NonFiniteFeatures(told, bad)
    return _read_only(array)


def _probabilities(array: np.ndarray, n: int) -> np.ndarray:
    array = _matrix(array, "probabilities")
    if len(array) != n:
        raise ValueError(f"Got probabilities of {len(array)} samples but values of {n}")
    # float32 softmax rows sum to one within about 1e-6; 1e-3 tells them from logits and from half precision.
    if array.size and (array.min() < 0 or np.abs(array.sum(axis=1) - 1).max() > 1e-3):
        raise ValueError("Probabilities must be non-negative with rows summing to one: pass the softmax, not logits")
    return array


def _indices(array: np.ndarray, name: str, n: int) -> np.ndarray:
    array = np.asarray(array)
    if array.shape != (n,) or array.dtype.kind not in "iu" or (n and array.min() < 0):
        raise ValueError(f"Feature {name} must be {n} non-negative integers, got {array.dtype} {array.shape}")
    return _read_only(array.astype(np.int64))
