"""Table 13: what a start stores, and what it costs in diversity.

    x_M stored            4 K N d bytes       (N images in d numbers, K latents of each, in float32: the paper's way)
    atoms as recipes      N d + 4 K N bytes   (images as they are, in uint8, whose noise is drawn again from its seed;
                                               and a height of each atom in float32)
    a random image        N d bytes
    K Gaussians           the file of the fit

Beside it the distinct starts of n samples over n, which n uniform draws of m stored latents leave at
(m / n) (1 - (1 - 1/m)^n); recall and coverage against test, which count what of held-out images is reached.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from math import nan, prod
from typing import Any

import pandas as pd

from dpmot.experiment.fits import fit_of
from dpmot.results import by_key, records
from paper_figures import _tables as tables
from paper_figures._comparison import Comparison
from paper_figures._headline import brief, chosen, half_width
from paper_figures._long_form import long_form
from paper_figures._panels import Cell, Document, Panel, not_run
from paper_figures._results import Results, Row, fingerprints

READS = ("replicates", "fits")
DISTINCT = "distinct_sources_pixels"
BYTES = ("bytes_stored_as_floats", "bytes_as_recipes")
COLUMNS = [
    "method", "nfe_budget", "num_samples", "stores", *BYTES, "latents", "distinct_starts", "distinct_starts_uniform",
    "recall", "coverage", "ranked", "fingerprint",
]  # fmt: skip
GROUPS_SHOWN = ("rivals", "dpm_ot", "mixture", "as_code", "controls", "singular")


def wanted(results: Results) -> list[tuple[str, str]]:
    """Metrics that the table shows, with their reference."""
    return [(f"{stem}_{results.families[0]}", "test") for stem in ("recall", "coverage")]


def make(results: Results) -> pd.DataFrame:
    """One row per cell at an NFE budget, COLUMNS; empty where something was not measured."""
    return pd.DataFrame(list(_rows(results)), columns=COLUMNS)


def _form(results: Results) -> pd.DataFrame:
    return long_form(results, wanted(results), also=[(DISTINCT, "train"), (DISTINCT, "test")])


def _rows(results: Results) -> Iterator[dict[str, Any]]:
    form = _form(results)
    measured = form[(form["status"] == "measured") & form["nfe_budget"].isin(results.budgets)]
    measured = measured[measured["group"].isin(GROUPS_SHOWN)]
    for (method, nfe), cells in measured.groupby(["method", "nfe_budget"], sort=False):
        first = records(cells)[0]
        found = {(row["metric"].partition("_")[0]): row["value"] for row in records(cells)}
        facts = stored(results, str(method))
        n, latents = int(first["num_samples"]), facts["latents"]
        row = {"method": method, "nfe_budget": nfe, "num_samples": n, **facts}
        row |= {"distinct_starts": found.get("distinct", nan), "distinct_starts_uniform": uniform(latents, n)}
        row |= {name: found.get(name, nan) for name in ("recall", "coverage")}
        yield row | {"ranked": first["ranked"], "fingerprint": first["fingerprint"]}


def uniform(latents: float, n: int) -> float:
    """Distinct ones among n uniform draws of so many, over n; NaN where nothing is stored."""
    return latents / n * (1 - (1 - 1 / latents) ** n) if latents > 0 else nan


def stored(results: Results, method: str) -> dict[str, Any]:
    """What the start of a method stores, its bytes as floats and as recipes, and how many latents that are.

    Bytes are NaN where they are not known: of a data set without one shape, and of a start whose file is not told of.
    """
    planned, shape = results.experiment.drawn.get(method), results.experiment.image_shape
    start, images = (planned.start if planned else ""), results.stored
    if start == "prior":
        return {"stores": "nothing", **dict.fromkeys(BYTES, 0), "latents": 0}
    if planned and (fit := fit_of(results.experiment, planned)):
        facts = results.fits.get(fit.name, {})
        told = f"{facts['components']} Gaussians" if "components" in facts else "a fit"
        return {"stores": told, **dict.fromkeys(BYTES, facts.get("bytes", nan)), "latents": 0}
    if planned is None or start not in ("transport", "copy", "fresh_noise") or images is None:
        return {"stores": "not told", **dict.fromkeys(BYTES, nan), "latents": 0}
    numbers = prod(shape) if shape else nan
    latents = images * planned.noises
    heights = 4 * latents if planned.needs_heights else 0
    told = f"{images:,} images" + (f", {planned.noises} latents each" if planned.noises > 1 else "")
    told += " and heights" if heights else ""
    fresh = start == "fresh_noise"  # its noise is new: nothing but images can be stored
    floats = nan if fresh else 4 * latents * numbers + heights
    sizes = dict(zip(BYTES, (floats, images * numbers + heights), strict=True))
    return {"stores": told, **sizes, "latents": 0 if fresh else latents}


def _size(number: float) -> Cell:
    return Cell("–" if number != number else f"{number:,.0f}")


def _share(row: Row, name: str) -> Cell:
    return Cell("–" if row[name] != row[name] else f"{row[name]:.3f}")


def _line(row: Row, comparison: Comparison) -> tuple[Cell, ...]:
    """The entries of a cell behind its name."""
    key, marks = (row["method"], row["nfe_budget"]), () if row["ranked"] else ("†",)
    entry = partial(comparison.value, *key)
    asked = [
        *((metric, (reference,)) for metric, reference in wanted(comparison.results)),
        (DISTINCT, ("train", "test")),
    ]
    *quality, starts = (replace(brief(entry(*one)), bold=False, marks=()) for one in asked)  # marked at their NFE
    sizes = [_size(float(row[name])) for name in BYTES]
    uniform_starts = _share(row, "distinct_starts_uniform")
    return Cell(row["nfe_budget"], marks=marks), Cell(row["stores"]), *sizes, starts, uniform_starts, *quality


HEADER = ("NFE", "stores", "bytes, floats", "as recipes", "distinct starts", "uniform draws", "recall ↑", "coverage ↑")


def _headline(table: pd.DataFrame, results: Results, comparison: Comparison) -> Panel | None:
    """Chosen methods at their smallest budget."""
    cells = table[table["recall"].notna()].assign(value=lambda rows: rows["recall"])
    if cells.empty:
        return None
    first, rows = by_key(cells.drop_duplicates("method"), "method"), []
    for method in chosen(results, cells, "higher"):
        nfe, _, floats, recipes, starts, _, recall, coverage = _line(first[method,], comparison)
        rows.append((Cell(results.label(method)), nfe, floats, recipes, starts, recall, coverage))
    header = ("method", *(HEADER[k] for k in (0, 2, 3, 4, 6, 7)))
    notes = (
        "Bytes of what a start stores: latents x_M in float32, or images in uint8 whose noise is drawn again. Distinct "
        "starts over n. † unranked.",
        f"Data set {results.experiment.dataset}; {half_width(results)}; fingerprint "
        f"{fingerprints(table['fingerprint'], 1)}. All rows are in the supplement.",
    )
    return Panel("What a start stores, and what of the data it reaches", header, tuple(rows), notes)


def layout(table: pd.DataFrame, results: Results) -> Document:
    """The printed table."""
    comparison, title = Comparison(_form(results), results), "What a start stores, and what of the data it reaches"
    by_method = {str(method): records(rows) for method, rows in table.groupby("method", sort=False)}
    lines: list[str | tuple[Cell, ...]] = []
    for method, rows in by_method.items():
        lines += [results.title(method), *(_line(row, comparison) for row in rows)]
    panel = Panel(title, HEADER, tuple(lines), heads=1) if lines else not_run(title, "no cell has recall or coverage.")
    return Document(
        title="Table 13. Memory and diversity",
        caption=results.caption(f"{results.pooled_over}; {half_width(results)}", table["fingerprint"]),
        panels=(panel,),
        notes=(
            "Floats: each latent x_M in float32, and a height where it has one. As recipes: images in uint8, "
            "whose noise is drawn again from its seed, and heights in float32. A mixture's file is the same both ways. "
            "–: not known, or a start without stored latents.",
            "Distinct starts: latents that n samples began at, over n; uniform draws: what n draws at random leave. "
            "Equal masses make both the same, whatever the map.",
            "Recall and coverage grow with n, and who copies many images has much of both. † unranked (Table 1).",
        ),
        headline=_headline(table, results, comparison),
    )


PAGE = tables.page(__file__, __doc__, make, layout)

if __name__ == "__main__":
    raise SystemExit(PAGE.main())
