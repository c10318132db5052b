"""What a metric sees of a set of samples: feature vectors, class probabilities and, where known, sources.

One file is one extractor: ``extract(images, *, ...) -> Features``. Images are uint8 (n, C, H, W), grey ones repeated to
RGB where a network wants that, toy points floats (n, d); ``tile``, where it is an argument, is the number of images of
one network call, part of the numbers' last bits. The file states what a plan has to know in constants, which
:class:`Extractor` lists; each has a default. Where it stands for one network, ``SHA256`` is that of its weights, and
``CANONICAL`` the field's names of metrics in its features, by stem. It may define three functions:

    ``options(offer)``  the keyword arguments of ``extract``; by default what the configuration gives
    ``files(offer)``    the files its numbers depend on; by default those among its options
    ``check(offer)``    refuses what cannot be run before anything is trained

They and ``extract`` raise ValueError or OSError, in one line, where samples are of another kind, or weights or packages
are missing or others than they should be.

This module itself imports numpy only, so plans, tables and tests stay light.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, lru_cache, wraps
from importlib.util import find_spec
from pathlib import Path
from re import fullmatch
from threading import Lock
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, TypeVarTuple
from weakref import WeakKeyDictionary, ref

import numpy as np

from dpmot import plugins
from dpmot.features._architecture import trained_on

if TYPE_CHECKING:
    from torch import Tensor

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")
Others = TypeVarTuple("Others")
KINDS: Mapping[str, tuple[type, ...]] = {  # of options, and their values in a configuration
    **{"int": (int,), "float": (int, float), "bool": (bool,)},
    **dict.fromkeys(("str", "sha256", "file", "folder"), (str,)),
    "floats": (list, tuple),
}


SMALLEST, LARGEST = 1e-100, 1e40  # of features: metrics square them, and one takes sixth powers


@dataclass(frozen=True, eq=False, kw_only=True)
class Features:
    """The features of n samples. Equal by identity only; arrays are read-only views.

    Attributes:
        values: float (n, d), n and d >= 1, of sizes whose squares and sixth powers float64 can hold.
        extractor: name of the file that made them, with "-" and the first digits of their sha256 where its weights are
            none that the name stands for; it becomes the metric's suffix.
        probabilities: class probabilities, float (n, K), rows summing to one; None where there are none.
        labels: true classes, integer (n,), or None.
        drawn_for: class that each sample was drawn for, integer (n,), or None: what it should be of, not what it is.
        source: row of the "train" reference from which each sample's own start was made (DPM-OT and copy
            starts), int64 (n,), or None where a sample has no such row.
        num_sources: sources that a sample could have had, the first rows of that reference, >= 1; None: all of them.
        off_mode: whether each sample lies off every mode of a mixture that is known, bool (n,), or None.
        trajectory_variance: how far D still moved along each sample's way, not below 0, float (n,), NaN where that is
            not known (:mod:`dpmot.diffusion.trajectory`); or None.
        parts: the sets that these samples are one after the other, where they were joined: what is asked of each
            sample alone is taken from them. See :func:`joined`.
    """

    values: np.ndarray
    extractor: str
    probabilities: np.ndarray | None = None
    labels: np.ndarray | None = None
    drawn_for: np.ndarray | None = None
    source: np.ndarray | None = None
    num_sources: int | None = None
    off_mode: np.ndarray | None = None
    trajectory_variance: np.ndarray | None = None
    parts: "tuple[Features, ...]" = ()

    def __post_init__(self) -> None:
        set_field = object.__setattr__  # the dataclass is frozen
        set_field(self, "values", _matrix(self.values, "values"))
        if self.probabilities is not None:
            set_field(self, "probabilities", _probabilities(self.probabilities, len(self)))
        for name in ("labels", "drawn_for", "source"):
            if getattr(self, name) is not None:
                set_field(self, name, _indices(getattr(self, name), name, len(self)))
        if self.num_sources is not None and self.num_sources < 1:
            raise ValueError(f"Feature num_sources must be a positive number, got {self.num_sources}")
        off = self.off_mode
        if off is not None and (np.shape(off) != (len(self),) or np.asarray(off).dtype != bool):
            raise ValueError(
                f"Feature off_mode must be {len(self)} booleans, got {np.asarray(off).dtype} {np.shape(off)}"
            )
        moved = self.trajectory_variance
        if moved is not None and (np.shape(moved) != (len(self),) or moved.dtype.kind != "f" or (moved < 0).any()):
            raise ValueError(
                f"Feature trajectory_variance must be {len(self)} floats, none below 0, got {moved.dtype} {moved.shape}"
            )

    def __len__(self) -> int:
        return len(self.values)

    def subset(self, index: np.ndarray) -> "Features":
        """The samples ``index``: integers (m,) or a mask (n,)."""
        rows = np.asarray(index)
        arrays = {name: array[rows] for name, array in self._arrays().items()}
        return Features(**arrays, extractor=self.extractor, num_sources=self.num_sources)

    def _arrays(self) -> dict[str, Any]:
        """What there is one row of a sample of, by attribute."""
        names = ("values", "probabilities", "labels", "drawn_for", "source", "off_mode", "trajectory_variance")
        return {name: array for name in names if (array := getattr(self, name)) is not None}

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
    for part in parts[1:]:
        parts[0].check_comparable(part, "next set")
    columns = [name for name in parts[0]._arrays() if name != "labels"]
    arrays: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in columns}
    return Features(**arrays, extractor=parts[0].extractor, num_sources=parts[0].num_sources, parts=tuple(parts))


class NonFiniteFeatures(ValueError):
    """Features that are NaN or infinite; ``rows`` are the samples that have them, int64."""

    def __init__(self, message: str, rows: np.ndarray) -> None:
        super().__init__(message)
        self.rows = rows


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What an experiment offers an extractor.

    Attributes:
        classifier: file of the experiment's trained classifier, once it is trained, or one that was trained before.
        root: folder of the data sets; None: that of the variable DPMOT_DATA.
        download: whether missing weights may be fetched.
        mixture: "means" (K, d) and "std" () of a data set that is a Gaussian mixture, else None.
        shape: of a sample, (C, H, W) or (d,), where it is known.
        given: the extractor's options in the configuration.
    """

    classifier: Path | None = None
    root: Path | None = None
    download: bool = False
    mixture: Mapping[str, np.ndarray] | None = None
    shape: tuple[int, ...] | None = None
    given: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Extractor:
    """An extractor and what an experiment offers it.

    The file is imported, and torch with it, where one of its functions is called; constants are read from its source.

    Attributes:
        name: a file of this folder.
        offer: from the experiment.
        domain: ``DOMAIN``, what it looks at: "images", "mixture" (points of a known law) or "any".
        channels: ``CHANNELS``, those that images may have.
        sides: ``SIDES``: (H, W) of the images where only these will do.
        smallest: ``SMALLEST``: pixels that each side of an image must have.
        slow: ``SLOW``: it runs on the experiment's device, and its features are kept on disk by content of the images.
        distinct: ``DISTINCT``: it is asked once for each distinct image, and the vectors of all fit into memory.
        own_classes: ``OWN_CLASSES``: its probabilities, if it has any, are of the data set's own classes.
        trained: ``TRAINED``: it needs the classifier that the experiment trains.
        expected: ``EXPECTED``: files below the data root.
        needs: ``NEEDS``: an importable package -> the extra of this project that installs it.
        kinds: ``OPTIONS``: an option that a configuration may give -> its kind, a key of ``KINDS``.
        aliases: ``ALIASES``: a key at the top of a configuration -> the option that it gives.

    Raises:
        UnknownPlugin: no such file.
    """

    name: str
    offer: Offer = Offer()
    domain: str = field(default="images", init=False)
    channels: tuple[int, ...] = field(default=(1, 3), init=False)
    sides: tuple[int, int] | None = field(default=None, init=False)
    smallest: int = field(default=1, init=False)
    slow: bool = field(default=False, init=False)
    distinct: bool = field(default=False, init=False)
    own_classes: bool = field(default=True, init=False)
    trained: bool = field(default=False, init=False)
    expected: tuple[str, ...] = field(default=(), init=False)
    needs: Mapping[str, str] = field(default_factory=dict, init=False)
    kinds: Mapping[str, str] = field(default_factory=dict, init=False)
    aliases: Mapping[str, str] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        for constant in fields(self)[2:]:
            variable = "OPTIONS" if constant.name == "kinds" else constant.name.upper()
            stated = plugins.constant("features", self.name, variable)
            if stated is not None:
                object.__setattr__(self, constant.name, stated)

    def takes(self, shape: tuple[int, ...]) -> str | None:
        """Why it cannot look at samples of a shape, (C, H, W) or (d,), in one line; None where it can."""
        if self.domain == "any" or (self.domain == "mixture" and len(shape) == 1):
            return None
        if self.domain == "mixture" or len(shape) != 3:
            looks = "points (d,) of a mixture" if self.domain == "mixture" else "images (C, H, W)"
            return f"{self.name} looks at {looks}, got samples of shape {shape}"
        channels, *sides = shape
        if channels not in self.channels:
            return f"{self.name} takes images of {' or '.join(map(str, self.channels))} channels, not of {channels}"
        if self.sides and tuple(sides) != self.sides:
            return "{} takes images of {} x {} pixels only, not of {} x {}".format(self.name, *self.sides, *sides)
        if min(sides) < self.smallest:
            least = f"{self.name} takes images of at least {self.smallest} x {self.smallest} pixels"
            return "{}: images of {} x {} are too small".format(least, *sides)
        return None

    def check_given(self) -> None:
        """Refuse options that there are not, of another type, or that name a file which is not there."""
        where = {option: f"{self.name}.{option}" for option in self.kinds}
        where |= {option: alias for alias, option in self.aliases.items()}
        for option, value in self.offer.given.items():
            if option not in self.kinds:
                allowed = ", ".join(self.kinds) or "none"
                raise ValueError(f'{self.name}: unknown option "{option}"; allowed: {allowed}')
            kind = self.kinds[option]
            fits = isinstance(value, KINDS[kind]) and isinstance(value, bool) == (kind == "bool")
            fits = fits and (kind != "floats" or (len(value) > 0 and all(type(one) in (int, float) for one in value)))
            if not fits or (kind == "sha256" and not fullmatch("[0-9a-fA-F]{64}", value)):
                raise ValueError(f"{where[option]}: {value!r} is no {kind}")
            if kind == "file" and not Path(value).is_file():
                raise ValueError(f"{where[option]}: no file {value}")

    def check(self) -> None:
        """Refuse what cannot be run: options, a shape, packages that are missing, and what the file itself checks."""
        self.check_given()
        if self.offer.shape and (reason := self.takes(self.offer.shape)):
            raise ValueError(f"features: {reason}: give images that it takes, or leave {self.name} out")
        if self.trained and self.offer.classifier and self.offer.shape:
            classes, shape = trained_on(self.offer.classifier)
            if shape != self.offer.shape:
                told = f"was trained on images {shape} of {classes} classes, this experiment's are {self.offer.shape}"
                raise ValueError(f"classifier.weights: {self.offer.classifier} {told}: leave it out")
        for package, extra in self.needs.items():
            if find_spec(package) is None:
                raise ValueError(f"features: {self.name} needs {package}: pip install 'dpmot[{extra}]'")
        if check := self._function("check"):
            check(self._typed)

    def inputs(self) -> list[Path]:
        """The files that the configuration names, and those of the folders that it names."""
        paths = [value for value in self._typed.given.values() if isinstance(value, Path)]
        below = [sorted(path.iterdir()) if path.is_dir() else [path] for path in paths]
        return [path for files in below for path in files if path.is_file()]

    def options(self) -> dict[str, Any]:
        """The keyword arguments of ``extract``."""
        own = self._function("options")
        return own(self._typed) if own else dict(self._typed.given)

    def files(self) -> list[Path]:
        """The files that its numbers depend on: its weights."""
        own = self._function("files")
        return own(self._typed) if own else [value for value in self.options().values() if isinstance(value, Path)]

    def extract(self, images: "Tensor") -> Features:
        """The features of images (n, C, H, W), uint8, or of points (n, d), floats.

        Networks are in evaluation mode, and torch and numpy as in a fresh process.

        Raises:
            ValueError: samples of a shape that it does not take, or what its file gives are no features of them.
        """
        if images.ndim in (2, 4) and (reason := self.takes(tuple(images.shape[1:]))):
            raise ValueError(reason)
        from dpmot.device import ordinary
        from dpmot.features._images import evaluating

        with ordinary(grad=False), evaluating():
            found = plugins.find("features", self.name).extract(images, **self.options())
        ours = isinstance(found, Features) and found.extractor.partition("-")[0] == self.name
        if not ours or len(found) != len(images):
            got = f"{len(found)} rows of {found.extractor}" if isinstance(found, Features) else type(found).__name__
            raise ValueError(f"{self.name}: extract must give its Features of {len(images)} samples, got {got}")
        return found

    def _function(self, name: str) -> Callable[[Offer], Any] | None:
        """A function that the file may define; the file is imported only where it does."""
        defined = name in plugins.functions("features", self.name)
        return getattr(plugins.find("features", self.name), name) if defined else None

    @cached_property
    def _typed(self) -> Offer:
        """The offer, with the paths among its options as such."""
        given = {k: Path(v) if self.kinds[k] in ("file", "folder") else v for k, v in self.offer.given.items()}
        return replace(self.offer, given=given)


