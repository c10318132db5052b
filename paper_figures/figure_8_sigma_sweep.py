"""Figure 8: from copying to generating, the sweep of sigma_M.

Frechet distance, source recovery, share of copies and authenticity against the level sigma_M at which DPM-OT starts.
Small sigma_M copies its source, large sigma_M forgets it. The grey bands are held-out real images; sigma_M* is the
smallest level that, with a converged solve, is shown not to copy (star.json), if there is one; it is selected on seeds
and images of its own.
"""

from itertools import cycle
from textwrap import shorten

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dpmot.results import AUTHENTICITY, COPIES, REAL_TEST, REAL_TRAIN, RECOVERY
from paper_figures import _style as style
from paper_figures._results import Results
from paper_figures._style import Quantity, Style

READS = ("star",)
LOOKS = tuple(map(Style, style.LEVELS, "soD^v"))

TRIED = {RECOVERY: "recovery", COPIES: "copies"}  # as star.json names them


def _quantities(results: Results) -> list[Quantity]:
    recovery = Quantity(RECOVERY, ("train",), "source recovery", REAL_TEST)
    authenticity = Quantity(AUTHENTICITY, ("train",), "authenticity", REAL_TEST)
    return [style.distances(results)[0], recovery, style.COPIED, authenticity]


def _sweep(results: Results) -> pd.DataFrame:
    rows = results.pooled()
    rows = rows[results.of_groups(rows, ("sweep",)) & rows["value"].notna() & rows["sigma_start"].notna()]
    return rows.sort_values("sigma_start", kind="stable")


def _selection(results: Results, audit: str) -> pd.DataFrame:
    """star.json's value of one audit, of TRIED, at each candidate it holds one for."""
    audits = [(trial.sigma, getattr(trial, audit, None)) for trial in (results.star.rows if results.star else [])]
    points = [(sigma, float(np.atleast_1d(found)[0])) for sigma, found in audits if found is not None]
    return pd.DataFrame(sorted(points), columns=["sigma", "value"])


def _floor(axes: Axes, results: Results, quantity: Quantity) -> list[tuple[float, str]]:
    """Bands and lines of real images: (height, name) of each."""
    named = style.floor(axes, results.pooled(), quantity)
    number = results.images(REAL_TRAIN) if quantity.metric == RECOVERY and not named else None
    if number is not None:
        axes.axhline(1 / number, color=style.GREY, linewidth=0.8, linestyle=":", zorder=2)
        named.append((1 / number, "1/N"))
    return named


def _draw(axes: Axes, results: Results, rows: pd.DataFrame, quantity: Quantity) -> None:
    """One panel: a metric along the sweep, one line an NFE budget."""
    cells = style.begin(axes, quantity, rows, " of a sweep")
    if cells.empty:
        return
    budgets = [nfe for nfe in results.budgets if nfe in set(cells["nfe_budget"])]
    lines = [(cells[cells["nfe_budget"] == nfe], look, f"NFE {nfe}") for nfe, look in zip(budgets, cycle(LOOKS))]
    ends = style.draw_lines(axes, "sigma_start", lines)
    solved = _selection(results, TRIED.get(quantity.metric, ""))
    if len(solved):
        axes.plot(solved["sigma"], solved["value"], "--", color=style.BLACK, linewidth=1.0, zorder=3)
        ends.append((*solved.iloc[-1], "selection", style.BLACK))
    floors = _floor(axes, results, quantity)
    star = results.star.sigma if results.star else None
    sigmas = pd.concat([cells["sigma_start"], solved["sigma"], pd.Series([star], dtype=float).dropna()])
    style.level_axis(axes, (sigmas.min() / 1.15, sigmas.max() * 1.15), sorted(set(sigmas)))
    if star is not None:
        axes.axvline(star, color=style.PURPLE, linewidth=1.0, zorder=2)
        axes.text(star, 1.01, "$\\sigma_M^*$", color=style.ink(style.PURPLE), ha="center", va="bottom",
                  transform=axes.get_xaxis_transform())  # fmt: skip
    style.label_ends(axes, ends, floors)


def make(results: Results) -> Figure:
    """The figure."""
    rows = _sweep(results)
    if rows.empty:
        return style.not_run("metrics.csv holds no pooled cell of a sweep over sigma_M")
    methods = ", ".join(dict.fromkeys(style.symbols(results.title(method)) for method in rows["method"]))
    told = f"{methods}. {_star_note(results)}\n{style.measured_note(results, rows)}"
    names = [*(f"NFE {nfe}" for nfe in results.budgets), "selection", *style.REAL.values()]
    figure, grid = style.laid(2, 2, [names], told)
    for axes, quantity in zip(grid.flat, _quantities(results), strict=True):
        _draw(axes, results, rows, quantity)
    for axes in grid[1]:
        axes.set_xlabel("start level $\\sigma_M$")
    return figure


def _star_note(results: Results) -> str:
    explained = "Hollow: unranked. Grey: real images. "
    if results.star is None:
        return f"{explained}$\\sigma_M^*$: not run."
    dashed = "Dashed: the selection, on seeds and images of its own."
    if results.star.sigma is None:
        reason = shorten(results.star.reason or "no reason given", 150)
        return f"{explained}{dashed} $\\sigma_M^*$: none found ({reason})."
    again = "rows there are judged again, by their own samples"
    return f"{explained}{dashed} $\\sigma_M^*$ = {results.star.sigma:g}; {again}."


PAGE = style.page(__file__, __doc__, make)

if __name__ == "__main__":
    raise SystemExit(PAGE.main())
