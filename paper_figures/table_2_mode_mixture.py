"""Table 2: mode-mixture ratio by method and NFE budget.

MMR(t) = share of images with at least two classes of probability >= t (DPM-OT; thresholds of the authors'
code). Real images have mixtures too: their ratio is the floor, taken on the training split A and on the
held-out split C. Where the two floors disagree, the classifier knows split A and the threshold is marked §.
A note tells the classifier's accuracy and calibration error on both. Where samples are drawn for a class, a panel more
has the share that the classifier puts into it; where it was recorded, another has what needs no classifier: how far the
network's answer still moves along a sample's way.
"""

from collections.abc import Iterator
from functools import partial

import pandas as pd

from dpmot.results import FLOORS, REAL_TEST, REAL_TRAIN, by_key, fact, printed_name, records, stem
from paper_figures import _tables as tables
from paper_figures._comparison import Comparison
from paper_figures._headline import by_budget, floor
from paper_figures._long_form import csv, long_form
from paper_figures._numbers import interval
from paper_figures._panels import Cell, Document, Panel
from paper_figures._reported import reported_panel
from paper_figures._results import Results

READS = ("replicates", "reported")
THRESHOLDS = ("0.1", "0.11", "0.115", "0.13", "0.16", "0.2", "0.3", "0.4")
MAIN = ("0.1", "0.2")
JUDGED = ("accuracy", "ece")  # of the classifier itself
DRAWN = "label_accuracy"
MOVED = "trajectory_variance"


def make(results: Results) -> pd.DataFrame:
    """Table 2 in long form: one row per (cell, threshold), columns ``COLUMNS``."""
    beside = (*JUDGED, DRAWN, MOVED)
    also = [(metric, "none") for metric in results.metrics["metric"].unique() if stem(metric) in beside]
    return long_form(results, [(f"mmr_{t}", _reference(results)) for t in THRESHOLDS], also=also)


def _reference(results: Results) -> str:
    return results.reference("mmr_0.1")


def floors_agree(table: pd.DataFrame, threshold: str) -> bool | None:
    """Whether the floors of splits A and C overlap in their intervals; None where one is missing."""
    rows = table[(table["metric"] == f"mmr_{threshold}") & (table["status"] == "measured")].set_index("method")
    if not set(FLOORS) <= set(rows.index) or rows.loc[list(FLOORS), ["low", "high"]].isna().any(axis=None):
        return None
    train, test = rows.loc[REAL_TRAIN], rows.loc[REAL_TEST]
    return bool(train["low"] <= test["high"] and test["low"] <= train["high"])


def _mark(table: pd.DataFrame, threshold: str) -> str:
    measured = (table.loc[table["metric"] == f"mmr_{threshold}", "status"] == "measured").any()
    return " §" if measured and not floors_agree(table, threshold) else ""


def _panel(cells: Comparison, threshold: str) -> Panel:
    metric, found = f"mmr_{threshold}", by_key(cells.table, "method", "metric")
    floors = (f"{label} {cells.cell(found.get((method, metric))).text}" for method, label in FLOORS.items())
    label, direction = fact(metric).label, fact(metric).direction
    title = f"{label} at t = {threshold}{_mark(cells.table, threshold)}, {direction} is better"
    note = f"Floors at t = {threshold}: {', '.join(floors)}."
    return cells.panel(title, metric, _reference(cells.results), (note,))


def _reference_panel(cells: Comparison) -> Panel:
    """Floors of real images, 0-NFE rows and full chains at every threshold."""
    reference = _reference(cells.results)
    rows = []
    for method, nfe in cells.beyond_budgets:
        shown = (cells.cell(cells.rows.get((method, nfe, f"mmr_{t}", reference))) for t in THRESHOLDS)
        rows.append((Cell(cells.results.title(method)), Cell(nfe), *shown))
    header = ("row", "NFE", *(f"t = {t}{_mark(cells.table, t)}" for t in THRESHOLDS))
    return Panel("Floors and references at every threshold", header, tuple(rows), heads=2)


