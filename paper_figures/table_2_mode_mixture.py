"""Table 2: mode-mixture ratio by method and NFE budget.

MMR(t) = share of images with at least two classes of probability >= t (DPM-OT; thresholds of the authors'
code). Real images have mixtures too: their ratio is the floor, taken on the training split A and on the
held-out split C. Where the two floors disagree, the classifier knows split A and the threshold is marked §.
A note tells the classifier's accuracy and calibration error on both.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from paper_figures import _comparison as comparison
from paper_figures import _tables as tables
from paper_figures._command import run
from paper_figures._results import FLOORS, Results
from paper_figures._tables import Cell, Document, Panel

NAME = "table_2_mode_mixture"
OUTPUTS = tuple(f"tables/{NAME}.{suffix}" for suffix in ("md", "tex", "csv"))
THRESHOLDS = ("0.1", "0.11", "0.115", "0.13", "0.16", "0.2", "0.3", "0.4")
MAIN = ("0.1", "0.2")
JUDGED = ("accuracy_", "ece_")  # of the classifier itself


def _reference(results: Results) -> str:
    return results.reference("mmr_0.1")


def make(results: Results) -> pd.DataFrame:
    """Table 2 in long form: one row per (cell, threshold), columns ``comparison.COLUMNS``."""
    judged = [(metric, "none") for metric in results.metrics["metric"].unique() if metric.startswith(JUDGED)]
    return comparison.long_form(results, [(f"mmr_{t}", _reference(results)) for t in THRESHOLDS], also=judged)


def floors_agree(table: pd.DataFrame, threshold: str) -> bool | None:
    """Whether the floors of splits A and C overlap in their intervals; None where one is missing."""
    rows = table[(table["metric"] == f"mmr_{threshold}") & (table["status"] == "measured")].set_index("method")
    if not set(FLOORS) <= set(rows.index) or rows.loc[list(FLOORS), ["low", "high"]].isna().any(axis=None):
        return None
    train, test = rows.loc["real_train"], rows.loc["real_test"]
    return bool(train["low"] <= test["high"] and test["low"] <= train["high"])


def _mark(table: pd.DataFrame, threshold: str) -> str:
    measured = (table.loc[table["metric"] == f"mmr_{threshold}", "status"] == "measured").any()
    return " §" if measured and not floors_agree(table, threshold) else ""


def _panel(table: pd.DataFrame, results: Results, footnotes: dict[str, str], threshold: str) -> Panel:
    metric = f"mmr_{threshold}"
    floors = ", ".join(
        f"{label} {comparison.cell(_floor(table, method, metric), footnotes).text}" for method, label in FLOORS.items()
    )
    title = f"MMR at t = {threshold}{_mark(table, threshold)}, lower is better"
    panel = comparison.budget_panel(
        table, results, footnotes, title=title, metric=metric, reference=_reference(results)
    )
    return replace(panel, notes=(f"Floors at t = {threshold}: {floors}.",)) if panel.rows else panel


def _floor(table: pd.DataFrame, method: str, metric: str) -> pd.Series | None:
    rows = table[(table["method"] == method) & (table["metric"] == metric)]
    return rows.iloc[0] if len(rows) else None


def _reference_panel(table: pd.DataFrame, results: Results, footnotes: dict[str, str]) -> Panel:
    """Floors of real images, 0-NFE rows and full chains at every threshold."""
    found, reference = comparison.lookup(table), _reference(results)
    rows = tuple(
        (
            Cell(results.title(method)),
            Cell(nfe),
            *(comparison.cell(found.get((method, nfe, f"mmr_{t}", reference)), footnotes) for t in THRESHOLDS),
        )
        for method, nfe in comparison.beyond_budgets(table, results)
    )
    header = ("row", "NFE", *(f"t = {t}{_mark(table, t)}" for t in THRESHOLDS))
    return Panel("Floors and references at every threshold", header, rows)


def _floor_note(table: pd.DataFrame) -> str:
    if not (table["status"] == "measured").any():
        return "No mode-mixture ratio was measured."
    differing = [t for t in THRESHOLDS if floors_agree(table, t) is False]
    unknown = [t for t in THRESHOLDS if floors_agree(table, t) is None]
    lines = []
    if differing:
        lines.append(
            f"§ the floors of splits A and C disagree beyond their intervals at t = {', '.join(differing)}: the "
            "classifier treats training images differently, which favours methods that copy them"
        )
    if unknown:
        lines.append(f"§ a floor or its interval is missing at t = {', '.join(unknown)}, so agreement is unknown")
    return ("; ".join(lines) or "The floors of splits A and C agree within their intervals at every threshold") + "."


def _classifier_note(table: pd.DataFrame) -> str:
    """Accuracy and expected calibration error of the classifier on the real images of each split."""
    rows = table[table["metric"].str.startswith(JUDGED) & (table["status"] == "measured")]
    if rows.empty:
        return "Accuracy and calibration of the classifier: not measured (no labelled real images)."
    splits = [
        f"{FLOORS[method]}: " + ", ".join(f"{row['metric']} {comparison.interval(row)}" for row in part)
        for method, part in ((name, one.to_dict("records")) for name, one in rows.groupby("method", sort=False))
    ]
    return f"The classifier on real images, {'; '.join(splits)}."


def layout(table: pd.DataFrame, results: Results) -> Document:
    """The printed table; thresholds outside MAIN are in LaTeX and CSV only."""
    footnotes: dict[str, str] = {}
    panels = {t: _panel(table, results, footnotes, t) for t in THRESHOLDS}
    references = _reference_panel(table, results, footnotes)
    reported = comparison.reported_rows(results, mixture=True)
    main = (*(panels[t] for t in MAIN), references, comparison.reported_panel(reported, results))
    return Document(
        name=NAME,
        title="Table 2. Mode-mixture ratio by method and NFE budget",
        caption=comparison.caption(table, results, references="floors: real images of splits A (train) and C (test)"),
        panels=main,
        notes=(*comparison.notes(table, results, footnotes), _floor_note(table), _classifier_note(table)),
        details=comparison.audit_details(table, results),
        latex_panels=tuple(panels[t] for t in THRESHOLDS if t not in MAIN),
    )


def produce(results: Results) -> dict[str, bytes]:
    """File contents of OUTPUTS."""
    table = make(results)
    document = layout(table, results)
    reported = comparison.reported_rows(results, mixture=True)
    contents = tables.markdown(document).encode(), tables.latex(document).encode(), comparison.csv(table, reported)
    return dict(zip(OUTPUTS, contents, strict=True))


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    return run(NAME, __doc__, produce, arguments)


if __name__ == "__main__":
    sys.exit(main())
