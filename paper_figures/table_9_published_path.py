"""Table 9: what a start's latents and their denoising measure, level by level.

One panel a method: a row for each level sigma of the latents, from those of the published path at 5 to 50 steps on to
the sweep's. Frechet distance, precision and recall against the held-out split C, Frechet distance against the training
split A, mode mixture, source recovery and exact copies among the images that the method stores, and the mean distance
to the nearest image of each split (pixels in [-1, 1]). Where these rows reach what real images get, before a network
was asked, the result is the data's. Beside them the floors: real images.
"""

import pandas as pd

from dpmot.results import FLOORS, RECOVERY, by_key, printed_name
from paper_figures import _comparison as comparison
from paper_figures import _tables as tables
from paper_figures._comparison import Comparison
from paper_figures._results import Results
from paper_figures._tables import Cell, Document, Panel

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
    """Table 9 in long form: one row per (cell, metric, reference), columns ``comparison.COLUMNS``."""
    wanted = [key for family in results.families for key in columns(family)]
    plain = [key for key in wanted if key[1] != "stored"]
    also = [(metric, split) for metric, reference in wanted if reference == "stored" for split in STORED]
    table = comparison.long_form(results, plain, also=also)
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
    return Panel(title, header, tuple(body))


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
    return Panel(f"Floors: real images ({family})", ("row", "n", *columns(family).values()), body, (note,))


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
        *comparison.verdict_notes(table[~table["method"].isin(FLOORS)], results),
        *(f"{mark} skipped: {reason}" for reason, mark in cells.footnotes.items()),
    )
    return Document(
        title="Table 9. The published path level by level: latents, and exact denoising",
        caption=comparison.caption(table, results, references="reference: held-out split C (test) except where said"),
        panels=tuple(panels),
        notes=notes,
    )


PAGE = tables.page(__file__, __doc__, make, layout, comparison.csv)

if __name__ == "__main__":
    raise SystemExit(PAGE.main())
