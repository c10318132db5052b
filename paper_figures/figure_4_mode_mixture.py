"""Figure 4: mode-mixture ratio against its threshold.

MMR(t) = share of images with at least two classes of probability >= t, at the two smallest NFE budgets, one row
of panels a network. The bands are real images: split A (train), which networks and atoms were made from, and
the held-out split C (test). Hollow markers are cells that are not ranked.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, StrMethodFormatter

from dpmot.results import REAL_TEST, REAL_TRAIN
from paper_figures import _style as style
from paper_figures._agreement import OUTSIDE
from paper_figures._results import Results

BANDS = {REAL_TRAIN: "#B0B0B0", REAL_TEST: "#DADADA"}
LABELLED, UNLABELLED = (0.1, 0.13, 0.2, 0.3, 0.4), (0.11, 0.115, 0.16)  # all are measured; labels would collide


def _rows(results: Results) -> pd.DataFrame:
    """Pooled mode-mixture rows with their threshold as a number, sorted by it."""
    rows = results.pooled()
    rows = rows[rows["metric"].str.startswith("mmr_") & rows["value"].notna()].copy()
    rows["threshold"] = rows["metric"].str.removeprefix("mmr_").astype(float)
    return rows.sort_values("threshold", kind="stable")


def _scale(axes: Axes, top: float) -> None:
    """Square-root heights: they keep zero, and spread the small ratios that matter."""
    axes.set_yscale("function", functions=(lambda y: np.sqrt(np.clip(y, 0, None)), np.square))
    axes.set_ylim(0, top)
    ticks = [tick for tick in (0, 0.01, 0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 1) if tick <= top]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_xscale("log")
    axes.set_xlim(0.096, 0.42)
    axes.xaxis.set_major_locator(FixedLocator(LABELLED))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_locator(FixedLocator(UNLABELLED))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _draw(axes: Axes, results: Results, rows: pd.DataFrame, cells: pd.DataFrame, top: float) -> None:
    """One panel: the cells of a chain at one budget, before the floors of all ``rows``."""
    _scale(axes, top)
    ends = []
    for method, colour in BANDS.items():
        floor = rows[rows["method"] == method]
        if len(floor):
            axes.fill_between(floor["threshold"], floor["low"], floor["high"], color=colour, linewidth=0, zorder=1)
            axes.plot(floor["threshold"], floor["value"], color=style.GREY, linewidth=0.8, zorder=2)
            ends.append((floor["threshold"].iloc[-1], floor["value"].iloc[-1], style.REAL[method], style.GREY))
    style.label_ends(axes, ends + style.draw_methods(axes, results, "threshold", cells))


def make(results: Results) -> Figure:
    """The figure."""
    rows, budgets = _rows(results), results.budgets[:2]
    cells = rows[~results.of_groups(rows, OUTSIDE) & rows["nfe_budget"].isin(budgets)]
    chains = [chain for chain in results.chains if chain in set(cells["method"].map(results.chain))]
    count, height = max(len(chains), 1), 2.6 * max(len(chains), 1) + 0.7
    places = style.room(len(budgets), (style.short(results, method) for method in cells["method"]))
    places |= {"top": 1 - 0.25 / height, "bottom": 0.85 / height, "hspace": 0.3}
    figure, grid = style.panels(count, len(budgets), height, **places)
    if not chains:
        for axes in grid.flat:
            style.blank(axes, "not run: metrics.csv holds no pooled mode-mixture ratio")
    # one height for all panels: budgets and networks compare by eye
    top = 1.08 * max(cells["high"].fillna(cells["value"]).max(), 0.02) if chains else 1.0
    for place, (chain, line) in enumerate(zip(chains, grid, strict=False)):
        for axes, nfe in zip(line, budgets, strict=True):
            chosen = cells[(cells["method"].map(results.chain) == chain) & (cells["nfe_budget"] == nfe)]
            _draw(axes, results, rows, chosen, top)
            axes.set_title(f"network: {chain}, NFE {nfe}", fontweight="bold")
            axes.set_ylabel("mode-mixture ratio")
            if place == len(chains) - 1:
                axes.set_xlabel("threshold t on the class probability")
    explained = (
        "Square-root heights. Bands: real images of splits A (train, dark) and C (test, light). "
        "Hollow markers: not ranked (Table 1 says why)."
    )
    style.note(figure, f"{explained}\n{style.measured_note(results, cells)}")
    return figure


PAGE = style.page(__file__, __doc__, make)

if __name__ == "__main__":
    raise SystemExit(PAGE.main())
