"""Figure 3: quality against the number of function evaluations.

Frechet distance against the held-out split C, and Inception Score, over the *counted* NFE of each cell. One panel a
network, two beside each other; samples from elsewhere are in every one, at the NFE that was stated. Below, apart,
DPM-OT as the authors coded it. Hollow markers are cells that are not ranked; grey bands are real images, the floors; a
tick at the right border is a full chain.
"""

from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dpmot.results import REAL_TEST, printed_name, records
from paper_figures import _lines as lines
from paper_figures import _style as style
from paper_figures._results import Results
from paper_figures._style import Quantity

COLUMNS = 2  # networks beside each other


def _quantities(results: Results) -> list[Quantity]:
    """Those of each row of panels."""
    score = f"is_{results.families[0]}"
    measured = score in set(results.metrics["metric"])
    scores = [Quantity(score, (results.reference(score),), printed_name(score), REAL_TEST)] if measured else []
    return [style.distances(results)[0], *scores]


@dataclass(frozen=True)
class Panel:
    """The methods of a panel, on one chain and in one quantity."""

    chain: str
    quantity: Quantity
    methods: tuple[str, ...]
    title: str = ""


def _panel(results: Results, cells: pd.DataFrame, chain: str, quantity: Quantity, *, coded: bool = False) -> Panel:
    """The panel of a chain: of all but the as-coded methods, or of these and what they are coded from."""
    told = f"network: {chain}" if chain else "samples from elsewhere"
    if not coded:
        return Panel(chain, quantity, tuple(lines.of_chain(results, cells, chain, quantity)), told)
    there = set(cells.loc[cells["chain"] == chain, "method"])
    both = [m for m in lines.as_coded(results) if m in there]
    described = [m for m in results.methods if lines.role(results, m) == "dpm_ot" and m in there]
    samplers = {results.attribute(m, "sampler") for m in both}
    described = [m for m in described if results.attribute(m, "sampler") in samplers]
    return Panel(chain, quantity, (*described[:1], *both[: lines.MOST - 1]), f"{lines.CODED}, {told}")


def panels(results: Results, cells: pd.DataFrame) -> list[list[Panel]]:
    """Rows of panels: a quantity of two networks each, then what is as coded with a column a quantity."""
    quantities = _quantities(results)
    chains = [chain for chain in results.chains if chain in set(quantities[0].of(cells)["chain"])]
    chains = list(filter(None, chains)) or chains
    pairs = [chains[first : first + COLUMNS] for first in range(0, len(chains), COLUMNS)]
    rows = [[_panel(results, cells, chain, one) for chain in pair] for pair in pairs for one in quantities]
    coded = {results.chain(m) for m in lines.as_coded(results) if m in set(cells["method"])}
    for chain in (chain for chain in chains if chain in coded):
        rows.append([_panel(results, cells, chain, quantity, coded=True) for quantity in quantities[: len(pairs[0])]])
    return rows


def names(results: Results, panel: Panel, rows: pd.DataFrame) -> list[str]:
    """What stands at the right of a panel."""
    full = [_full_name(results, method) for method in _full(results, panel, rows)["method"]]
    return [style.short(results, method) for method in panel.methods] + full + [style.REAL[panel.quantity.floor]]


def _full(results: Results, panel: Panel, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of full chains of a panel's network; none beside what is as coded."""
    rows = panel.quantity.of(rows)
    own = (rows["method"].map(results.chain) == panel.chain) & (rows["nfe_budget"] == "full") & rows["value"].notna()
    return rows[own & (not panel.title.startswith(lines.CODED))]


def _full_name(results: Results, method: str) -> str:
    name = style.short(results, method)
    return name if "full" in name else f"{name} full"


def draw(axes: Axes, results: Results, rows: pd.DataFrame, panel: Panel) -> None:
    """One panel: a metric on the chain of a network."""
    quantity, everything = panel.quantity, lines.main_cells(results, panel.quantity.of(rows))
    cells = everything[everything["method"].isin(panel.methods)]
    axes.set_ylabel(quantity.told)
    if quantity.metric.startswith("fd_"):
        style.distance_scale(axes, cells)
    ends = style.draw_methods(axes, results, "nfe", cells)
    floors = style.floor(axes, quantity.of(rows), quantity)
    budgets = [int(nfe) for nfe in results.budgets]
    alike = everything["method"].isin(lines.as_coded(results)) == panel.title.startswith(lines.CODED)
    smallest = list(everything.loc[alike, "nfe"])[:1]  # all panels of a row have one range
    full = _full(results, panel, rows)
    right = max(budgets) * 1.1
    for row in records(full):
        colour = style.styles(results)[row["method"]].colour
        axes.plot([right], [row["value"]], "_", color=colour, markersize=9, markeredgewidth=2, clip_on=False, zorder=5)
        ends.append((right, row["value"], _full_name(results, row["method"]), colour))
    low = min([*budgets, *smallest])
    style.level_axis(axes, (low * 0.88, right), budgets if low > 0.8 * min(budgets) else [int(low), *budgets])
    style.label_ends(axes, ends, floors)


def make(results: Results) -> Figure:
    """The figure."""
    rows = results.pooled()
    cells = lines.main_cells(results, rows)
    grid = panels(results, cells)
    count = max(map(len, grid), default=1)
    if not any(grid):
        metric = printed_name(_quantities(results)[0].metric)
        return style.not_run(f"metrics.csv holds no pooled {metric} at a budget")
    named = (names(results, panel, rows) for line in grid for panel in line)
    figure, drawn = style.laid(len(grid), count, named, _note(results, cells), narrow=count == 1)
    for line, places in zip(grid, drawn, strict=True):
        for axes in places[len(line) :]:
            axes.set_axis_off()
        for axes, panel in zip(places, line, strict=False):
            draw(axes, results, rows, panel)
            if panel.quantity is grid[0][0].quantity or panel.title.startswith(lines.CODED):
                axes.set_title(panel.title, fontweight="bold")
            axes.set_xlabel("counted NFE")
    return figure


def _note(results: Results, cells: pd.DataFrame) -> str:
    explained = "Hollow markers: not ranked (Table 1 says why). Grey band: real images. Floors and full chains: own n."
    if (cells["nfe_counted"] == "0").any():
        explained += " Atoms alone (0 NFE) stand at the budget whose level they have."
    return f"{explained} {lines.how_chosen(results)}\n{style.measured_note(results, cells)}"


PAGE = style.page(__file__, __doc__, make)

if __name__ == "__main__":
    raise SystemExit(PAGE.main())
