"""The numbers of docs/theory.md on what seeds move, as its template asks for them.

Of results/reference/training_lottery/: tables/table_14_trainings.csv, and gate_retrained.csv of
`benchmarks.gate_retrained`, which may be missing. Of results/reference/laws/: lottery.csv of `benchmarks.lottery`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.laws_numbers import LAWS
from benchmarks.lottery import FACTORS
from dpmot.results import printed_name, records
from paper_figures._numbers import told
from paper_figures._retrained import by_metric

FOLDER = LAWS.parent / "training_lottery"
CLAIMED = ("again", "confirmed")  # by another training, by all together


@dataclass(frozen=True)
class Lottery:
    """The training lottery as it was measured.

    Attributes:
        spread: rows of Table 14, one a method, budget and metric.
        claims: the same, one a metric and one of all, whose metric is empty.
        alarms: one row a comparison of the gate; None where it was not run.
    """

    spread: pd.DataFrame
    claims: pd.DataFrame
    alarms: pd.DataFrame | None

    @classmethod
    def read(cls, folder: Path = FOLDER) -> "Lottery | None":
        """From the committed files; None where there is no table.

        Raises:
            ValueError: the table is of a run whose numbers are no result.
        """
        table, gate = folder / "tables" / "table_14_trainings.csv", folder / "gate_retrained.csv"
        if not table.is_file():
            return None
        rows = pd.read_csv(table, dtype={"nfe_budget": str})
        if "not_a_result" in rows:
            raise ValueError(f"{table}: {rows['not_a_result'].iloc[0]}; commit a run as it is written")
        kinds = rows["kind"]
        alarms = pd.read_csv(gate) if gate.is_file() else None
        return cls(rows[kinds == "spread"], rows[kinds == "claims"], alarms)

    @property
    def design(self) -> dict[str, int]:
        """``trainings``, ``draws`` of each, and ``samples_a_draw``."""
        first = self.spread.iloc[0]
        return {name: int(first[name]) for name in ("trainings", "draws", "samples_a_draw")}

    @property
    def parts(self) -> list[dict[str, Any]]:
        """By metric with parted rows: ``name``, ``reference``, ``rows``, ``share`` of training, ``least``, ``most``.

        Values without debiasing, and all thresholds of the MMR but the first, are in the table alone.
        """
        thresholds = [name for name in self.spread["metric"].unique() if name.startswith("mmr_")][1:]
        rows = [row for row in by_metric(self.spread) if row["rows"] and row["metric"] not in thresholds]
        return [row | {"name": printed_name(row["metric"])} for row in rows if not row["metric"].startswith("plain_")]

    @property
    def moved(self) -> str:
        """The metrics of more than one row in most of whose rows training shows, printed."""
        named = [
            f"{row['name']} against {row['reference']}" if row["reference"] != "none" else row["name"]
            for row in self.parts
            if row["rows"] > 1 and 2 * row["shown"] > row["rows"]
        ]
        return ", ".join(named) or "none"

    def rows(self, metric: str = "fd_classifier", reference: str = "test") -> list[dict[str, Any]]:
        """Rows of a metric with ``value_cell`` (over trainings) and ``share_cell`` printed.

        Raises:
            LookupError: the table has none.
        """
        own = self.spread[(self.spread["metric"] == metric) & (self.spread["reference"] == reference)]
        if own.empty:
            raise LookupError(f"training_lottery, Table 14: no row of {metric} against {reference}")
        return [
            row
            | {"value_cell": told(row["value"], row["low"], row["high"])}
            | {"share_cell": told(row["share"], row["share_low"], row["share_high"])}
            for row in records(own)
        ]

    @property
    def survival(self) -> dict[str, Any]:
        """All claims together, with ``again_cell`` and ``confirmed_cell`` printed; empty where no pair was compared."""
        own = self.claims[self.claims["metric"].fillna("") == ""]
        if own.empty:
            return {}
        (row,) = records(own)
        cells = {f"{name}_cell": told(*(row[f"{name}{end}"] for end in ("", "_low", "_high"))) for name in CLAIMED}
        return row | cells

    @property
    def gate(self) -> list[dict[str, Any]]:
        """By design: ``stopped`` comparisons of how ``many``, ``tests`` and ``invariants`` that stopped them."""
        if self.alarms is None:
            return []
        found = []
        for design, part in self.alarms.groupby("design", sort=False):
            tests, invariants = part["changed"] > 0, part["violated"] > 0
            counts = {"stopped": tests | invariants, "tests": tests, "invariants": invariants}
            found.append(
                {"design": design, "many": len(part)} | {name: int(each.sum()) for name, each in counts.items()}
            )
        return found


@dataclass(frozen=True)
class Parts:
    """What the seeds of training, atoms, fit and samples move, each for itself: rows of laws/lottery.csv."""

    rows: pd.DataFrame

    @classmethod
    def read(cls, file: Path = LAWS / "lottery.csv") -> "Parts | None":
        """From the committed file; None where there is none."""
        return cls(pd.read_csv(file, keep_default_na=False, na_values=[""])) if file.is_file() else None

    @property
    def design(self) -> dict[str, int]:
        """``groups`` of each factor, ``draws`` of each, and ``samples_a_draw``."""
        first = self.rows.iloc[0]
        return {name: int(first[name]) for name in ("groups", "draws", "samples_a_draw")}

    def cells(self, metric: str = "fd_classifier", reference: str = "test") -> list[dict[str, Any]]:
        """By method and budget: ``training``, ``atoms``, ``fit`` and ``samples``, standard deviations with intervals.

        – for a factor that does not change the method. ``samples`` has no interval: its median over the factors.

        Raises:
            LookupError: the table has no such metric.
        """
        own = self.rows[(self.rows["metric"] == metric) & (self.rows["reference"] == reference)]
        if own.empty:
            raise LookupError(f"laws/lottery.csv: no row of {metric} against {reference}")
        found = []
        for (_, nfe), part in own.groupby(["method", "nfe_budget"], sort=False):
            by = {row["factor"]: row for row in records(part)}
            cells = {name: self._cell(by.get(name)) for name in FACTORS}
            samples = f"{part['sd_samples'].median():#.2g}"
            found.append({"label": part["label"].iloc[0], "nfe": nfe, **cells, "samples": samples})
        return found

    @staticmethod
    def _cell(row: dict[str, Any] | None) -> str:
        return "–" if row is None else told(row["sd_factor"], row["sd_factor_low"], row["sd_factor_high"])

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """By metric: ``name``, ``reference``, and of each factor the median share of what it adds, and where it shows.

        A share is that of the factor in the variance of one draw beside samples alone, as the factors are not crossed.
        Metrics without a variance, values without debiasing, and all thresholds of the MMR but the first are left out.
        """
        found = []
        for (metric, reference), rows in self._rated.groupby(["metric", "reference"], sort=False):
            each = {name: self._share(rows[rows["factor"] == name]) for name in FACTORS}
            found.append({"name": printed_name(str(metric)), "reference": reference, **each})
        return found

    def moved(self, factor: str, *methods: str) -> str:
        """In how many metrics of how many the factor shows in most rows of some methods: its interval is above 0."""
        rows = self._rated[(self._rated["factor"] == factor) & self._rated["method"].isin(methods)]
        most = (rows["share_low"] > 0).groupby([rows["metric"], rows["reference"]]).mean() > 0.5
        return f"{most.sum()} of {len(most)}"

    @property
    def _rated(self) -> pd.DataFrame:
        """The rows with a share, of one threshold of the MMR."""
        thresholds = [name for name in self.rows["metric"].unique() if name.startswith("mmr_")][1:]
        return self.rows[self.rows["share"].notna() & ~self.rows["metric"].isin(thresholds)]

    @staticmethod
    def _share(rows: pd.DataFrame) -> str:
        if rows.empty:
            return "–"
        return f"{rows['share'].median():.2f} ({(rows['share_low'] > 0).sum()} of {len(rows)})"
