"""A run as the gate sees it: the pooled cells of a metrics.csv, and the replicates beside it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

KEY = ["method", "nfe_budget", "sigma_start", "features", "reference", "metric"]


class CannotCompare(ValueError):
    """Two runs that no test can compare; the message says what differs."""


@dataclass(frozen=True)
class Run:
    """A results folder.

    Attributes:
        path: its metrics.csv.
        metrics: all rows, as text.
    """

    path: Path
    metrics: pd.DataFrame

    @classmethod
    def read(cls, path: Path) -> "Run":
        """From a results folder or its metrics.csv.

        Raises:
            CannotCompare: no such file, or no metrics.csv of this project.
        """
        file = path / "metrics.csv" if path.is_dir() else path
        try:
            table = pd.read_csv(file, dtype=str, keep_default_na=False)
        except (OSError, ValueError) as error:
            raise CannotCompare(f"{file} cannot be read: {error}; give a results folder or its metrics.csv") from None
        missing = [name for name in (*KEY, "sample_seed", "value", "fingerprint") if name not in table]
        if missing or table.empty:
            raise CannotCompare(f"{file} is no metrics.csv: {f'no column {missing[0]}' if missing else 'no rows'}")
        return cls(file, table)

    @property
    def fingerprint(self) -> str:
        """That of its rows."""
        return ", ".join(sorted(set(self.metrics["fingerprint"])))

    @property
    def seeds(self) -> set[tuple[str, str]]:
        """(method, sample seed) of the samples."""
        rows = self.metrics[(self.metrics["sample_seed"] != "pooled") & (self.metrics["start"] != "data")]
        return set(zip(rows["method"], rows["sample_seed"], strict=True))

    @cached_property
    def cells(self) -> dict[tuple[str, ...], Mapping]:
        """KEY -> its pooled row, where a value was measured."""
        rows = self.metrics[(self.metrics["sample_seed"] == "pooled") & (self.metrics["value"] != "")]
        return {_key(row): row for row in rows.to_dict("records")}

    @cached_property
    def replicates(self) -> dict[tuple[str, str, str], tuple[float, np.ndarray]]:
        """(cell, metric, reference) -> plain value of all samples, and without each group (G,)."""
        file, found = self.path.with_name("replicates.csv"), {}
        if file.is_file():
            table = pd.read_csv(file, dtype={"group": str})
            for key, rows in table.groupby(["cell", "metric", "reference"], sort=False):
                values = dict(zip(rows["group"], rows["value"], strict=True))
                found[key] = values.pop("all"), np.array(list(values.values()))
        return found

    def replicates_of(self, row: Mapping) -> tuple[float, np.ndarray] | None:
        """Replicates of a row, or None."""
        sigma = "" if row["start"] == "data" else f"/{float(row['sigma_start'] or 0):.6g}"
        return self.replicates.get((f"{row['method']}/{row['nfe_budget']}{sigma}", row["metric"], row["reference"]))


def _key(row: Mapping) -> tuple[str, ...]:
    # the last digits of a level may differ from machine to machine
    sigma = f"{float(row['sigma_start']):.6g}" if row["sigma_start"] else ""
    return tuple(sigma if name == "sigma_start" else row[name] for name in KEY)


def cell_name(row: Mapping) -> str:
    """A cell to read: method, budget, level."""
    sigma = f", sigma {float(row['sigma_start']):.4g}" if row["sigma_start"] else ""
    return f"{row['method']} at NFE {row['nfe_budget']}{sigma}"


def metric_name(row: Mapping) -> str:
    """A metric to read, with its reference."""
    return row["metric"] if row["reference"] in ("none", "") else f"{row['metric']} ({row['reference']})"
