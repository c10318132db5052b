"""Table 6: what becomes of draws near the singular set, and what it does to the samples.

Discard draws the noise of a sample anew, treat and smooth send it to a barycentre of atoms (dpmot/starts/transport.py).
Every entry is compared with the plain map's, paired by samples as in Table 5; p-values are Holm-corrected over the
table. Discarding takes mass from cells with sharp creases, so the certificate of the fit no longer holds for it: the
mass error and the cells' chi2 say by how much.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from dpmot.results import by_key, fact, printed_name, records
from paper_figures import _tables as tables
from paper_figures._comparison import Comparison, coupling_panel, grouped, valued
from paper_figures._headline import ARROWS, MOST, brief, chosen, half_width, how_chosen
from paper_figures._long_form import long_form
from paper_figures._notes import verdict_notes
from paper_figures._paired import ALPHA, differences
from paper_figures._panels import Cell, Document, Panel, not_run
from paper_figures._results import Results, fingerprints
from paper_figures._verdicts import UNRANKED

READS = ("replicates", "coupling")
COLUMNS = [
    "nfe_budget", "method", "metric", "reference", "value", "low", "high", "status", "ranked", "verdict", "num_samples",
    "difference", "difference_low", "difference_high", "p", "p_holm", "fingerprint",
]  # fmt: skip
DRAWS = {
    "angle": "mean angle",
    "singular_share": "share near the set",
    "redraws": "redraws a sample",
    "mass_chi2": "chi2 of the cells",
    "noise_level": "noise level / told",
}
OF_SOURCES = ("recovery_pixels", "mass_error_pixels")  # starts that store no image have none
SETTING = ("network", "sampler", "level")


def plain(results: Results) -> str | None:
    """The method that the others are compared with: the plain map at the setting of the first singular one."""
    methods = results.experiment.drawn
    singular = [name for name in methods if results.group(name) == "singular"]
    for name, method in methods.items() if singular else ():
        own = method.start == "transport" and not {"singular", "heights", "noises"} & method.model_fields_set
        if own and all(getattr(method, key) == getattr(methods[singular[0]], key) for key in SETTING):
            return name
    return None


def _metrics(results: Results) -> dict[tuple[str, str], str]:
    """(metric, reference) -> title."""
    family = results.families[0]
    off_mode = f"off_mode_{family}"
    known = {(off_mode, results.reference(off_mode)): "off-mode"} if off_mode in set(results.metrics["metric"]) else {}
    return {
        ("mmr_0.1", results.reference("mmr_0.1")): "MMR at t = 0.1",
        **known,
        (f"fd_{family}", "test"): f"{printed_name(f'fd_{family}')} against test",
        (f"recall_{family}", "test"): "recall",
        ("recovery_pixels", "train"): "source recovery",
        ("mass_error_pixels", "train"): "mass error",
    }


def make(results: Results) -> pd.DataFrame:
    """One row per (NFE budget, method, metric), COLUMNS."""
    base = plain(results)
    if base is None:
        return pd.DataFrame(columns=COLUMNS)
    cells = Comparison(long_form(results, list(_metrics(results))), results)
    main = cells.table["method"].isin(results.main_methods)
    rows = records(cells.table[main & cells.table["nfe_budget"].isin(results.budgets)])
    pairs = [(row, cells.rows.get((base, row["nfe_budget"], row["metric"], row["reference"]))) for row in rows]
    return differences(results, pairs, COLUMNS)


def _entries(table: pd.DataFrame, results: Results, base: str, nfe: str) -> Callable[[str, str], Cell]:
    """Makes the cell of a method and a metric at one budget; ≈ where it does not differ from the plain map's."""
    cells, found = Comparison(table, results), by_key(table[table["nfe_budget"] == nfe], "method", "metric")
    n = str(table["num_samples"].mode().iloc[0])

    def entry(method: str, metric: str) -> Cell:
        row = found.get((method, metric))
        if row is None or row["status"] != "measured":
            return Cell("–" if row and (row["status"] == "skipped" or metric in OF_SOURCES) else "not run")
        same = method != base and row["p_holm"] > ALPHA
        shown = cells.cell({**row, "best": False}, n=n)
        return replace(shown, marks=(*shown.marks, *(("≈",) if same else ())))

    return entry