def remembered(function: Callable[[Features, *Others], Result]) -> Callable[[Features, *Others], Result]:
    """Compute ``function(features, *others)`` once for the same arguments, in whichever thread.

    The result is forgotten with ``features``; others are Features, which it does not keep alive, or numbers. References
    are the same in every cell of an experiment, and their moments and neighbours cost more than a cell's.
    """
    memory: WeakKeyDictionary[Features, dict[tuple[Any, ...], tuple[Lock, list[Result]]]] = WeakKeyDictionary()
    short = Lock()

    @wraps(function)
    def once(features: Features, *others: *Others) -> Result:
        key = tuple(ref(other) if isinstance(other, Features) else other for other in others)
        with short:
            own, results = memory.setdefault(features, {}).setdefault(key, (Lock(), []))
        with own:
            if not results:
                results.append(function(features, *others))
            return results[0]

    return once


class loaded_once(Generic[Arguments, Result]):
    """A function that remembers its last result, until a file or folder that it was given changes.

    Threads that ask for it at once wait for the one that loads.
    """

    def __init__(self, load: Callable[Arguments, Result]) -> None:
        self._load: Any = lru_cache(maxsize=1)(lambda _, *args, **kwargs: load(*args, **kwargs))
        self._lock, self.cache_clear = Lock(), self._load.cache_clear

    def __call__(self, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        paths = [path for path in (*args, *kwargs.values()) if isinstance(path, Path)]
        files = [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
        states = [file.stat() for file in files if file.is_file()]
        with self._lock:
            return self._load(tuple((state.st_mtime_ns, state.st_size) for state in states), *args, **kwargs)


def _matrix(array: np.ndarray, name: str) -> np.ndarray:
    try:
        array = np.asarray(array)
    except (TypeError, ValueError, RuntimeError) as error:  # a tensor of another device or type, rows of many lengths
        told = str(error).partition("\n")[0]
        raise ValueError(f"Feature {name} must be floats of shape (n, d) as a numpy array: {told}") from None
    if array.ndim != 2 or 0 in array.shape or array.dtype.kind != "f":
        got = f"{array.dtype} {array.shape}"
        raise ValueError(f"Feature {name} must be floats of shape (n, d), got {got}; n and d are at least 1")
    bad = np.flatnonzero((~np.isfinite(array)).any(axis=1))
    if len(bad):
        told = f"Feature {name} of {len(bad)} of {len(array)} samples are NaN or infinite: check those samples"
        raise NonFiniteFeatures(told, bad)
    size = float(max(array.max(), -array.min()))
    if size > LARGEST or 0 < size < SMALLEST:
        allowed = f"{SMALLEST:g} to {LARGEST:g}"
        raise ValueError(f"Feature {name} are up to {size:g} in size, where {allowed} is allowed: give another scale")
    return np.broadcast_to(array, array.shape)  # a view that cannot be written to


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
    return np.broadcast_to(array.astype(np.int64), n)
