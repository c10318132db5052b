"""Figure 4: mode-mixture ratio, by its threshold and against the number of function evaluations.

MMR(t) = share of images with at least two classes of probability >= t. One row of panels a network: left by threshold
at the smallest NFE budget, right at t = 0.1 over the counted NFE. The bands are real images: split A (train), which
networks and atoms were made from, and the held-out split C (test). Hollow markers are cells that are not ranked.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dpmot.results import REAL_TEST, REAL_TRAIN
from paper_figures import _lines as lines
from paper_figures import _style as style
from paper_figures._results import Results
from paper_figures._style import Quantity

BANDS = {REAL_TRAIN: "#B0B0B0", REAL_TEST: "#DADADA"}
AT = 0.1  # the threshold of the right panels
MMR = Quantity(f"mmr_{AT:g}", ("none",), "mode-mixture ratio")


def _rows(results: Results) -> pd.DataFrame:
    """Pooled mode-mixture rows with their threshold as a number, sorted by it."""
    rows = results.pooled()
    rows = rows[rows["metric"].str.startswith("mmr_") & rows["value"].notna()].copy()
    rows["threshold"] = rows["metric"].str.removeprefix("mmr_").astype(float)
    return rows.sort_values("threshold", kind="stable")


def _heights(axes: Axes, top: float) -> None:
    """Square-root heights: they keep zero, and spread the small ratios that matter."""
    axes.set_yscale("function", functions=(lambda y: np.sqrt(np.clip(y, 0, None)), np.square))
    axes.set_ylim(0, top)
    places = [place for place in (0, 0.01, 0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 1) if place <= top]
    style.ticks(axes.yaxis, places, [f"{place:g}" for place in places])


def _by_threshold(axes: Axes, results: Results, rows: pd.DataFrame, cells: pd.DataFrame, top: float) -> None:
    """The cells of a chain at one budget, before the floors of all ``rows``."""
    _heights(axes, top)
    places = sorted(set(rows["threshold"]))
    style.level_axis(axes, (places[0] * 0.96, places[-1] * 1.05), places)
    ends = []
    for method, colour in BANDS.items():
        floor = rows[rows["method"] == method]
        if len(floor):
            axes.fill_between(floor["threshold"], floor["low"], floor["high"], color=colour, linewidth=0, zorder=1)
            axes.plot(floor["threshold"], floor["value"], color=style.GREY, linewidth=0.8, zorder=2)
            ends.append((floor["threshold"].iloc[-1], floor["value"].iloc[-1], style.REAL[method], style.GREY))
    style.label_ends(axes, ends + style.draw_methods(axes, results, "threshold", cells))
    axes.set_xlabel("threshold t on the class probability")


def _by_nfe(axes: Axes, results: Results, rows: pd.DataFrame, cells: pd.DataFrame, top: float) -> None:
    """The cells of a chain at the threshold AT."""
    _heights(axes, top)
    budgets = [int(nfe) for nfe in results.budgets]
    style.level_axis(axes, (min([*budgets, *cells["nfe"]]) * 0.88, max(budgets) * 1.1), budgets)
    ends = style.draw_methods(axes, results, "nfe", cells)
    floors = []
    for method in BANDS:
        floors += style.floor(axes, rows, MMR._replace(floor=method), BANDS[method])
    style.label_ends(axes, ends, floors)
    axes.set_xlabel("counted NFE")


def make(results: Results) -> Figure:
    """The figure."""
    rows = _rows(results)
    cells, nfe = lines.main_cells(results, rows), results.budgets[0]
    everything = lines.main_cells(results, results.pooled())
    chains = [chain for chain in results.chains if chain in set(MMR.of(cells)["chain"])]
    if not chains:
        return style.not_run("metrics.csv holds no pooled mode-mixture ratio at a budget")
    chosen = {chain: lines.of_chain(results, everything, chain, MMR) for chain in chains}
    cells = cells[cells["method"].isin([method for methods in chosen.values() for method in methods])]
    named = ([*(style.short(results, m) for m in methods), *style.REAL.values()] for methods in chosen.values())
    figure, grid = style.laid(len(chains), 2, named, _note(results, cells))
    # one height for all panels: budgets and networks compare by eye
    top = 1.08 * max(cells["high"].fillna(cells["value"]).max(), 0.02)
    for (chain, methods), (left, right) in zip(chosen.items(), grid, strict=True):
        own = cells[cells["method"].isin(methods)]
        _by_threshold(left, results, rows, own[own["nfe_budget"] == nfe], top)
        _by_nfe(right, results, rows, MMR.of(own), top)
        left.set_title(f"network: {chain}, NFE {nfe}", fontweight="bold")
        right.set_title(f"network: {chain}, t = {AT:g}", fontweight="bold")
        for axes in (left, right):
            axes.set_ylabel(MMR.told)
    return figure


def _note(results: Results, cells: pd.DataFrame) -> str:
    explained = (
        "Square-root heights. Bands: real images of splits A (train, dark) and C (test, light). "
        "Hollow markers: not ranked (Table 1 says why)."
    )
    return f"{explained} {lines.how_chosen(results)}\n{style.measured_note(results, cells)}"


PAGE = style.page(__file__, __doc__, make)

if __name__ == "__main__":
    raise SystemExit(PAGE.main())
