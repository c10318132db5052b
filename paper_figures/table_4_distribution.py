"""Table 4: where samples lie, and what they repeat, by method and NFE budget.

Fidelity (precision, density), diversity (recall, coverage), kernel distance KD and feature likelihood divergence FLD in
the features named in the table, against the held-out split C; label entropy of the nearest real images in pixels, which
needs no classifier. One panel has the values against the training split A. Then what is copied: C_T (far below 0:
nearer to the stored images than held-out images are), exact and near duplicates (held-out images: none, and one in a
hundred), distinct neighbours and distinct starts, over n, and source recovery in features.
"""

import sys
from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from paper_figures import _comparison as comparison
from paper_figures import _tables as tables
from paper_figures._command import run
from paper_figures._results import FLOORS, Results
from paper_figures._tables import Cell, Document, Panel

NAME = "table_4_distribution"
OUTPUTS = tuple(f"tables/{NAME}.{suffix}" for suffix in ("md", "tex", "csv"))
SHOWN = {  # stem of the metric -> title of its panel
    "kd": "Kernel distance, lower is better",
    "fld": "Feature likelihood divergence, lower is better",
    "precision": "Precision (k = 3), higher is better",
    "density": "Density (k = 5), higher is better",
    "recall": "Recall (k = 3), higher is better",
    "coverage": "Coverage (k = 5), higher is better",
}
ENTROPY, OFF_MODE = "label_entropy_pixels", "off_mode_mixture"
COPIED = ("ct", "exact_duplicates", "near_duplicates", "distinct_neighbours", "distinct_sources")
BOTH = {"kd": "KD", "precision": "precision", "density": "density", "recall": "recall", "coverage": "coverage"}


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


def _entry(row: Mapping | None) -> str:
    if row is None or row["status"] == "skipped":
        return "–"
    if row["status"] == "not run":
        return "not run"
    return comparison.number(row["value"], row["metric"])


def _joined(rows: Sequence[Mapping | None]) -> Cell:
    texts = [_entry(row) for row in rows]
    measured = [row for row in rows if row is not None and row["status"] == "measured"]
    text = texts[0] if len(set(texts)) == 1 else " / ".join(texts)
    return Cell(text, marks=() if all(row["ranked"] for row in measured) else ("†",))


def _values_panel(
    results: Results, title: str, note: str, values: Callable[[str, str], Sequence[Mapping | None]]
) -> Panel:
    """Several values to a cell, without intervals: those are in the CSV."""
    rows: list[str | tuple[Cell, ...]] = []
    for heading, methods in comparison.grouped(results, comparison.main_methods(results)):
        rows.append(heading)
        for method in methods:
            head = (results.label(method), results.attribute(method, "network") or "–")
            rows.append((*map(Cell, head), *(_joined(values(method, nfe)) for nfe in results.budgets)))
    return Panel(title, ("method", "network", *(f"NFE {nfe}" for nfe in results.budgets)), tuple(rows), (note,))


def _copying_panel(table: pd.DataFrame, results: Results) -> Panel:
    found, metrics = comparison.lookup(table), _copying(results)

    def values(method: str, nfe: str) -> list[Mapping | None]:
        reference = "test" if (method, nfe, "ct_pixels", "test") in found else "train"
        return [found.get((method, nfe, metric, reference)) for metric in metrics]

    recovered = " / ".join(f"source recovery ({family})" for family in results.families)
    return _values_panel(
        results,
        f"Copying: C_T / exact duplicates / near duplicates / distinct neighbours / distinct starts / {recovered}",
        "Against the images that the method stores (–: skipped, or a start without stored images).",
        values,
    )


def _train_panel(table: pd.DataFrame, results: Results, family: str) -> Panel:
    found = comparison.lookup(table)
    return _values_panel(
        results,
        f"Against the training split A ({family}): {' / '.join(BOTH.values())}",
        "An exact copier of the training images does best here; intervals are in the CSV.",
        lambda method, nfe: [found.get((method, nfe, f"{stem}_{family}", "train")) for stem in BOTH],
    )


def _floor_panel(table: pd.DataFrame, results: Results, footnotes: dict[str, str]) -> Panel:
    """Real images of one split as if they were samples, against the other split."""
    found = comparison.lookup(table)
    metrics = [*(f"{stem}_{family}" for family in results.families for stem in SHOWN), ENTROPY]

    def row(method: str, reference: str) -> tuple[Cell, ...]:
        held = [found.get((method, "0", metric, reference)) for metric in metrics]
        n = next((one["num_samples"] for one in held if one and one["status"] == "measured"), "not run")
        cells = (comparison.cell(one, footnotes) if one else Cell("–") for one in held)
        return Cell(f"{FLOORS[method]}, against {reference}"), Cell(n), *cells

    rows = (row("real_train", "test"), row("real_test", "train"))
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

    panels = [
        panel(f"{title} ({family})", f"{stem}_{family}") for family in results.families for stem, title in SHOWN.items()
    ]
    if OFF_MODE in set(results.metrics["metric"]):
        panels.append(panel("True off-mode share (3 standard deviations), lower is better", OFF_MODE, "none"))
    panels.append(panel("Label entropy of the 10 nearest real images (pixels), lower is better", ENTROPY))
    panels += [_train_panel(table, results, family) for family in results.families]
    panels += [_copying_panel(table, results), _floor_panel(table, results, footnotes)]
    return Document(
        name=NAME,
        title="Table 4. Fidelity, diversity and copying by method and NFE budget",
        caption=comparison.caption(table, results, references="reference: held-out split C (test) except where said"),
        panels=tuple(panels),
        notes=comparison.notes(table, results, footnotes),
        details=comparison.audit_details(table, results),
    )


def produce(results: Results) -> dict[str, bytes]:
    """File contents of OUTPUTS."""
    table = make(results)
    document = layout(table, results)
    reported = comparison.reported_rows(results, mixture=False)
    contents = tables.markdown(document).encode(), tables.latex(document).encode(), comparison.csv(table, reported)
    return dict(zip(OUTPUTS, contents, strict=True))


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    return run(NAME, __doc__, produce, arguments)


if __name__ == "__main__":
    sys.exit(main())
