"""Published numbers: reported.csv, which comes with the code and never enters a measured column."""

from pathlib import Path

import pandas as pd

from dpmot import results as files
from dpmot.results import Schema, records
from paper_figures._panels import Cell, Panel
from paper_figures._results import Results

REPORTED = Schema(
    columns=(
        *("dataset", "method", "sampler", "network", "nfe", "metric", "value", "num_samples", "conditional"),
        *("source", "grade", "note"),
    ),
    key=("dataset", "method", "sampler", "network", "nfe", "metric", "num_samples", "conditional", "source", "note"),
)
REPORTED_FILE = Path(__file__).with_name("reported.csv")
PUBLISHED = [
    "method", "sampler", "network", "nfe", "metric", "value", "num_samples", "conditional", "grade", "source", "note",
]  # fmt: skip


def published(dataset: str, path: Path = REPORTED_FILE) -> pd.DataFrame:
    """Rows of reported.csv for one data set; "CIFAR-10" and "cifar10" are the same.

    Raises:
        ValueError: the file lacks a column.
    """

    def plain(name: str) -> str:
        return "".join(letter for letter in name.lower() if letter.isalnum())

    table = files.text(path, REPORTED)
    return table[table["dataset"].map(plain) == plain(dataset)]


def reported(results: Results, *, mixture: bool) -> pd.DataFrame:
    """Rows of reported.csv for this data set: mode-mixture ratios, or everything else."""
    rows = published(results.experiment.dataset)
    return rows[rows["metric"].str.lower().str.startswith("mmr") == mixture]


def reported_panel(results: Results, *, mixture: bool = False) -> Panel:
    """Published numbers in a panel of their own, never in a measured column."""
    title, rows = "Reported (not measured here)", reported(results, mixture=mixture)
    if rows.empty:
        return Panel(title, (), (), (f"No published numbers for this data set ({results.experiment.dataset}).",))
    header = tuple({"value": "reported", "num_samples": "n", "nfe": "NFE"}.get(name, name) for name in PUBLISHED)
    empty = {"value": "not transcribed", "note": "–"}
    body = tuple(tuple(Cell(row[name] or empty.get(name, "not stated")) for name in PUBLISHED) for row in records(rows))
    return Panel(title, header, body)
