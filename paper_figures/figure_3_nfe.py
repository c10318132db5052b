"""Figure 3: quality against the number of function evaluations.

Frechet distance against the held-out split C and against the training split A, and Inception Score, over the
*counted* NFE of each cell. One column a network; samples from elsewhere are in every column, at the NFE that was
stated. Hollow markers are cells that are not ranked; grey bands are real images, the floors; a tick at the right border
is a full chain.
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dpmot.results import REAL_TEST, printed_name, records
from paper_figures import _style as style
from paper_figures._agreement import OUTSIDE
from paper_figures._results import Results
from paper_figures._style import Quantity


def _quantities(results: Results) -> list[Quantity]:
    """Those of each row of panels."""
    score = f"is_{results.families[0]}"
    measured = score in set(results.metrics["metric"])
    scores = [Quantity(score, (results.reference(score),), printed_name(score), REAL_TEST)] if measured else []
    return [*style.distances(results), *scores]


def _lines(results: Results, rows: pd.DataFrame) -> pd.DataFrame:
    """Measured cells at a budget, outside the sweep and the identity test, with their counted NFE.

    Cells without an evaluation (atoms) stand at the budget whose level they have.
    """
    outside = results.of_groups(rows, OUTSIDE)
    rows = rows[rows["value"].notna() & rows["nfe_budget"].isin(results.budgets) & ~outside].copy()
    counted = pd.to_numeric(rows["nfe_counted"].mask(rows["nfe_counted"] == ""))
    rows["nfe"] = counted.where(counted > 0, rows["nfe_budget"].astype(int))
    rows["chain"] = rows["method"].map(results.chain)
    return rows.sort_values("nfe", kind="stable")


def _draw(axes: Axes, results: Results, rows: pd.DataFrame, chain: str, quantity: Quantity) -> None:
    """One panel: a metric on the chain of a network."""
    rows = quantity.of(rows)
    cells = _lines(results, rows)
    smallest = list(cells["nfe"])[:1]  # all panels have one range
    cells = cells[cells["chain"].isin([chain, ""])]
    axes.set_ylabel(quantity.label)
    if quantity.metric.startswith("fd_"):
        style.distance_scale(axes, cells)
    ends = style.draw_methods(axes, results, "nfe", cells)
    floors = style.floor(axes, rows, quantity)
    budgets = [int(nfe) for nfe in results.budgets]
    style.level_axis(axes, (min([*budgets, *smallest]) * 0.88, max(budgets) * 1.1), budgets)
    right = axes.get_xlim()[1]
    full = rows[(rows["method"].map(results.chain) == chain) & (rows["nfe_budget"] == "full") & rows["value"].notna()]
    for row in records(full):
        colour = style.styles(results)[row["method"]].colour
        axes.plot([right], [row["value"]], "_", color=colour, markersize=9, markeredgewidth=2, clip_on=False, zorder=5)
        ends.append((right, row["value"], _full_name(results, row["method"]), colour))
    style.label_ends(axes, ends, floors)


def _full_name(results: Results, method: str) -> str:
    name = style.short(results, method)
    return name if "full" in name else f"{name} full"


def make(results: Results) -> Figure:
    """The figure."""
    rows, quantities = results.pooled(), _quantities(results)
    cells = _lines(results, rows[rows["metric"] == quantities[0].metric])
    chains = [chain for chain in results.chains if chain in set(cells["chain"])]
    chains = list(filter(None, chains)) or chains
    labels = [style.short(results, method) for method in cells["method"]]
    labels += [_full_name(results, method) for method in rows.loc[rows["nfe_budget"] == "full", "method"]]
    count, height = max(len(chains), 1), 2.3 * len(quantities) + 0.8
    places = style.room(count, labels) | {"top": 1 - 0.25 / height, "bottom": 1.0 / height, "hspace": 0.28}
    figure, grid = style.panels(len(quantities), count, height, **places)
    for line, quantity in zip(grid, quantities, strict=True):
        if not chains:
            style.blank(line[0], f"not run: metrics.csv holds no pooled {printed_name(quantity.metric)} at a budget")
        for axes, chain in zip(line, chains, strict=False):
            _draw(axes, results, rows, chain, quantity)
    for top, bottom, chain in zip(grid[0], grid[-1], chains, strict=False):
        top.set_title(f"network: {chain}" if chain else "samples from elsewhere", fontweight="bold")
        bottom.set_xlabel("counted NFE")
    explained = "Hollow markers: not ranked (Table 1 says why). Grey band: real images. Floors and full chains: own n."
    if (cells["nfe_counted"] == "0").any():
        explained += " Atoms alone (0 NFE) stand at the budget whose level they have."
    style.note(figure, f"{explained}\n{style.measured_note(results, _lines(results, rows))}")
    return figure


PAGE = style.page(__file__, __doc__, make)

if __name__ == "__main__":
    raise SystemExit(PAGE.main())
