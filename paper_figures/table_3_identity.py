"""Table 3: DPM-OT against the copy control, equivalence over seeds.

With solved heights T(noise) and a uniform random atom have the same law, so the two methods' metrics agree in
law and their mean difference over seeds lies within the margin: two one-sided tests, equivalent where the
larger p-value is below 0.05. A significant difference is a bug or an error of the cell masses.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd

from dpmot.results import IDENTITY, printed_name, records
from paper_figures import _tables as tables
from paper_figures._comparison import of_number
from paper_figures._headline import MOST
from paper_figures._numbers import Number
from paper_figures._panels import Cell, Document, Panel, not_run
from paper_figures._results import Results, fingerprints

READS = ("identity",)
HEADER = (
    "metric", "reference", "NFE", "seeds", "mean difference", "margin", "p", "p (difference)", "verdict",
)  # fmt: skip


def make(results: Results) -> pd.DataFrame:
    """identity.csv in its own order; no rows where it does not exist."""
    columns = list(IDENTITY.columns)
    return pd.DataFrame(columns=columns) if results.identity is None else results.identity[columns].copy()


def _number(value: float) -> str:
    return "not run" if pd.isna(value) else f"{value:.3g}"


def _difference(row: Mapping[str, Any]) -> Cell:
    if pd.isna(row["mean_difference"]):
        return Cell("not run")
    return of_number(Number(row["mean_difference"], row["low"], row["high"], 3))


def _row(row: Mapping[str, Any]) -> tuple[Cell, ...]:
    verdict = "not run"
    if pd.notna(row["mean_difference"]):
        verdict = "equivalent" if row["equivalent"] else "not shown"
    chances = ("< 0.001" if p < 0.001 else _number(p) for p in (row["p_value"], row["p_difference"]))
    key = (row[name] for name in ("reference", "nfe", "seeds"))
    after = map(Cell, (_number(row["margin"]), *chances, verdict))
    return (*map(Cell, (printed_name(row["metric"]), *key)), _difference(row), *after)


def _headline(table: pd.DataFrame, results: Results) -> Panel | None:
    """The tests that are furthest from showing equivalence."""
    tested = table[table["mean_difference"].notna()].sort_values("p_value", ascending=False, kind="stable")[:MOST]
    if tested.empty:
        return None
    pairs = {pair: " - ".join(map(results.title, pair.split(" - "))) for pair in tested["pair"]}
    rows = []
    for row in records(tested):
        name, reference, nfe, _, difference, margin, p, _, verdict = _row(row)
        short = Cell(difference.number.short, number=difference.number) if difference.number else difference
        rows.append((Cell(pairs[row["pair"]]), name, reference, nfe, short, margin, p, verdict))
    header = ("pair", "metric", "reference", "NFE", "difference", "margin", "p", "verdict")
    notes = (
        "Difference: mean over the seeds ± half the width of its interval over them. Equivalent: two one-sided tests "
        "within the margin, p at most 0.05, Holm-corrected.",
        f"Data set {results.experiment.dataset}; fingerprint {fingerprints(results.metrics['fingerprint'], 1)}. Rows: "
        "the largest p first, at most ten; all rows are in the supplement.",
    )
    return Panel("Mean difference over seeds", header, tuple(rows), notes)


def layout(table: pd.DataFrame, results: Results) -> Document:
    """The printed table."""
    rows: list[str | tuple[Cell, ...]] = []
    for pair, members in table.groupby("pair", sort=False):
        names = [results.title(name) for name in str(pair).split(" - ")]
        rows += [" - ".join(names), *map(_row, records(members))]
    title = "Mean difference over seeds"
    panel = Panel(title, HEADER, tuple(rows), heads=4) if rows else not_run(title, "the results hold no identity.csv.")
    told = "intervals of the paired mean difference, over seeds, in brackets"
    told = f"{results.at_first}n = {results.experiment.num_samples} samples a seed; {told}"
    return Document(
        title="Table 3. DPM-OT against the copy control",
        caption=results.caption(told, results.metrics["fingerprint"], 3),
        panels=(panel,),
        notes=(
            "Equivalent: p, of two one-sided tests that the mean difference lies inside (-margin, +margin), is at most "
            "0.05. Both p are Holm-corrected over the table.",
            "p (difference): two-sided test of equal means. Both methods have one law: "
            "a small value is a bug or an error of the cell masses.",
            '"not shown" says that equivalence was not shown; it does not say that the methods differ.',
        ),
        headline=_headline(table, results),
    )


PAGE = tables.page(__file__, __doc__, make, layout, partial(tables.csv, missing="not run"))

if __name__ == "__main__":
    raise SystemExit(PAGE.main())
