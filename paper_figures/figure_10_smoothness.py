"""Figure 10: what a small move of the noise does, x' = sqrt(1 - e^2) x + e z, under each coupling.

Left: the share of draws that are sent to another atom. Right: the mean distance between the samples of x and x'; its
value at e = 1 is that of unrelated samples. Copy and fresh noise do not look at the noise: the independent coupling.
"""

from typing import cast

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from paper_figures import _style as style
from paper_figures._results import Results, fingerprints

READS = ("coupling",)
PANELS = {"cell_changes": "share of draws that change their atom", "sample_distance": "mean distance of the samples"}


def _draw(axes: Axes, results: Results, rows: pd.DataFrame, quantity: str) -> dict[str, ErrorbarContainer]:
    """Lines with their intervals; method -> its line."""
    rows = rows[rows["quantity"] == quantity]
    looks, lines = style.styles(results), {}
    for method in rows["method"].unique():
        cells, look = rows[rows["method"] == method].sort_values("move"), looks[method]
        lines[method] = axes.errorbar(
            cells["move"], cells["value"], yerr=style.errors(cells), color=look.colour, marker=look.marker,
            linestyle=look.line, markersize=3, linewidth=1, elinewidth=0.7,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("move $e$ of the noise")
    axes.set_title(PANELS[quantity])
    return lines


def make(results: Results) -> Figure:
    """The figure."""
    rows = results.coupling
    if rows is None:
        return style.not_run("the results hold no coupling.csv", height=4.2)
    figure, (panels,) = style.panels(1, len(PANELS), 4.2, left=0.07, right=0.99, top=0.93, bottom=0.36, wspace=0.17)
    for axes, quantity in zip(panels, PANELS, strict=True):
        lines = _draw(axes, results, rows, quantity)
    # the right panel has every method; names are given with their lines, for others that begin with _ are left out
    names = [style.symbols(results.title(method)) for method in lines]
    figure.legend(cast("list[Artist]", [*lines.values()]), names, loc="lower left", bbox_to_anchor=(0.05, 0.06),
                  ncols=4, frameon=False, fontsize=6.5)  # fmt: skip
    marked = f"fingerprint {fingerprints(rows['fingerprint'])}"
    noises = " or ".join(sorted(rows["num_noises"].unique(), key=int))
    style.note(figure, f"{style.plain(results.source)}; n = {noises} noises; bars: 95 % intervals; {marked}")
    return figure


PAGE = style.page(__file__, __doc__, make)

if __name__ == "__main__":
    raise SystemExit(PAGE.main())
