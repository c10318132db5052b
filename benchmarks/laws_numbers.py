"""The numbers of docs/theory.md: what results/reference/laws/ holds, as its template asks for it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.bound_page import Case, cases, differences
from benchmarks.laws_page import NAMES, TOLERANCE, verdict
from dpmot.results import records
from paper_figures._numbers import told

LAWS = Path(__file__).resolve().parent.parent / "results" / "reference" / "laws"
MISSING = "not measured"


@dataclass(frozen=True)
class Laws:
    """The rows of results/reference/laws/recovery.csv, of `benchmarks.predict`; none where it is not committed."""

    rows: pd.DataFrame | None

    @classmethod
    def read(cls) -> "Laws":
        """From the committed file."""
        file = LAWS / "recovery.csv"
        return cls(pd.read_csv(file) if file.is_file() else None)

    def of(self, dataset: str, images: int, law: str = "ode") -> list[dict[str, Any]]:
        """Rows by level, with ``predicted_cell``, ``measured_cell``, ``difference_cell``, ``population_cell`` printed.

        Raises:
            LookupError: the file is there and has no such row.
        """
        if self.rows is None:
            return []
        rows = self.rows[(self.rows["dataset"] == dataset) & (self.rows["num_images"] == images)]
        rows = rows[rows["law"] == law].sort_values("sigma", kind="stable")
        if rows.empty:
            raise LookupError(f"laws/recovery.csv: no row of {dataset}, {images} images, {law}")
        return [row | self._cells(row) for row in records(rows)]

    @property
    def cases(self) -> list[tuple[str, int]]:
        """Data set and N of each part of the file."""
        return [] if self.rows is None else sorted(set(zip(self.rows["dataset"], self.rows["num_images"], strict=True)))

    @property
    def trained(self) -> list[tuple[str, int]]:
        """The cases with rows of trained networks."""
        own = None if self.rows is None else self.rows[self.rows["law"] == "network"]
        return [] if own is None else sorted(set(zip(own["dataset"], own["num_images"], strict=True)))

    def name(self, dataset: str) -> str:
        """A data set as figures name it."""
        return NAMES[dataset]

    def star(self, dataset: str, images: int, law: str, *, tolerance: float = 0.01) -> str:
        """The smallest of its levels from which on the predicted recovery beyond chance is at most the tolerance."""
        found = "none of them"
        for row in reversed(self.of(dataset, images, law)):
            if row["predicted_high"] - row["chance"] > tolerance:
                break
            found = f"{row['sigma']:.3g}"
        return found if self.rows is not None else MISSING

    def number(self, dataset: str, images: int, column: str) -> str:
        """``num_latents`` of the predictions or ``num_samples`` of the measurements of a case, over its levels."""
        counts = [row[column] for law in ("posterior", "ode") for row in self.of(dataset, images, law)]
        return " to ".join(f"{count:,}" for count in sorted({min(counts), max(counts)}))

    @property
    def tolerance(self) -> str:
        """How far a measurement may lie from its prediction."""
        return f"{TOLERANCE:g}"

    def verdict(self, law: str) -> str:
        """Which measurements of a law lie within the tolerance, and each that does not."""
        return MISSING if self.rows is None else verdict(self.rows, law)

    def _cells(self, row: dict[str, Any]) -> dict[str, str]:
        ends = {"predicted": "predicted_", "measured": "", "difference": "difference_", "population": "population_"}
        return {f"{name}_cell": told(row[name], row[f"{end}low"], row[f"{end}high"]) for name, end in ends.items()}


@dataclass(frozen=True)
class ErrorTerms:
    """The laws of results/reference/laws/bound.csv, of `benchmarks.bound`; none where it is not committed."""

    cases: tuple[Case, ...]

    @classmethod
    def read(cls) -> "ErrorTerms":
        """From the committed file."""
        file = LAWS / "bound.csv"
        return cls(tuple(cases(pd.read_csv(file))) if file.is_file() else ())

    @property
    def agreement(self) -> str:
        """How many of the differences between totals and sums are 0 within their intervals."""
        if not self.cases:
            return MISSING
        out, number = differences(pd.concat([case.rows for case in self.cases]))
        return f"{number - out} of {number}"

    def number(self, case: Case, method: str, distance: str, quantity: str, error: str = "none") -> str:
        """A value with its interval, as the tables print it."""
        return case.cell(method, error, distance, quantity)
