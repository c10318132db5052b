"""Table 4: where samples lie, and what they repeat, by method and NFE budget.

Fidelity (precision, density), diversity (recall, coverage), kernel distance KD and feature likelihood divergence FLD in
the features named in the table, against the held-out split C; label entropy of the nearest real images in pixels, which
needs no classifier. One panel has the values against the training split A. Then what is copied: C_T (far below 0:
nearer to the stored images than held-out images are), exact and near duplicates (held-out images: none, and one in a
hundred), distinct neighbours and distinct starts, over n, and source recovery in features.
"""

from collections.abc import Sequence

import pandas as pd

from dpmot.results import FLOORS, REAL_TEST, REAL_TRAIN, fact, facts, printed_name
from paper_figures import _comparison as comparison
from paper_figures import _tables as tables
from paper_figures._comparison import Row
from paper_figures._results import Results
from paper_figures._tables import Cell, Document, Panel

READS = ("reported",)
SHOWN = ("kd", "fld", "precision", "density", "recall", "coverage")
ENTROPY, OFF_MODE = "label_entropy_pixels", "off_mode_mixture"
COPIED = ("ct", "exact_duplicates", "near_duplicates", "distinct_neighbours", "distinct_sources")
BOTH = ("kd", "precision", "density", "recall", "coverage")  # against the training split too


def make(results: Results) -> pd.DataFrame:
    """Table 4 in long form: one row per (cell, metric, reference), columns ``comparison.COLUMNS``."""
    wanted = [(f"{stem}_{family}", "test") for family in results.families for stem in SHOWN]
    wanted += [(f"{stem}_{family}", "train") for family in results.families for stem in BOTH]
    wanted += [(ENTROPY, "test"), (ENTROPY, "train"), *((metric, "train") for metric in _copying(results))]
    # a method whose atoms come from the held-out split is audited against that split
    also = [(OFF_MODE, "none"), *((metric, "test") for metric in _copying(results))]
    also += [(f"fld_{family}", "train") for family in results.families]
    return comparison.long_form(results, wanted, also=also)


def _copying(results: Results) -> list[str]:
    return [f"{stem}_pixels" for stem in COPIED] + [f"recovery_{family}" for family in results.families]


def _joined(rows: Sequence[Row | None]) -> Cell:
    """Several values, without intervals: those are in the CSV."""
    texts = [comparison.plain(row, absent="–") for row in rows]
    measured = [row for row in rows if row is not None and row["status"] == "measured"]
    text = texts[0] if len(set(texts)) == 1 else " / ".join(texts)
    return Cell(text, marks=() if all(row["ranked"] for row in measured) else ("†",))


def _copying_panel(table: pd.DataFrame, results: Results) -> Panel:
    found, metrics = comparison.lookup(table), _copying(results)

    def entry(method: str, nfe: str) -> Cell:
        reference = "test" if (method, nfe, "ct_pixels", "test") in found else "train"
        return _joined([found.get((method, nfe, metric, reference)) for metric in metrics])

    names = [*(facts()[stem].label for stem in COPIED), *(printed_name(f"recovery_{f}") for f in results.families)]
    note = "Against the images that the method stores (–: skipped, or a start without stored images)."
    return comparison.by_method(results, f"Copying: {' / '.join(names)}", entry, (note,))


def _train_panel(table: pd.DataFrame, results: Results, family: str) -> Panel:
    found = comparison.lookup(table)

    def entry(method: str, nfe: str) -> Cell:
        return _joined([found.get((method, nfe, f"{stem}_{family}", "train")) for stem in BOTH])

    title = f"Against the training split A ({family}): {' / '.join(facts()[stem].label for stem in BOTH)}"
    note = "An exact copier of the training images does best here; intervals are in the CSV."
    return comparison.by_method(results, title, entry, (note,))


def _floor_panel(table: pd.DataFrame, results: Results, footnotes: dict[str, str]) -> Panel:
    """Real images of one split as if they were samples, against the other split."""
    found = comparison.lookup(table)
    metrics = [*(f"{stem}_{family}" for family in results.families for stem in SHOWN), ENTROPY]

    def row(method: str, reference: str) -> tuple[Cell, ...]:
        held = [found.get((method, "0", metric, reference)) for metric in metrics]
        n = next((one["num_samples"] for one in held if one and one["status"] == "measured"), "not run")
        cells = (comparison.cell(one, footnotes) if one else Cell("–") for one in held)
        return Cell(f"{FLOORS[method]}, against {reference}"), Cell(n), *cells

    rows = (row(REAL_TRAIN, "test"), row(REAL_TEST, "train"))
    note = (
        "Recall and coverage grow with n; precision, density, label entropy and KD do not. The floor of FLD is "
        "0 by definition, for as many samples as half of split A at most; more samples than that lower it."
    )
    return Panel("Floors: real images", ("row", "n", *metrics), rows, (note,))


def layout(table: pd.DataFrame, results: Results) -> Document:
    """The printed table."""
    footnotes: dict[str, str] = {}

    def panel(title: str, metric: str, reference: str = "test") -> Panel:
        return comparison.budget_panel(table, results, footnotes, title=title, metric=metric, reference=reference)

    shown = [(f"{stem}_{family}", f" ({family})") for family in results.families for stem in SHOWN]
    panels = [panel(f"{fact(metric).heading}{suffix}", metric) for metric, suffix in shown]
    if OFF_MODE in set(results.metrics["metric"]):
        panels.append(panel(fact(OFF_MODE).heading, OFF_MODE, "none"))
    panels.append(panel(fact(ENTROPY).heading, ENTROPY))
    panels += [_train_panel(table, results, family) for family in results.families]
    panels += [_copying_panel(table, results), _floor_panel(table, results, footnotes)]
    return comparison.document(
        table, results, footnotes, title="Table 4. Fidelity, diversity and copying by method and NFE budget",
        references="reference: held-out split C (test) except where said", panels=panels,
    )  # fmt: skip


PAGE = tables.page(__file__, __doc__, make, layout, comparison.csv)

if __name__ == "__main__":
    raise SystemExit(PAGE.main())
