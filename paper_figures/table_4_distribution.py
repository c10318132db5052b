"""Table 4: where samples lie, and what they repeat, by method and NFE budget.

Fidelity (precision, density), diversity (recall, coverage), kernel distance KD and feature likelihood divergence FLD in
the features named in the table, against the held-out split C; label entropy of the nearest real images in pixels, which
needs no classifier. Then what is copied: C_T (far below 0: nearer to the stored images than held-out images are), exact
and near duplicates (held-out images: none, and one in a hundred), distinct neighbours and distinct starts, over n.
"""

import sys
from collections.abc import Mapping, Sequence

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


def make(results: Results) -> pd.DataFrame:
    """Table 4 in long form: one row per (cell, metric, reference), columns ``comparison.COLUMNS``."""
    wanted = [(f"{stem}_{family}", "test") for family in results.families for stem in SHOWN]
    wanted += [(ENTROPY, "test"), *((f"{stem}_pixels", "train") for stem in COPIED)]
    # a method whose atoms come from the held-out split is audited against that split
    also = [(OFF_MODE, "none"), *((f"{stem}_pixels", "test") for stem in COPIED)]
    return comparison.long_form(results, wanted, also=also)


def _copied(found: dict, method: str, nfe: str) -> list[Mapping | None]:
    reference = "test" if (method, nfe, "ct_pixels", "test") in found else "train"
    return [found.get((method, nfe, f"{stem}_pixels", reference)) for stem in COPIED]


def _entry(row: Mapping | None) -> str:
    if row is None or row["status"] != "measured":
        return "–"
    return comparison.number(row["value"], row["metric"])


def _copying_panel(table: pd.DataFrame, results: Results) -> Panel:
    found = comparison.lookup(table)
    rows: list[str | tuple[Cell, ...]] = []
    for heading, methods in comparison.grouped(results, comparison.main_methods(results)):
        rows.append(heading)
        for method in methods:
            cells = [" / ".join(map(_entry, _copied(found, method, nfe))) for nfe in results.budgets]
            head = (results.label(method), results.attribute(method, "network") or "–")
            rows.append(tuple(map(Cell, (*head, *cells))))
    return Panel(
        "Copying: C_T / exact duplicates / near duplicates / distinct neighbours / distinct starts",
        ("method", "network", *(f"NFE {nfe}" for nfe in results.budgets)),
        tuple(rows),
        ("Shares of the samples, against the images that the method stores (–: not measured, or no stored source).",),
    )


def _floor_panel(table: pd.DataFrame, results: Results, footnotes: dict[str, str]) -> Panel:
    found = comparison.lookup(table)
    columns = [(f"{stem}_{family}", "test") for family in results.families for stem in SHOWN]
    columns.append((ENTROPY, "test"))
    rows = [
        (
            Cell(FLOORS["real_train"]),
            *(comparison.cell(found.get(("real_train", "0", *one)), footnotes) for one in columns),
        )
    ]
    return Panel("Floor: real images", ("row", *(metric for metric, _ in columns)), tuple(rows))


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
    panels += [_copying_panel(table, results), _floor_panel(table, results, footnotes)]
    return Document(
        name=NAME,
        title="Table 4. Fidelity, diversity and copying by method and NFE budget",
        caption=comparison.caption(table, results, references="reference: held-out split C (test)"),
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
