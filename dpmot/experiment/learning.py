"""What a method learns before it is drawn: options of its sampler, or its grid; how that is planned, kept and told.

It is learned for each budget and level, from starts of a seed that no table may use and, where images stand behind
them, of split A, the networks' own; the evaluations that it takes are told in the rows. Nothing here imports torch.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpmot import plugins
from dpmot.diffusion import gits
from dpmot.experiment.cells import Cell
from dpmot.runtime.files import read_json, write_json
from dpmot.runtime.fingerprint import digest

if TYPE_CHECKING:
    from dpmot.experiment.plan import Experiment, Method

LEARNING_SEED = 2**31 - 1  # the largest that a configuration could state; of training seed t it is t less
RESERVED = 100_000  # seeds up to it that no table may have where something is learned
STARTS = 256  # where the sampler's file does not say how many


@dataclass(frozen=True)
class Learned:
    """What was learned for one budget and level.

    Attributes:
        options: of the sampler.
        sigmas: its grid, (n + 1,); None for the one that the plan has.
        starts: trajectories that it was learned from.
        evaluations: of the network, of all starts together.
        differentiated: those of them through which a gradient was taken.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    sigmas: tuple[float, ...] | None = None
    starts: int = 0
    evaluations: int = 0
    differentiated: int = 0


NOTHING = Learned()


def learning_starts(method: "Method") -> int:
    """How many starts a method learns from."""
    stated: Any = plugins.constant("baselines", method.sampler, "STARTS") if method.learned_options else None
    return max(stated or 0, gits.STARTS if method.grid == "gits" else 0) or STARTS


def check(experiment: "Experiment", method: "Method", where: str) -> None:
    """Refuse a method that would learn from what tables report, or nothing at all.

    Raises:
        ValueError: it does.
    """
    named: Any = plugins.constant("baselines", method.sampler, "LEARNS") if method.sampler != "none" else ()
    if named and not method.learned_options and not any(method.options.get(name) for name in named):
        raise ValueError(f"{where}.options: {' and '.join(named)} are stated, but empty: leave them out to be learned")
    if method.grid == "gits" and method.level in ("as_paper", "as_code"):
        told = f"level {method.level} takes the last steps of the network's own chain, not a grid"
        raise ValueError(f"{where}.grid: gits is learned below a level; {told}: give level: a number, or star")
    if not method.learns:
        return
    if method.split != "A":
        raise ValueError(f"{where}.targets: as_code starts from held-out images, from which nothing may be learned")
    if method.sampler == "none":
        raise ValueError(f"{where}.grid: gits is a grid of steps; sampler none takes none")
    reported = max((*experiment.sample_seeds, *(s for m in experiment.drawn.values() for s in m.sample_seeds)))
    if reported > LEARNING_SEED - RESERVED:
        told = f"the seeds above {LEARNING_SEED - RESERVED} are of what methods learn from; choose a smaller one"
        raise ValueError(f"sample_seeds: {reported}: {told}")


def seed_of(training_seed: int | None) -> int:
    """Of the starts that are learned from; several training seeds share none, in the tables' intervals neither."""
    return LEARNING_SEED - (training_seed or 0)


def evaluations(method: "Method", cell: Cell) -> int:
    """Of the network, that learning takes of each start for one budget and level, about."""
    once = gits.TEACHER if cell.family == "gits" else 0
    once += plugins.find("baselines", method.sampler).learning(cell.steps) if method.learned_options else 0
    return method.cost * once


def key(cell: Cell) -> str:
    """Budget and level of a cell: what is learned is the same for all its seeds."""
    return cell.key.rpartition("-")[0]


def write(path: Path, found: Mapping[str, Learned]) -> None:
    """Write what a method has learned, under the digest of its content."""
    value = {name: asdict(one) for name, one in found.items()}
    write_json(path, {"content": digest(value), "value": value})


def read(path: Path) -> dict[str, Learned]:
    """Read it.

    Raises:
        ValueError: the file is missing, or another than was written.
    """
    if not path.is_file():
        raise ValueError(f"No {path}: `dpmot learn {path.stem}` writes it")
    stored = read_json(path)
    if stored.get("content") != digest(stored.get("value")):
        raise ValueError(f"{path} is damaged: delete it and run again")
    return {name: _of(one) for name, one in stored["value"].items()}


def _of(stored: Mapping[str, Any]) -> Learned:
    return Learned(**{**stored, "sigmas": None if stored["sigmas"] is None else tuple(stored["sigmas"])})


def of(learned: Mapping[str, Learned], cell: Cell, method: str) -> Learned:
    """What was learned for a cell.

    Raises:
        ValueError: nothing was.
    """
    if key(cell) not in learned:
        raise ValueError(f"Nothing was learned for {method} at {key(cell)}: run `dpmot learn {method}`")
    return learned[key(cell)]


def notes(learned: Mapping[str, Learned]) -> list[str]:
    """One line for the rows: what learning has cost; none where nothing was learned."""
    if not learned:
        return []
    spent = sum(one.evaluations for one in learned.values())
    through = sum(one.differentiated for one in learned.values())
    starts = max(one.starts for one in learned.values())
    gradients = f", {through:,} of them with gradients" if through else ""
    return [f"learned from {starts} starts by {spent:,} network evaluations{gradients}"]