def _floor_note(table: pd.DataFrame) -> str:
    if not (table["status"] == "measured").any():
        return "No mode-mixture ratio was measured."
    agree = {t: floors_agree(table, t) for t in THRESHOLDS}
    differing, unknown = (", ".join(t for t, known in agree.items() if known is value) for value in (False, None))
    lines = []
    if differing:
        lines.append(
            f"§ the floors of splits A and C disagree beyond their intervals at t = {differing}: the classifier treats "
            "training images differently, which favours methods that copy them"
        )
    if unknown:
        lines.append(f"§ a floor or its interval is missing at t = {unknown}, so agreement is unknown")
    return ("; ".join(lines) or "The floors of splits A and C agree within their intervals at every threshold") + "."


def _classifier_note(table: pd.DataFrame) -> str:
    """Accuracy and expected calibration error of the classifier on the real images of each split."""
    rows = table[table["metric"].map(stem).isin(JUDGED) & (table["status"] == "measured")]
    if rows.empty:
        return "Accuracy and calibration of the classifier: not measured (no labelled real images)."
    judged = [f"{printed_name(row['metric'])} {interval(row)}" for row in records(rows)]
    splits = pd.Series(judged).groupby(rows["method"].map(FLOORS).to_numpy(), sort=False).agg(", ".join)
    return f"The classifier on real images, {'; '.join(f'{split}: {values}' for split, values in splits.items())}."


def _beside(cells: Comparison) -> Iterator[Panel]:
    """Label accuracy, where samples were drawn for classes; the variance of D along the way, where it was recorded."""
    told = {
        DRAWN: ("–", "–: drawn for no class. Real held-out images: the accuracy of the classifier, in the notes."),
        MOVED: (
            "not measured",
            "Over the second half of each method's steps, squared units of images in [-1, 1], mean of coordinates "
            "(arXiv:2406.09358). It falls with the noise levels of these steps: compare methods of one NFE, grid and "
            "start, whose levels are the same. No method is marked the best.",
        ),
    }
    for kind, (absent, note) in told.items():
        for metric in sorted({metric for metric in cells.table["metric"] if stem(metric) == kind}):
            yield cells.panel(fact(metric).heading, metric, "none", (note,), absent=absent)


def _moved_note(table: pd.DataFrame, results: Results) -> tuple[str, ...]:
    """That the variance of D was asked for, and that no samples have it."""
    if MOVED not in results.experiment.metrics or table["metric"].map(stem).eq(MOVED).any():
        return ()
    told = "samples were drawn before it was recorded, or elsewhere, or by no sampler"
    return (f"{fact(f'{MOVED}_pixels').title}: not measured; {told}.",)


def layout(table: pd.DataFrame, results: Results) -> Document:
    """The printed table; thresholds outside MAIN are in LaTeX and CSV only."""
    cells = Comparison(table, results)
    panels = {t: _panel(cells, t) for t in THRESHOLDS}
    main = (
        *(panels[t] for t in MAIN),
        *_beside(cells),
        _reference_panel(cells),
        reported_panel(results, mixture=True),
    )
    metric = f"mmr_{MAIN[0]}", _reference(results)
    floors = floor(cells, *metric)
    return cells.document(
        "Table 2. Mode-mixture ratio by method and NFE budget",
        "floors: real images of splits A (train) and C (test)",
        main,
        remarks=(_floor_note(table), _classifier_note(table), *_moved_note(table, results)),
        latex_panels=tuple(panels[t] for t in THRESHOLDS if t not in MAIN),
        headline=by_budget(cells, *metric, floors=floors),
    )


PAGE = tables.page(__file__, __doc__, make, layout, partial(csv, mixture=True))

if __name__ == "__main__":
    raise SystemExit(PAGE.main())
