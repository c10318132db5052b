"""Figure 10: what a small move of the noise does, x' = sqrt(1 - e^2) x + e z, under each coupling.

Left: the share of draws that are sent to another atom. Right: the mean distance between the samples of x and x'; its
value at e = 1 is that of unrelated samples. Copy and fresh noise do not look at the noise: the independent coupling.
"""

import sys
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figures import _style as style
from paper_figures._command import run
from paper_figures._results import Results

NAME = "figure_10_smoothness"
OUTPUTS = tuple(f"figures/{NAME}.{suffix}" for suffix in ("png", "pdf"))
PANELS = {"cell_changes": "share of draws that change their atom", "sample_distance": "mean distance of the samples"}


def _draw(axes: Axes, results: Results, quantity: str) -> None:
    rows = results.coupling[results.coupling["quantity"] == quantity]
    looks = style.styles(results)
    for method, cells in rows.groupby("method", sort=False):
        cells, look = cells.sort_values("move"), looks[method]
        errors = [(cells["value"] - cells["low"]).clip(lower=0), (cells["high"] - cells["value"]).clip(lower=0)]
        axes.errorbar(
            cells["move"], cells["value"], yerr=errors, color=look.colour, marker=look.marker, linestyle=look.line,
            markersize=3, linewidth=1, elinewidth=0.7, label=style.symbols(results.title(method)),
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("move $e$ of the noise")
    axes.set_title(PANELS[quantity])


def make(results: Results) -> Figure:
    """The figure."""
    figure = Figure(figsize=(style.WIDTH, 4.2))
    if results.coupling is None:
        style.blank(figure.subplots(), "not run: the results hold no coupling.csv")
        return figure
    panels = figure.subplots(1, len(PANELS))
    figure.subplots_adjust(left=0.07, right=0.99, top=0.93, bottom=0.36, wspace=0.17)
    for axes, quantity in zip(panels, PANELS, strict=True):
        _draw(axes, results, quantity)
    # the right panel has every method
    figure.legend(*panels[-1].get_legend_handles_labels(), loc="lower left", bbox_to_anchor=(0.05, 0.06), ncols=4,
                  frameon=False, fontsize=6.5)  # fmt: skip
    rows = results.coupling
    prints = ", ".join(dict.fromkeys(rows["fingerprint"]))
    noises = " or ".join(sorted(rows["num_noises"].unique(), key=int))
    style.note(figure, f"{results.source}; n = {noises} noises; bars: 95 % intervals; fingerprint {prints}")
    return figure


def produce(results: Results) -> dict[str, bytes]:
    """File contents of OUTPUTS."""
    return dict(zip(OUTPUTS, style.encode(make(results)), strict=True))


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    return run(NAME, __doc__, produce, arguments)


if __name__ == "__main__":
    sys.exit(main())
