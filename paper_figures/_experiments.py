"""What was run, on what, and what it took: the facts of every committed experiment, from its own files."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from dpmot.results import read_json


@dataclass(frozen=True)
class Ran:
    """A committed experiment, or the configuration of one that is not.

    Attributes:
        name: of the experiment, and of its folder in results/reference/.
        config: the configuration in config/ that names it; None where the command line made it.
        methods, samples: how many methods, and how many samples a sample seed; 0 where it is not committed.
        fingerprint, machine: of its rows; empty where it is not committed.
        jobs, seconds, peak_gb: how many jobs, the sum of their wall clock, and the most memory of one; 0 without
            timings.csv.
    """

    name: str
    config: str | None = None
    methods: int = 0
    samples: int = 0
    fingerprint: str = ""
    machine: str = ""
    jobs: int = 0
    seconds: float = 0.0
    peak_gb: float = 0.0


def experiments(root: Path) -> list[Ran]:
    """Those that are committed, then configurations of which nothing is, each by name."""
    configs = dict(_configured(root / "config"))
    reference = root / "results" / "reference"
    found = [_ran(file.parent, configs) for file in sorted(reference.glob("*/fingerprint.json"))]
    missing = sorted({*configs} - {one.name for one in found})
    return found + [Ran(name, configs[name]) for name in missing]


def _configured(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.glob("*.yaml")):
        yield yaml.safe_load(path.read_text(encoding="utf-8"))["experiment"], f"config/{path.name}"


def _ran(folder: Path, configs: dict[str, str]) -> Ran:
    plan = read_json(folder / "experiment.json", needs=("experiment", "methods", "num_samples"))
    mark = read_json(folder / "fingerprint.json", needs=("fingerprint", "environment"))
    timings = folder / "timings.csv"
    table = pd.read_csv(timings) if timings.is_file() else pd.DataFrame(columns=["wall_s", "peak_mb"], dtype=float)
    return Ran(
        name=folder.name,
        config=configs.get(folder.name),
        methods=len(plan["methods"]),
        samples=plan["num_samples"],
        fingerprint=mark["fingerprint"],
        machine=mark["environment"].get("machine", ""),
        jobs=len(table),
        seconds=float(table["wall_s"].sum()),
        peak_gb=float(table["peak_mb"].max()) / 1000 if len(table) else 0.0,
    )
