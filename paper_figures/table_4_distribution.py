"""Table 4: where samples lie, and what they repeat, by method and NFE budget.

Fidelity (precision, density), diversity (recall, coverage), kernel distance KD and feature likelihood divergence FLD in
the features named in the table, against the held-out split C; label entropy of the nearest real images in pixels, which
needs no classifier. One panel has the values against the training split A. Then what is copied: the share of copies,
C_T (far below 0: nearer to the stored images than held-out images are), exact and near duplicates (held-out images:
none, and one in a hundred), distinct neighbours, starts and samples, over n, and source recovery in features.
"""

from dataclasses import replace
from functools import partial

import pandas as pd

from dpmot.results import COPIES, CT, FLOORS, REAL_TEST, REAL_TRAIN, fact, facts, printed_name
from paper_figures import _tables as tables
from paper_figures._comparison import Comparison, valued
from paper_figures._headline import ARROWS, cell, chosen, competing, notes_of
from paper_figures._long_form import csv, long_form
from paper_figures._notes import fresh
from paper_figures._panels import Cell, Document, Panel
from paper_figures._results import Results

READS = ("replicates", "reported")
SHOWN = ("kd", "fld", "precision", "density", "recall", "coverage")
ENTROPY, OFF_MODE = "label_entropy_pixels", "off_mode_mixture"
COPIED = ("ct", "exact_duplicates", "near_duplicates", "distinct_neighbours", "distinct_sources")
DISTINCT, SPLITS = "distinct_samples_pixels", ("train", "test")
BOTH = ("kd", "precision", "density", "recall", "coverage")  # against the training split too


def make(results: Results) -> pd.DataFrame:
    """Table 4 in long form: one row per (cell, metric, reference), columns ``COLUMNS``."""
    wanted = [(f"{stem}_{family}", "test") for family in results.families for stem in SHOWN]
    wanted += [(f"{stem}_{family}", "train") for family in results.families for stem in BOTH]
    copying = [metric for metric in _copying(results) if metric != COPIES]  # which older folders lack
    wanted += [(ENTROPY, "test"), (ENTROPY, "train"), *((metric, "train") for metric in copying)]
    # a method whose atoms come from the held-out split is audited against that split
    also = [(OFF_MODE, "none"), *((metric, "test") for metric in copying), *((COPIES, split) for split in SPLITS)]
    also += [(DISTINCT, "none")]
    also += [(f"fld_{family}", "train") for family in results.families]
    return long_form(results, wanted, also=also)


def _copying(results: Results) -> list[str]:
    pixels = (f"{stem}_pixels" for stem in COPIED)
    return [COPIES, *pixels, *(f"recovery_{family}" for family in results.families)]


def _labels(stems: tuple[str, ...]) -> list[str]:
    return [facts()[stem].label for stem in stems]


def _train_panel(cells: Comparison, family: str) -> Panel:
    """What an exact copier does best in."""
    columns = {
        fact(f"{stem}_{family}").label: partial(cells.value, metric=f"{stem}_{family}", references=("train",))
        for stem in BOTH
    }
    note = "An exact copier of the training images does best here."
    return cells.listed(f"Against the training split A ({family})", columns, (note,))


def _copying_panel(cells: Comparison) -> Panel:
    """What is copied, against the images that each method stores."""

    def entry(method: str, nfe: str, metric: str) -> Cell:
        return cells.value(method, nfe, metric, (cells.stored(method, nfe, CT), "none"))

    recovered = [printed_name(f"recovery_{family}") for family in cells.results.families]
    names = ["share of copies", *_labels(COPIED), *recovered, "distinct samples"]
    metrics = (*_copying(cells.results), DISTINCT)
    columns = {name: partial(entry, metric=metric) for name, metric in zip(names, metrics, strict=True)}
    note = "Against the images that the method stores (–: skipped, not measured, or a start without stored images)."
    return cells.listed("Copying", columns, (note,))


def _headline(cells: Comparison) -> Panel | None:
    """Chosen methods at the smallest budget: distance, fidelity and diversity against test."""
    results, family = cells.results, cells.results.families[0]
    nfe, pairs = results.budgets[0], [(f"{stem}_{family}", "test") for stem in ("kd", *BOTH[1:])]
    known = {pair: competing(cells, *pair) for pair in pairs}
    shown = [pair for pair in pairs if len(known[pair])]
    if not shown:
        return None
    direction = fact(shown[0][0]).direction
    rows = []
    for method in chosen(results, known[shown[0]], direction):
        entries = [cell(cells, cells.rows.get((method, nfe, *pair))) for pair in shown]
        if any(map(valued, entries)):
            rows.append((Cell(results.label(method)), Cell(results.attribute(method, "network") or "–"), *entries))
    if not rows:
        return None
    header = ("method", "network", *(f"{fact(m).label}{ARROWS.get(fact(m).direction, '')}" for m, _ in shown))
    panel = Panel(f"Against test ({family}) at NFE {nfe}", header, tuple(rows), heads=2)
    return replace(panel, notes=notes_of(cells, panel, shown, [nfe]))


def _floor_panel(cells: Comparison) -> Panel:
    """Real images of one split as if they were samples, against the other split."""
    metrics = [*(f"{stem}_{family}" for family in cells.results.families for stem in SHOWN), ENTROPY]
    rows = []
    for method, reference in ((REAL_TRAIN, "test"), (REAL_TEST, "train")):
        held = [cells.rows.get((method, "0", metric, reference)) for metric in metrics]
        n = next((one["num_samples"] for one in held if one and one["status"] == "measured"), "not run")
        shown = (cells.cell(one, absent="–") for one in held)
        rows.append((Cell(f"{FLOORS[method]}, against {reference}"), Cell(n), *shown))
    note = (
        "Recall and coverage grow with n; precision, density, label entropy and KD do not. The zero of FLD is "
        "half of split A, fitted to the other half. FLD falls with n: the value of fresh images is the floor of rows "
        "of its own n."
    )
    of_fresh = [line for family in cells.results.families for line in fresh(cells.results, "fld", family)]
    return Panel(
        "Floors: real images", ("row", "n", *map(printed_name, metrics)), tuple(rows), (note, *of_fresh), heads=2
    )


def layout(table: pd.DataFrame, results: Results) -> Document:
    """The printed table."""
    cells, families = Comparison(table, results), results.families
    shown = [(f"{stem}_{family}", f" ({family})") for family in families for stem in SHOWN]
    panels = [cells.panel(f"{fact(metric).heading}{suffix}", metric) for metric, suffix in shown]
    if OFF_MODE in set(results.metrics["metric"]):
        panels.append(cells.panel(fact(OFF_MODE).heading, OFF_MODE, "none"))
    panels.append(cells.panel(fact(ENTROPY).heading, ENTROPY))
    for family in families:
        panels.append(_train_panel(cells, family))
    panels.append(_copying_panel(cells))
    panels.append(_floor_panel(cells))
    title = "Table 4. Fidelity, diversity and copying by method and NFE budget"
    return cells.document(
        title, "reference: held-out split C (test) except where said", panels, headline=_headline(cells)
    )


PAGE = tables.page(__file__, __doc__, make, layout, csv)

if __name__ == "__main__":
    raise SystemExit(PAGE.main())
