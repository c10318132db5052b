"""Figure 15: the same network before and after it was rewired.

FD against test by NFE, one column a sampler; below, the share of copies of train with the tolerance. Bands of FD are
intervals over training seeds, which hold sampling too; its bars those over the samples of one network, in the mean.
Bars of copies are over training seeds, and at least as wide as one network's. Of one training seed there are bars over
samples alone. The control went on for as many images with independent noise.
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from dpmot.results import COPIES, printed_name
from paper_figures import _style as style
from paper_figures._results import Results
from paper_figures._rewired import Compared, compared, of_samples
from paper_figures._style import Quantity, Style

MOST = 5  # lines of a panel, beside the tolerance


def methods_of(found: list[Compared]) -> list[str]:
    """The lines of a panel: before, the longest training with its control and assignment, then the shorter ones."""
    last, *others = reversed(found)
    names = [last.before, last.after, last.control, last.minibatch]
    names += [name for one in others for name in (one.after, one.minibatch, one.control)]
    return list(dict.fromkeys(filter(None, names)))[:MOST]


def _cells(results: Results, rows: pd.DataFrame, names: list[str], quantity: Quantity) -> pd.DataFrame:
    """The measured cells at a budget, with ``nfe``, in its order."""
    cells = quantity.of(rows)
    cells = cells[cells["method"].isin(names) & cells["value"].notna() & cells["nfe_budget"].isin(results.budgets)]
    return cells.assign(nfe=cells["nfe_budget"].astype(int)).sort_values("nfe", kind="stable")


def _bands(
    axes: Axes, results: Results, cells: pd.DataFrame, quantity: Quantity, looks: dict[str, Style]
) -> pd.DataFrame:
    """Draw intervals over training seeds as bands; returns the cells with those over samples in their place."""
    sampled = of_samples(results, quantity.metric)
    keys = list(zip(cells["method"], cells["nfe_budget"], strict=True))
    shown = results.each.repeated and quantity.references == ("test",)
    if not (shown and any(key in sampled for key in keys)):
        return cells
    for method, own in cells.groupby("method", sort=False):
        axes.fill_between(own["nfe"], own["low"], own["high"], color=looks[str(method)].colour, alpha=0.18, linewidth=0)
    bounds = [sampled.get(key, (low, high)) for key, low, high in zip(keys, cells["low"], cells["high"], strict=True)]
    halves = [(high - low) / 2 for low, high in bounds]
    return cells.assign(low=cells["value"] - halves, high=cells["value"] + halves)


def _copies_scale(axes: Axes, tolerance: float, cells: pd.DataFrame) -> list[tuple[float, str]]:
    """Linear to the tolerance and logarithmic above; the tolerance as a line, with its name."""
    top = max(2 * tolerance, 1.3 * float(cells["high"].max()))
    axes.set_yscale("symlog", linthresh=tolerance, linscale=1)
    axes.set_ylim(-0.1 * tolerance, top)
    axes.axhline(tolerance, color=style.BLACK, linestyle=":", linewidth=0.9, zorder=2)
    return [(tolerance, "tolerance")]


def _copies_ticks(axes: Axes, tolerance: float) -> None:
    above = [tick for tick in (0.1, 1) if 2 * tolerance < tick < axes.get_ylim()[1]]
    axes.set_yticks([0, tolerance, *above])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())


def _draw(
    axes: Axes, results: Results, rows: pd.DataFrame, looks: dict[str, Style], quantity: Quantity, sampler: str
) -> None:
    """One panel."""
    cells = _cells(results, rows, [*looks], quantity)
    axes.set_ylabel(quantity.told)
    if cells.empty:
        style.blank(axes, f"not run: metrics.csv holds no pooled {printed_name(quantity.metric)}")
        return
    if quantity.metric == COPIES:
        real = quantity.of(results.pooled())
        shown = pd.concat([cells, real[real["method"] == quantity.floor]])
        floors = _copies_scale(axes, results.experiment.copying_tolerance, shown)
    else:
        style.distance_scale(axes, cells)
        floors = []
    floors += style.floor(axes, results.pooled(), quantity)
    cells = _bands(axes, results, cells, quantity, looks)
    lines = [(cells[cells["method"] == name], looks[name], _name(results, name, sampler)) for name in looks]
    ends = style.draw_lines(axes, "nfe", style.spread(lines, "nfe"))
    nfes = sorted(set(cells["nfe"]))
    style.level_axis(axes, (nfes[0] * 0.88, nfes[-1] * 1.1), nfes)
    if quantity.metric == COPIES:
        _copies_ticks(axes, results.experiment.copying_tolerance)  # in the place of a distance's
    style.label_ends(axes, ends, floors)


def _name(results: Results, method: str, sampler: str) -> str:
    """Its label without the sampler, which the panel says."""
    return style.short(results, method).removesuffix(f", {sampler}")


def make(results: Results) -> Figure:
    """The figure."""
    by_sampler: dict[tuple[str, str], list[Compared]] = {}
    for one in compared(results):
        by_sampler.setdefault((one.before, one.sampler), []).append(one)
    if not by_sampler:
        return style.not_run("no row of a semi-discrete network stands beside one of the network that it goes on from")
    rows, looks = results.pooled(), style.styles(results)
    shown = [{name: looks[name] for name in methods_of(found)} for found in by_sampler.values()]
    quantities = [style.distances(results)[0], style.COPIED]
    samplers = [sampler for _, sampler in by_sampler]
    labels = [_name(results, name, one) for one, names in zip(samplers, shown, strict=True) for name in names]
    places = style.room(len(shown), labels) | {"top": 0.94, "bottom": 0.2, "hspace": 0.22}
    figure, grid = style.panels(2, len(shown), 5.2, **places)
    for column, (sampler, names) in enumerate(zip(samplers, shown, strict=True)):
        for axes, quantity in zip(grid[:, column], quantities, strict=True):
            _draw(axes, results, rows, names, quantity, sampler)
        grid[0, column].set_title(f"sampler: {sampler}", fontweight="bold")
        grid[1, column].set_xlabel("NFE")
    used = rows[rows["method"].isin({name for names in shown for name in names}) & rows["value"].notna()]
    told = "Hollow markers: not ranked. Grey: real images. Lines are drawn a little beside each other in NFE."
    style.note(figure, f"{told}\n{style.measured_note(results, used, _intervals(results))}")
    return figure


def _intervals(results: Results) -> str:
    """What bands and bars of each row of panels are over, where there are several training seeds."""
    if not results.each.repeated:
        return ""
    return (
        "95 % intervals; of FD: bands over these seeds (Student's t), bars over the samples of one network, in the "
        "mean; of copies: bars over these seeds, at least as wide as one network's"
    )


PAGE = style.page(__file__, __doc__, make)

if __name__ == "__main__":
    raise SystemExit(PAGE.main())