def _panel(table: pd.DataFrame, results: Results, base: str, nfe: str) -> Panel:
    metrics, entry = _metrics(results), _entries(table, results, base, nfe)
    cells = {method: tuple(entry(method, metric) for metric, _ in metrics) for method in results.main_methods}
    shown = [method for method, row in cells.items() if any(map(valued, row))]
    empty = ", ".join(results.label(method) for method in cells if method not in shown)
    body = grouped(results, lambda method: (Cell(results.label(method)), *cells[method]), shown)
    notes = (f"Without a value: {empty}.",) if empty else ()
    return Panel(f"NFE {nfe}", ("method", *metrics.values()), body, notes)


def _headline(table: pd.DataFrame, results: Results, base: str) -> Panel | None:
    """The plain map and chosen methods beside it, at the smallest budget."""
    nfe, metrics = results.budgets[0], _metrics(results)
    distance = f"fd_{results.families[0]}"
    rows = table[(table["metric"] == distance) & (table["status"] == "measured") & (table["nfe_budget"] == nfe)]
    if rows.empty:
        return None
    entry = _entries(table, results, base, nfe)
    others = chosen(results, rows[rows["method"] != base], most=MOST - 1)
    methods = [method for method in results.main_methods if method in (base, *others)]
    made = [(Cell(results.label(one)), *(brief(entry(one, metric)) for metric, _ in metrics)) for one in methods]
    known = [k for k, _ in enumerate(metrics, 1) if any(valued(row[k]) for row in made)]
    arrows = [ARROWS.get(fact(metric).direction, "") if fact(metric).quality else "" for metric, _ in metrics]
    header = ("method", *(f"{name}{arrow}" for name, arrow in zip(metrics.values(), arrows, strict=True)))
    body = tuple(tuple(row[k] for k in (0, *known)) for row in made)
    words = [word for word in UNRANKED if (rows["verdict"] == word).any()]
    told = f" † unranked ({', '.join(words)})." if words else ""
    notes = (
        f"≈ not different from the plain map, {results.label(base)}, at {ALPHA}, paired by {results.units}, "
        f"Holm-corrected.{told}",
        f"Data set {results.experiment.dataset}; {half_width(results)}; fingerprint "
        f"{fingerprints(rows['fingerprint'], 1)}.",
        how_chosen(results),
    )
    return Panel(f"At NFE {nfe}", tuple(header[k] for k in (0, *known)), body, notes)


def _draws(results: Results) -> Panel:
    title = "What becomes of the draws"
    if results.coupling is None:
        return not_run(title, "the results hold no coupling.csv.")
    known = set(results.coupling.loc[results.coupling["quantity"] == "mass_chi2", "method"])
    names = {method: results.label(method) for method in results.main_methods if method in known}
    return coupling_panel(title, results.coupling, "quantity", DRAWS, names)


def layout(table: pd.DataFrame, results: Results) -> Document:
    """The printed table."""
    base = plain(results)
    if base is None:
        told = 'no method of the group "singular" beside a plain one of its network, sampler and level.'
        panels: tuple[Panel, ...] = (not_run("Samples", told),)
    else:
        panels = (*(_panel(table, results, base, nfe) for nfe in results.budgets), _draws(results))
    short = None if base is None else _headline(table, results, base)
    n = ", ".join(sorted({str(one) for one in table["num_samples"] if str(one) not in ("", "0", "nan")})) or "none"
    return Document(
        title="Table 6. The singular set",
        caption=results.caption(
            f"n = {n} samples a cell, {results.pooled_over}; {results.in_brackets}",
            table["fingerprint"],
        ),
        panels=panels,
        notes=(
            f"≈ not different from the plain map at {ALPHA}, paired by {results.units}, Holm-corrected over the "
            f"{int(np.sum(table['p'].notna()))} comparisons of the table.",
            *verdict_notes(table[table["status"] == "measured"], results),
            "Mass error: about standard normal where all stored images are used equally often. Discarding takes mass "
            "from cells with sharp creases: the certificate of the fit is that of the plain map.",
            "Chi2 of the cells: N sum p^2 - 1 on fresh noise, unbiased; 0 for equal masses. Noise level: standard "
            "deviation of the starts' noise over the sigma that the network is told; the atoms' own for one atom.",
            "Copy is plain with another coupling. K noises an image: K = 1 is the plain map, K → ∞ fresh noise.",
        ),
        headline=short,
    )


PAGE = tables.page(__file__, __doc__, make, layout)

if __name__ == "__main__":
    raise SystemExit(PAGE.main())
