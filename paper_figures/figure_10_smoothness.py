"""Figure 10: what a small move of the noise does, x' = sqrt(1 - e^2) x + e z, under each coupling.

Left: the share of draws that are sent to another atom. Right: the mean distance between the samples of x and x'; its
value at e = 1 is that of unrelated samples. Copy and fresh noise do not look at the noise: the independent coupling.
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figures import _lines as lines
from paper_figures import _style as style
from paper_figures._results import Results, fingerprints

READS = ("coupling",)
PANELS = {"cell_changes": "share of draws that change atom", "sample_distance": "mean distance of samples"}


def _named(results: Results, method: str) -> str:
    return style.symbols(results.title(method))


def _chosen(results: Results, rows: pd.DataFrame) -> list[str]:
    """At most six methods, which both panels show as far as they have them; the smoothest of each kind."""
    cells = rows[rows["quantity"] == "sample_distance"]
    cells = (cells if len(cells) else rows).assign(ranked=True)
    return lines.at_most_six(results, cells.assign(nfe_budget=cells["move"].astype(str)))


def _draw(axes: Axes, results: Results, cells: pd.DataFrame, quantity: str) -> None:
    """Lines with their intervals; those at 0 stand on the axis, for both scales are logarithmic."""
    looks = style.styles(results)
    cells = cells[cells["quantity"] == quantity].assign(ranked=True).sort_values("move", kind="stable")
    drawn = [(cells[cells["method"] == m], looks[m], _named(results, m)) for m in dict.fromkeys(cells["method"])]
    axes.set_xscale("log")
    axes.set_yscale("log", nonpositive="clip")
    axes.set_ylabel(PANELS[quantity])
    axes.set_xlabel("move $e$ of the noise")
    ends = style.draw_lines(axes, "move", drawn)
    certain = cells.loc[cells["value"] > 0, "value"]
    if len(certain):  # an interval that comes near 0 does not stretch the axis
        axes.set_ylim(bottom=0.6 * certain.min())
    style.decades(axes.xaxis, sorted(set(cells["move"])))
    style.decades(axes.yaxis)
    style.label_ends(axes, ends)


def make(results: Results) -> Figure:
    """The figure."""
    rows = results.coupling
    if rows is None:
        return style.not_run("the results hold no coupling.csv")
    chosen = _chosen(results, rows)
    figure, ((left, right),) = style.laid(1, 2, [[_named(results, m) for m in chosen]], _note(results, rows), panel=1.9)
    for axes, quantity in zip((left, right), PANELS, strict=True):
        _draw(axes, results, rows[rows["method"].isin(chosen)], quantity)
    return figure


def _note(results: Results, rows: pd.DataFrame) -> str:
    noises = " or ".join(sorted(rows["num_noises"].unique(), key=int))
    marked = f"fingerprint {fingerprints(rows['fingerprint'])}"
    told = f"{style.source(results)}; n = {noises} noises; bars: 95 % intervals, over these; {marked}"
    return f"{lines.how_chosen(results)}\n{told}"


PAGE = style.page(__file__, __doc__, make)

if __name__ == "__main__":
    raise SystemExit(PAGE.main())
