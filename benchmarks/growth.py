"""How do time and memory grow with the number of images? Exponents over four and more sizes, beside what is expected.

Each size runs in a process of its own, one thread, and is fitted by log cost = constant + exponent log size; the
interval of an exponent is the regression's. Seconds are of the processor, memory is the most above what the process
held before. What grows faster than size log size is named, with the reason.

fit        semi-discrete map of N atoms (64 numbers each) to chi2 .05: each of some N noises looks at N atoms, size^2.
map        one noise an atom through a solved map of N atoms: size^2.
frechet    FD of n samples in 128 features, and without each of 20 groups: size.
kernel     KD of the same: all pairs, size^2.
fidelity   precision, recall, density and coverage of n + n rows: all pairs, size^2.
copies     200 samples sought among n images of 16 x 16: size.
pages      all tables and figures of the committed experiments again, by their rows of metrics.csv: size at most.

example: python -m benchmarks.growth
         python -m benchmarks.growth --cases fit map --csv results/reference/metrics/growth.csv
"""

import argparse
import multiprocessing
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty

import numpy as np
import pandas as pd
from scipy.stats import linregress, t

from benchmarks.metrics import distance, features, ours
from benchmarks.spent import spend
from dpmot.plugins import ROOT
from dpmot.runtime.packed import stored
from dpmot.seeds import generator

Work = Callable[[], object]
NEARLY_LINEAR = 1.2  # log n adds about .1 at these sizes


def fit(size: int) -> Work:
    """A map solved."""
    import torch

    from dpmot.transport import SemiDiscreteProblem, SemiDiscreteSolver

    atoms = torch.from_numpy(generator(0, "growth", "atoms").standard_normal((size, 64), dtype="float32"))
    return lambda: SemiDiscreteSolver(chi2=0.05)(SemiDiscreteProblem(atoms, source_measure="normal"), seed=0)


def mapped(size: int) -> Work:
    """A noise an atom, sent to its cell."""
    import torch

    from dpmot.transport import BrenierPotential

    draw = generator(0, "growth", "map")
    atoms, noise = (torch.from_numpy(draw.standard_normal((size, 64), dtype="float32")) for _ in range(2))
    potential = BrenierPotential(atoms, torch.zeros(size, dtype=torch.float64))
    return lambda: potential.cell(noise)


def metric(measure: Callable[..., object], size: int) -> Work:
    """A metric of ``benchmarks.metrics``."""
    return partial(measure, *features(size, 128), 1)


def copies(size: int) -> Work:
    """The search for copies of split A, of ``size`` images, beside 500 of split B."""
    from dpmot.metrics.copies import Copies

    draw = generator(0, "growth", "copies")
    splits = {name: draw.integers(0, 256, (n, 1, 16, 16), dtype=np.uint8) for name, n in {"A": size, "B": 500}.items()}
    samples = draw.integers(0, 256, (200, 1, 16, 16), dtype=np.uint8)
    return lambda: Copies(splits).search(samples)


def pages(size: int) -> Work:
    """The committed experiment with that many rows."""
    from paper_figures._rebuild import rebuild

    def work() -> int:
        with tempfile.TemporaryDirectory() as name:  # the committed files stay as they are
            folder = Path(name, "results")
            shutil.copytree(_experiments()[size], folder)
            return len(rebuild(folder))

    return work


def _experiments() -> dict[int, Path]:
    """Committed experiments by their rows of metrics.csv."""
    folders = [one for one in sorted((ROOT / "results" / "reference").iterdir()) if (one / "tables").is_dir()]
    found = {one: stored(one / "metrics.csv") for one in folders}
    return {len(pd.read_csv(path, usecols=["metric"])): one for one, path in found.items() if path.is_file()}


@dataclass(frozen=True)
class Case:
    """What is made larger.

    Attributes:
        prepare: size -> the work that is timed.
        sizes: at least four.
        expected: the exponent of time that the algorithm has; above 1 it is named in the table.
        because: why it is above 1.
    """

    prepare: Callable[[int], Work]
    sizes: Sequence[int]
    expected: float
    because: str = ""


ALL_PAIRS = "all pairs, in blocks: n^2 d / B"
CASES = {
    "fit": Case(fit, (1000, 2000, 4000, 8000), 2, "some noises an atom, each looks at all atoms: n^2 d / B"),
    "map": Case(mapped, (4000, 8000, 16000, 32000), 2, "a noise an atom, each looks at all atoms: n^2 d / B"),
    "frechet": Case(partial(metric, partial(distance, "frechet")), (4000, 8000, 16000, 32000), 1),
    "kernel": Case(partial(metric, partial(distance, "kernel_distance")), (2000, 4000, 8000, 16000), 2, ALL_PAIRS),
    "fidelity": Case(partial(metric, ours), (2000, 4000, 8000, 16000), 2, ALL_PAIRS),
    "copies": Case(copies, (2000, 4000, 8000, 16000), 1),
    "pages": Case(pages, (), 1),
}


def measure(name: str, size: int, queue) -> None:
    """Run a case once, in this process; put (seconds of the processor, MiB)."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    case = CASES[name]
    if case.sizes:
        case.prepare(min(case.sizes) // 4)()  # loads the code
    work = case.prepare(size)
    with threadpool_limits(1):
        spent = spend(work)
    queue.put((spent.processor, spent.memory / 2**20))


def measured(name: str, size: int) -> tuple[float, float]:
    """What a case takes at a size, in a process of its own: seconds, MiB."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    child = context.Process(target=measure, args=(name, size, queue))
    child.start()
    while child.is_alive():
        with suppress(Empty):
            spent: tuple[float, float] = queue.get(timeout=1)
            child.join()
            return spent
    raise SystemExit(f"growth: {name} at size {size} ended with status {child.exitcode}")


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> tuple[float, float, float]:
    """Slope of log cost over log size, and its 95 % interval; NaN with fewer than three costs above 0."""
    kept = [(size, cost) for size, cost in zip(sizes, costs, strict=True) if cost > 0]
    if len(kept) < 3:
        return (float("nan"),) * 3
    line = linregress(*np.log(np.array(kept)).T)
    half = float(line.stderr) * float(t.ppf(0.975, len(kept) - 2))
    return float(line.slope), float(line.slope) - half, float(line.slope) + half


def row(name: str) -> dict[str, object]:
    """A case over its sizes: a line of the table."""
    case = CASES[name]
    sizes = [*case.sizes] or sorted(_experiments())
    spent = [measured(name, size) for size in sizes]
    seconds, memory = ([*column] for column in zip(*spent, strict=True))
    found: dict[str, object] = {"case": name, "sizes": " ".join(map(str, sizes)), "expected": case.expected}
    for what, costs in (("time", seconds), ("memory", memory)):
        names = (what, f"{what}_low", f"{what}_high")
        found |= {key: round(value, 3) for key, value in zip(names, exponent(sizes, costs), strict=True)}
    found |= {"seconds": " ".join(f"{one:.3g}" for one in seconds), "MiB": " ".join(f"{one:.3g}" for one in memory)}
    return found | {"named": (case.because or "not expected") if exponent(sizes, seconds)[0] > NEARLY_LINEAR else ""}


def main() -> None:
    """Print the table; write it with --csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    rows = []
    for name in options.cases:
        rows.append(row(name))
        print({key: value for key, value in rows[-1].items() if value != ""}, flush=True)
    if options.csv:
        pd.DataFrame(rows).to_csv(options.csv, index=False)


if __name__ == "__main__":
    main()
