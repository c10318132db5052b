"""What each job of the workflow is asked: plain data, so that a change of the configuration re-runs only the jobs whose
task changed. What stands with ``compare=False`` changes no result."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dpmot.experiment.cells import Cell, Problem
from dpmot.experiment.plan import Classifier, Experiment, Given, Method, Network, Transport
from dpmot.runtime.job import plain


@dataclass(frozen=True)
class Prepare:
    """Load a data set and split it; what does not compare is asked of the images before anything is trained.

    Attributes:
        classes: whether a classifier will be trained on split B.
        atoms: split -> images that will be asked of it.
        labelled: network -> classes that it will be given.
    """

    dataset: str
    options: Mapping[str, Any]
    root: Path | None
    scale: str
    download: bool = field(compare=False)
    classes: bool = field(compare=False)
    atoms: Mapping[str, int] = field(compare=False, default_factory=dict)
    labelled: Mapping[str, int] = field(compare=False, default_factory=dict)


@dataclass(frozen=True)
class Train:
    """Train, distil or load one network.

    Attributes:
        origin: its name where it is one of several, by training seed.
        coupling: of its noise and images, as :mod:`dpmot.couplings` names it; the network, or its teacher, says it too.
        pairing: name of the map that it needs.
    """

    name: str
    network: Network
    seed: int
    download: bool = field(compare=False, default=False)
    origin: str = field(compare=False, default="")
    coupling: Mapping[str, Any] | None = field(compare=False, default=None)
    pairing: str | None = field(compare=False, default=None)


@dataclass(frozen=True)
class Trained:
    """Say what one network saw in training.

    Attributes:
        of: its name in the configuration, where it is one of several by training seed.
        seed: of its training; None where no training changes it.
        how: it is trained, loaded, a student or exact.
        map: name of the map from noise to images that its training needs.
    """

    name: str
    of: str
    seed: int | None
    how: str
    map: str | None


@dataclass(frozen=True)
class Classify:
    """Train or load the classifier of split B."""

    classifier: Classifier
    seed: int


@dataclass(frozen=True)
class Solve:
    """Solve transport problems."""

    problems: tuple[Problem, ...]
    solver: Transport
    atom_seed: int
    num_atoms: int | None
    fit_seed: int


@dataclass(frozen=True)
class Sample:
    """Draw the cells of a method, so many samples each; without its label and group, which change none.

    Attributes:
        fit: name of what its start was fitted to; the method says it too.
    """

    name: str
    method: Method
    cells: tuple[Cell, ...]
    num_samples: int
    atom_seed: int
    num_atoms: int | None
    fit: str | None = field(compare=False, default=None)


@dataclass(frozen=True)
class Piece:
    """Samples number ``first`` to ``last`` - 1 of a cell."""

    cell: Cell
    first: int
    last: int


@dataclass(frozen=True)
class Shard:
    """Draw some of a method's samples: shard ``number`` of ``of``, from 1 on; see :mod:`dpmot.experiment.shards`.

    Attributes:
        sample: all of them.
        pieces: those that are drawn here, in order.
    """

    sample: Sample = field(compare=False)
    pieces: tuple[Piece, ...]
    number: int
    of: int

    @property
    def name(self) -> str:
        """Of the shard; no method has a hyphen in its name."""
        return f"{self.sample.name}-{self.number}-of-{self.of}"

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Those that it has samples of."""
        return tuple(piece.cell for piece in self.pieces)

    def plain(self) -> dict[str, Any]:
        """As JSON has it: what is drawn and how, without the cells of other shards."""
        drawn = {**plain(replace(self.sample, cells=self.cells)), "first": [piece.first for piece in self.pieces]}
        return drawn | {"last": [piece.last for piece in self.pieces], "number": self.number, "of": self.of}


@dataclass(frozen=True)
class Merge:
    """Put the samples of a method together, from so many shards."""

    sample: Sample
    of: int

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Of the method."""
        return self.sample.cells


@dataclass(frozen=True)
class Read:
    """Read the samples of a method that come from elsewhere; without its label and group, which change none.

    Attributes:
        files: digest of names, sizes and times of what is read, so that an exchanged file is read anew.
    """

    name: str
    given: Given
    cells: tuple[Cell, ...]
    files: str


@dataclass(frozen=True)
class Select:
    """Find sigma_M* among the levels of ``drawn``, at most ``tolerance`` of copies allowed."""

    drawn: Sample
    tolerance: float


@dataclass(frozen=True)
class Ideal:
    """Say how often an exact denoiser of the stored images hands back the one behind its start, at each level.

    Attributes:
        levels: sigma_M of starts that store images, ascending.
        star: whether sigma_M* is one more.
        num_atoms: of split A, the first so many; all for None.
    """

    levels: tuple[float, ...]
    star: bool
    num_atoms: int | None


@dataclass(frozen=True)
class Couple:
    """Measure the map from noise to sample of some methods."""

    experiment: str
    dataset: str
    samples: Mapping[str, Sample]
    moves: tuple[float, ...]
    num_noises: int
    num_samples: int


@dataclass(frozen=True)
class Measure:
    """Measure every cell of every method.

    Attributes:
        experiment: what is measured.
        config: the same without what changes no number, which the fingerprint is of.
        extractors: name of each feature extractor -> its options.
        all_code: modules whose closure the fingerprint is of.
        parts: the methods and real images of each shard, in order; none where one job measures all.
    """

    experiment: Experiment = field(compare=False)
    config: Mapping[str, Any]
    extractors: Mapping[str, Mapping[str, Any]]
    all_code: tuple[str, ...] = field(compare=False)
    parts: tuple[tuple[str, ...], ...] = field(compare=False, default=())


@dataclass(frozen=True)
class MeasureShard:
    """Measure some methods and real images: shard ``number`` of ``of``, from 1 on."""

    measure: Measure
    names: tuple[str, ...]
    number: int
    of: int

    @property
    def name(self) -> str:
        """Of the job."""
        return f"measure_{self.number}-of-{self.of}"
