"""A run as the gate sees it: the pooled cells of a metrics.csv, and the replicates and the audit beside it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dpmot import results
from dpmot.results import (
    AUDIT,
    CELL,
    KEY,
    METRICS,
    OVER_TRAININGS,
    PLAIN,
    POOLED,
    cell_key,
    fact,
    member,
    sigma_key,
)
from dpmot.runtime.packed import stored

Row = Mapping[str, str]


class CannotCompare(ValueError):
    """Two runs that no test can compare; the message says what differs."""


OF_A_CELL = ("dataset", "network", "start", "sampler", "training_seed", "nfe_counted")  # one entry for all seeds


@dataclass(frozen=True)
class Run:
    """A results folder.

    Attributes:
        path: its metrics.csv; the file may be packed.
        metrics: all rows, as text.
        methods: its methods as experiment.json beside it describes them, by name; none where there is no such file.
    """

    path: Path
    metrics: pd.DataFrame
    methods: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Run":
        """From a results folder or its metrics.csv.

        Raises:
            CannotCompare: no such file, or no metrics.csv of this project.
        """
        file = path / "metrics.csv" if path.is_dir() else path
        plan = file.with_name("experiment.json")
        try:
            planned = results.read_json(plan) if plan.is_file() else {}
            methods, trainings = planned.get("methods"), planned.get("training_seeds") or ()
            if not isinstance(methods, dict | None):
                raise ValueError(f"{plan}, methods: found {methods!r}; methods by name are allowed")
            if methods is not None and isinstance(trainings, list):
                members = {member(name, seed): one for name, one in methods.items() for seed in trainings}
                methods = methods | members
            table = results.text(file, METRICS, methods=methods)
        except OSError as error:
            raise CannotCompare(f"{file} cannot be read: {error}; give a results folder or its metrics.csv") from None
        except ValueError as error:
            raise CannotCompare(str(error)) from None
        if table.empty:
            raise CannotCompare(f"{file} is no metrics.csv: no rows")
        run = cls(file, table, methods or {})
        run._check_seeds()
        run._check_trainings()
        return run

    @cached_property
    def trainings(self) -> dict[str, str]:
        """Method, or member of one, -> its training seed; of several the rows of their mean have ``OVER_TRAININGS``."""
        return dict(zip(self.metrics["method"], self.metrics["training_seed"], strict=True))

    @cached_property
    def members(self) -> dict[str, list[str]]:
        """Methods with rows over training seeds -> their members."""
        over = [name for name, seed in self.trainings.items() if seed == OVER_TRAININGS]
        return {name: [one for one, t in self.trainings.items() if one == member(name, t)] for name in over}

    def seeds_of_training(self, method: str) -> list[str]:
        """The training seeds of a method, ascending; none where the run has no such method."""
        of = self.members.get(method) or [method] * (method in self.trainings)
        return sorted((self.trainings[name] for name in of), key=lambda seed: (len(seed), seed))

    def _check_trainings(self) -> None:
        """Refuse a method of two trainings, and rows over training seeds that are not the mean of their members'."""
        for row in results.records(self.metrics):
            if row["training_seed"] != (seed := self.trainings[row["method"]]):
                told = f"{row['method']} has training seeds {seed} and {row['training_seed']}"
                raise CannotCompare(f"{self.path}: {told}: rows of two runs stand in one file; measure again")
        for key, over in self.cells.items():
            if over["training_seed"] != OVER_TRAININGS:
                continue
            units = [self.cells.get((one, *key[1:])) for one in self.members[over["method"]]]
            told = f"{self.path}: {over['metric']} of {cell_name(over)}, over training seeds"
            if len(units) < 2 or None in units:
                raise CannotCompare(f"{told}, lacks rows of its training seeds: rows are cut; measure again")
            mean = np.mean([float(unit["value"]) for unit in units if unit])
            if not np.isclose(float(over["value"]), mean, rtol=1e-9, atol=1e-12):
                raise CannotCompare(f"{told}, is {over['value']}; its {len(units)} rows have the mean {mean}")

    def _check_seeds(self) -> None:
        """Refuse a row of one seed that has no row over all seeds, and one that says something else of its cell."""
        rows = results.records(self.metrics)
        pooled = {_key(row): row for row in rows if row["sample_seed"] == POOLED}
        for row in rows:
            told = f"{self.path}: {row['metric']} of {cell_name(row)}, sample_seed {row['sample_seed']}"
            if (over_all := pooled.get(_key(row))) is None:
                raise CannotCompare(f"{told}, has no row over all seeds: rows are cut or of another run; measure again")
            if other := next((name for name in OF_A_CELL if row[name] != over_all[name]), None):
                raise CannotCompare(f"{told}, has {other} {row[other]}, the row over all seeds {over_all[other]}")

    @property
    def fingerprint(self) -> str:
        """That of its rows."""
        return ", ".join(sorted(set(self.metrics["fingerprint"])))

    @cached_property
    def seeds(self) -> dict[str, set[str]]:
        """Sample seeds of each method; real images have none."""
        return {str(name): set(seeds) - {POOLED} for name, seeds in self.metrics.groupby("method")["sample_seed"]}

    @cached_property
    def cells(self) -> dict[tuple[str, ...], Row]:
        """KEY -> its pooled row, where a value was measured."""
        rows = self.metrics[(self.metrics["sample_seed"] == POOLED) & (self.metrics["value"] != "")]
        return {_key(row): row for row in results.records(rows)}

    @cached_property
    def audit(self) -> dict[tuple[str, ...], Row] | None:
        """CELL -> its row of audit.csv beside the file; None where there is none."""
        file = self.path.with_name("audit.csv")
        try:
            return (
                {_key(row, CELL): row for row in results.records(results.text(file, AUDIT))} if file.is_file() else None
            )
        except ValueError as error:
            raise CannotCompare(str(error)) from None

    def budget(self, row: Row) -> float:
        """Evaluations that a row may spend: its budget, and one more for a method with ``nfe: as_code``.

        One that keeps samples by their class spends its budget on every draw, as many as there are.
        """
        method = self.methods.get(row["method"])
        known = method if isinstance(method, Mapping) else {}
        if (known.get("start_options") or {}).get("balanced"):
            return math.inf
        more = (known.get("nfe") == "as_code") * (1 if known.get("guidance") in (None, 0, 1) else 2)
        return int(row["nfe_budget"]) + more if row["nfe_budget"].isdigit() else math.inf

    @cached_property
    def replicates(self) -> dict[tuple[str, str, str], tuple[float, np.ndarray]]:
        """(cell, metric, reference) -> plain value of all samples, and without each group (G,)."""
        file = self.path.with_name("replicates.csv")
        try:
            return results.replicates(file, as_written=True) if stored(file).is_file() else {}
        except ValueError as error:
            raise CannotCompare(f"{file} is no replicates.csv of a whole run: {error}") from None

    def replicates_of(self, row: Row) -> tuple[float, np.ndarray]:
        """Plain value and replicates of a row; refused where there are none, or they are not of the row's samples."""
        key = cell_key(row["method"], row["nfe_budget"], row["sigma_start"]), row["metric"], row["reference"]
        file = self.path.with_name("replicates.csv")
        if key not in self.replicates:
            raise CannotCompare(f"{file} lacks {row['metric']} of {cell_name(row)}: it is not of the same run, or cut")
        full, parts = self.replicates[key]
        plain = np.isclose(full, float(self.plain(row)["value"]), rtol=1e-9, atol=1e-12)
        if not (plain and results.matching(float(row["value"]), full, parts)):
            raise CannotCompare(f"{file} and {self.path} differ in {row['metric']} of {cell_name(row)}: not of one run")
        return full, parts

    def check_replicates(self) -> None:
        """Refuse replicates, where there are any, that are not those of every row."""
        rows = self.cells.values() if self.replicates else ()
        own = [row for row in rows if fact(row["metric"]).replicates and not row["metric"].startswith(PLAIN)]
        of = [(row["training_seed"] == OVER_TRAININGS, len(self.replicates_of(row)[1])) for row in own]
        for over in (False, True):  # groups of samples, or training seeds
            numbers = {number for one, number in of if one == over}
            if len(numbers) <= 1:
                continue
            told = " and ".join(map(str, sorted(numbers)))
            raise CannotCompare(f"{self.path.with_name('replicates.csv')} has cells of {told} replicates: it is cut")

    def plain(self, row: Row) -> Row:
        """The row with the bias of a row without, or itself, as over training seeds, whose units are values."""
        if row["training_seed"] == OVER_TRAININGS:
            return row
        return self.cells.get(_key({**row, "metric": f"{PLAIN}{row['metric']}"}), row)


def _key(row: Row, columns: tuple[str, ...] = KEY) -> tuple[str, ...]:
    # the last digits of a level may differ from machine to machine
    return tuple(sigma_key(row[name]) if name == "sigma_start" else row[name] for name in columns)


def cell_name(row: Row) -> str:
    """A cell to read: method, budget, level."""
    sigma = f", sigma {float(row['sigma_start']):.4g}" if row["sigma_start"] else ""
    return f"{row['method']} at NFE {row['nfe_budget']}{sigma}"


def metric_name(row: Row) -> str:
    """A metric to read, with its reference."""
    return row["metric"] if row["reference"] in ("none", "") else f"{row['metric']} ({row['reference']})"
