"""Table 9: what a start's latents and their denoising measure, level by level.

One panel a method: a row for each level sigma of the latents, from those of the published path at 5 to 50 steps on to
the sweep's. Frechet distance, precision and recall against the held-out split C, Frechet distance against the training
split A, mode mixture, source recovery and exact copies among the images that the method stores, and the mean distance
to the nearest image of each split (pixels in [-1, 1]). Where these rows reach what real images get, before a network
was asked, the result is the data's. Beside them the floors: real images.
"""

from dataclasses import replace

import pandas as pd

from dpmot.results import FLOORS, RECOVERY, by_key, printed_name
from paper_figures import _tables as tables
from paper_figures._comparison import Comparison
from paper_figures._headline import brief, chosen, notes_of, spread
from paper_figures._long_form import csv, long_form
from paper_figures._notes import caption, verdict_notes
from paper_figures._panels import Cell, Document, Panel
from paper_figures._results import Results
from paper_figures._verdicts import UNRANKED

READS = ("replicates", "reported")
MIXTURE, COPIES, NEAREST = "mmr_0.1", "exact_duplicates_pixels", "nn_distance_pixels"
STORED = {"test": "split C", "train": "split A"}


def columns(family: str) -> dict[tuple[str, str], str]:
    """(metric, reference) -> heading of each column; a reference "stored" is the split that the method stores."""
    distance = printed_name(f"fd_{family}")
    return {
        (f"fd_{family}", "test"): f"{distance} test",
        (f"fd_{family}", "train"): f"{distance} train",
        (f"precision_{family}", "test"): "precision",
        (f"recall_{family}", "test"): "recall",
        (MIXTURE, "none"): "MMR (t = 0.1)",
        (RECOVERY, "stored"): "source recovery",
        (COPIES, "stored"): "exact copies",
        (NEAREST, "test"): "to nearest test image",
        (NEAREST, "train"): "to nearest train image",
    }


def make(results: Results) -> pd.DataFrame:
    """Table 9 in long form: one row per (cell, metric, reference), columns ``COLUMNS``."""
    wanted = [key for family in results.families for key in columns(family)]
    plain = [key for key in wanted if key[1] != "stored"]
    also = [(metric, split) for metric, reference in wanted if reference == "stored" for split in STORED]
    table = long_form(results, plain, also=also)
    return table[(table["status"] != "not run") & (table["group"] != "identity")].reset_index(drop=True)


def _row(cells: Comparison, part: pd.DataFrame, family: str) -> tuple[Cell, ...]:
    """The entries of one level of a method."""
    rows, entries = by_key(part, "metric", "reference"), []
    for metric, reference in columns(family):
        splits = STORED if reference == "stored" else (reference,)
        entries.append(next((rows[metric, split] for split in splits if (metric, split) in rows), None))
    return tuple(cells.cell(row, absent="–") for row in entries)


def _method_panel(cells: Comparison, method: str, family: str) -> Panel:
    """The levels of one method, ascending."""
    part, body = cells.table[cells.table["method"] == method], []
    levels = ["sigma_atoms", "sigma_start", "nfe_budget"]
    for _, rows in part.groupby(levels, dropna=False, sort=True):
        sigma, start, nfe = rows[levels].iloc[0]
        counted = next(filter(None, rows["nfe_counted"]), "–")
        steps = nfe if nfe in cells.results.budgets else "–"
        sigmas = ("–" if pd.isna(level) else f"{level:.4g}" for level in (sigma, start))
        body.append((*map(Cell, (steps, *sigmas, counted)), *_row(cells, rows, family)))
    stored = next((STORED[one] for one in part.loc[part["metric"] == COPIES, "reference"]), "no image")
    title = f"{cells.results.title(method)} (stored images: {stored})"
    header = ("steps", "sigma of latents", "sigma of start", "NFE", *columns(family).values())
    return Panel(title, header, tuple(body), heads=4)


def _floor_panel(cells: Comparison, family: str) -> Panel:
    parts = {name: cells.table[cells.table["method"] == method] for method, name in FLOORS.items()}
    body = tuple(
        (Cell(name), Cell(part["num_samples"].iloc[0]), *_row(cells, part, family))
        for name, part in parts.items()
        if len(part)
    )
    note = (
        "Recall depends on n: compare with a method of the same n. The classifier may know split A: then the floors of "
        "mode mixture differ, and a method that hands back images has the floor of the split that they come from."
    )
    return Panel(f"Floors: real images ({family})", ("row", "n", *columns(family).values()), body, (note,), heads=2)


def _headline(cells: Comparison) -> Panel | None:
    """Methods at budgets of the path, small ones first, in the metrics that tell copies from quality."""
    results, family = cells.results, cells.results.families[0]
    shown = [key for key in columns(family) if key[0] in (f"fd_{family}", MIXTURE, RECOVERY, COPIES)]
    table = cells.table[cells.table["nfe_budget"].isin(results.budgets)]
    rows = table[(table["metric"] == f"fd_{family}") & (table["reference"] == "test") & (table["status"] == "measured")]
    rows = rows[~rows["group"].isin(["floor", "sweep"])]
    if rows.empty:
        return None
    pairs = list(dict.fromkeys(zip(rows["method"], rows["nfe_budget"], strict=True)))
    body = []
    for method, nfe in spread(pairs, chosen(results, rows)):
        part = table[(table["method"] == method) & (table["nfe_budget"] == nfe)]
        start = part["sigma_start"].iloc[0]
        known = by_key(part, "metric", "reference")
        entries = []
        for metric, reference in shown:
            splits = STORED if reference == "stored" else (reference,)
            row = next((known[metric, split] for split in splits if (metric, split) in known), None)
            entries.append(replace(brief(cells.cell(row, absent="–")), bold=False))
        sigma = Cell("–" if pd.isna(start) else f"{start:.4g}")
        body.append((Cell(results.label(method)), Cell(nfe), sigma, *entries))
    header = ("method", "steps", "sigma of start", *(columns(family)[key] for key in shown))
    panel = Panel("First levels of the path", header, tuple(body), heads=3)
    keys = [(metric, split) for metric, reference in shown for split in (*STORED, reference)]
    notes = [note for note in notes_of(cells, panel, keys, results.budgets) if not note.startswith("Bold")]
    words = [word for word in UNRANKED if (rows["verdict"] == word).any()]
    marked = [f"† unranked ({', '.join(words)})."] if words else []
    return replace(panel, notes=(*marked, *notes))


def layout(table: pd.DataFrame, results: Results) -> Document:
    """The printed table."""
    cells = Comparison(table, results)
    methods = [method for method in dict.fromkeys(table["method"]) if method not in FLOORS]
    panels = []
    for family in results.families:
        panels += [*(_method_panel(cells, method, family) for method in methods), _floor_panel(cells, family)]
    notes = (
        "Sigmas are those of images in [-1, 1], twice those of images in [0, 1]. Steps: the number that the published "
        "path has at this level; –: a level of the sweep.",
        *verdict_notes(table[~table["method"].isin(FLOORS)], results),
        *(f"{mark} skipped: {reason}" for reason, mark in cells.footnotes.items()),
    )
    return Document(
        title="Table 9. The published path level by level: latents, and exact denoising",
        caption=caption(table, results, references="reference: held-out split C (test) except where said"),
        panels=tuple(panels),
        notes=notes,
        headline=_headline(cells),
    )


PAGE = tables.page(__file__, __doc__, make, layout, csv)

if __name__ == "__main__":
    raise SystemExit(PAGE.main())
