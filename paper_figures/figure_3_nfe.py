"""Figure 3: quality against the number of function evaluations.

Frechet distance against the held-out split C and against the training split A, and Inception Score, over the
*counted* NFE of each cell. One column a network. Hollow markers are cells the copying audit leaves unranked;
grey bands are real images, the floors; a tick at the right border is a full chain.
"""

import sys
from collections.abc import Iterable, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from paper_figures import _style as style
from paper_figures._command import run
from paper_figures._results import OUTSIDE, Results, quality_name

NAME = "figure_3_nfe"
OUTPUTS = tuple(f"figures/{NAME}.{suffix}" for suffix in ("png", "pdf"))


def _panels(results: Results) -> list[tuple[str, str, str, str]]:
    """(metric, reference, axis label, floor) of each row of panels."""
    family = results.families[0]
    distance = quality_name("fd", family)
    rows = [
        (f"fd_{family}", "test", f"{distance} against test", "real_train"),
        (f"fd_{family}", "train", f"{distance} against train", "real_test"),
    ]
    if f"is_{family}" in set(results.metrics["metric"]):
        rows.append((f"is_{family}", results.reference(f"is_{family}"), quality_name("is", family), "real_test"))
    return rows


def _chains(results: Results, cells: pd.DataFrame) -> list[str]:
    """Networks with a panel; a distilled network shares its teacher's."""
    used = set(cells["chain"])
    return [chain for chain in dict.fromkeys(map(results.chain, results.methods)) if chain in used]


def _lines(results: Results, rows: pd.DataFrame) -> pd.DataFrame:
    """Measured cells at a budget, outside the sweep and the identity test, with their counted NFE.

    Cells without an evaluation (atoms) stand at the budget whose level they have.
    """
    keep = rows["value"].notna() & rows["nfe_budget"].isin(results.budgets)
    keep &= pd.Series([results.group(method) not in OUTSIDE for method in rows["method"]], index=rows.index, dtype=bool)
    rows = rows[keep].copy()
    counted = pd.to_numeric(rows["nfe_counted"].mask(rows["nfe_counted"] == ""))
    rows["nfe"] = counted.where(counted > 0, rows["nfe_budget"].astype(int))
    rows["chain"] = rows["method"].map(results.chain)
    return rows.sort_values("nfe", kind="stable")


def _floor(axes: Axes, rows: pd.DataFrame, method: str) -> tuple[float, str] | None:
    """Band of real images; returns its height and name."""
    found = rows[(rows["method"] == method) & rows["value"].notna()]
    if found.empty:
        return None
    row = found.iloc[0]
    style.floor_band(axes, row)
    return row["value"], {"real_train": "real A", "real_test": "real C"}[method]


def _scale(axes: Axes, results: Results, smallest: Iterable[float], *, distance: bool) -> None:
    budgets = [int(nfe) for nfe in results.budgets]
    axes.set_xscale("log")
    axes.set_xlim(min([*budgets, *smallest]) * 0.88, max(budgets) * 1.1)
    axes.xaxis.set_major_locator(FixedLocator(budgets))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    if distance:
        style.distance_ticks(axes)


def _draw(axes: Axes, results: Results, rows: pd.DataFrame, chain: str, floor: str, *, distance: bool) -> None:
    """One panel: a metric on the chain of a network."""
    looks, ends = style.styles(results), []
    cells = _lines(results, rows)
    smallest = list(cells["nfe"])[:1]  # all panels have one range
    cells = cells[cells["chain"] == chain]
    if distance:
        style.distance_scale(axes, cells)
    for method in results.methods:
        line = cells[cells["method"] == method]
        if len(line):
            style.draw_cells(axes, line["nfe"], line, looks[method], thick=results.group(method) == "dpm_ot")
            ends.append(
                (line["nfe"].iloc[-1], line["value"].iloc[-1], style.short(results, method), looks[method].colour)
            )
    real = _floor(axes, rows, floor)
    _scale(axes, results, smallest, distance=distance)
    right = axes.get_xlim()[1]
    if real:
        ends.append((right, real[0], real[1], style.GREY))
    full = rows[(rows["method"].map(results.chain) == chain) & (rows["nfe_budget"] == "full") & rows["value"].notna()]
    for row in full.to_dict("records"):
        colour = looks[row["method"]].colour
        axes.plot([right], [row["value"]], "_", color=colour, markersize=9, markeredgewidth=2, clip_on=False, zorder=5)
        ends.append((right, row["value"], _full_name(results, row["method"]), colour))
    style.label_ends(axes, ends)


def _full_name(results: Results, method: str) -> str:
    name = style.short(results, method)
    return name if "full" in name else f"{name} full"


def make(results: Results) -> Figure:
    """The figure."""
    rows, panels = results.pooled(), _panels(results)
    cells = _lines(results, rows[rows["metric"] == panels[0][0]])
    chains = _chains(results, cells)
    figure = Figure(figsize=(style.WIDTH, 2.3 * len(panels) + 0.8))
    grid = figure.subplots(len(panels), max(len(chains), 1), squeeze=False)
    labels = [style.short(results, method) for method in cells["method"]] + [
        _full_name(results, method) for method in rows.loc[rows["nfe_budget"] == "full", "method"]
    ]
    style.columns(figure, max(len(chains), 1), labels, top=0.25, bottom=1.0, hspace=0.28)
    for place, (line, (metric, reference, label, floor)) in enumerate(zip(grid, panels, strict=True)):
        chosen = rows[(rows["metric"] == metric) & (rows["reference"] == reference)]
        if not chains:
            style.blank(line[0], f"not run: metrics.csv holds no pooled {metric} at a budget")
        for axes, chain in zip(line, chains, strict=False):
            _draw(axes, results, chosen, chain, floor, distance=metric.startswith("fd_"))
            axes.set_ylabel(label)
            if place == 0:
                axes.set_title(f"network: {chain}", fontweight="bold")
            if place == len(panels) - 1:
                axes.set_xlabel("counted NFE")
    explained = "Hollow markers: unranked by the copying audit. Grey band: real images. Floors and full chains: own n."
    if (cells["nfe_counted"] == "0").any():
        explained += " Atoms alone (0 NFE) stand at the budget whose level they have."
    style.note(figure, f"{explained}\n{style.measured_note(results, _lines(results, rows))}")
    return figure


def produce(results: Results) -> dict[str, bytes]:
    """File contents of OUTPUTS."""
    return dict(zip(OUTPUTS, style.encode(make(results)), strict=True))


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    return run(NAME, __doc__, produce, arguments)


if __name__ == "__main__":
    sys.exit(main())
