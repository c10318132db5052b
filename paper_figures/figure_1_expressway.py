"""Figure 1: the expressway, prior noise -> atom -> sample.

T(noise) = y_i with i = argmax <noise, y_i> + h_i jumps to an atom without a network call; the sampler spends
its evaluations on the rest. Points are drawn with arrows, images as strips, at the lowest and the highest start
level among the two smallest NFE budgets.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figures import _samples as samples
from paper_figures import _style as style
from paper_figures._results import Results
from paper_figures._samples import SampleCell

READS = ("samples", "data")
COLUMNS = 12
ROWS = {"prior": "prior noise", "start": "atom, $T(\\mathrm{noise})$", "images": "sample"}


def _chosen(results: Results) -> list[SampleCell]:
    """DPM-OT cells at the two smallest budgets: those of the lowest and the highest start level, or of one method."""
    found = []
    for method in (m for m in results.methods if results.group(m) == "dpm_ot"):
        listed = samples.cells(results, method)
        found += [cell for nfe in results.budgets[:2] if (cell := samples.first(listed, nfe))]
    found = [cell for cell in found if cell.get("prior") is not None and cell.get("start") is not None]
    levels = [cell.sigma_start or 0.0 for cell in found]
    if len(set(levels)) > 1:
        return [found[levels.index(min(levels))], found[levels.index(max(levels))]]
    return [cell for cell in found if cell.method == found[0].method]


def _title(results: Results, cell: SampleCell) -> str:
    sigma = "" if cell.sigma_start is None else f", $\\sigma_M$ = {cell.sigma_start:.3g}"
    return f"{style.symbols(results.title(cell.method), longest=60)}, NFE {cell.nfe_budget}{sigma}"


def _draw_points(axes: Axes, cell: SampleCell, train: np.ndarray | None) -> None:
    """Arrows between the first two coordinates of noise, atom and sample."""
    prior, start = cell["prior"], cell["start"]
    drawn = cell["images"][: len(start)]
    samples.scatter(axes, train)
    for tail, head, colour in ((prior, start, style.SKY), (start, drawn, style.VERMILLION)):
        arrow = {"arrowstyle": "-|>", "color": colour, "linewidth": 0.7, "shrinkA": 1, "shrinkB": 2, "alpha": 0.8}
        for a, b in zip(tail, head, strict=True):
            axes.annotate("", xy=b[:2], xytext=a[:2], arrowprops=arrow | {"mutation_scale": 5}, zorder=2)
    looks = ((prior, "o", style.BLUE, "prior noise"), (start, "D", style.ORANGE, "atom, $T(\\mathrm{noise})$"))
    for points, marker, colour, name in (*looks, (drawn, "s", style.VERMILLION, "sample")):
        axes.plot(points[:, 0], points[:, 1], marker, color=colour, markersize=3, label=name, zorder=3)
    axes.plot([], [], ".", color="#999999", markersize=5, label="training points")
    axes.set_aspect("equal", adjustable="datalim")


def _draw_strips(axes: Axes, cell: SampleCell, train: np.ndarray | None) -> None:
    """Rows of pictures: noise, atom, sample and, where known, the training image the atom was made from."""
    rows = [(name, cell[key][:COLUMNS]) for key, name in ROWS.items()]
    source = cell.get("source")
    if source is not None and train is not None and source[:COLUMNS].max() < len(train):
        rows.append(("training image", train[source[:COLUMNS]]))
    samples.draw_rows(axes, rows)


def make(results: Results) -> Figure:
    """The figure."""
    chosen, train = _chosen(results), samples.split(results, "A")
    if not chosen:
        return style.not_run("no DPM-OT method stored its prior noises and atoms in samples/")
    points = samples.is_points(chosen[0]["images"])
    rows, columns, height = (1, len(chosen), 4.2) if points else (len(chosen), 1, 2.35 * len(chosen) + 0.25)
    left, bottom = (0.06, 0.75) if points else (0.14, 0.3)
    places = {"left": left, "right": 0.99, "top": 1 - 0.25 / height, "bottom": bottom / height}
    figure, grid = style.panels(rows, columns, height, wspace=0.12, hspace=0.14, **places)
    for axes, cell in zip(grid.flat, chosen, strict=True):
        (_draw_points if points else _draw_strips)(axes, cell, train)
        axes.set_title(_title(results, cell), fontweight="bold")
    if points:
        figure.legend(*grid.flat[0].get_legend_handles_labels(), loc="lower center", ncols=4, frameon=False,
                      bbox_to_anchor=(0.5, 0.25 / height), fontsize=7)  # fmt: skip
    style.note(figure, _note(results, chosen[0], points=points))
    return figure


def _note(results: Results, cell: SampleCell, *, points: bool) -> str:
    shown = "first 16 samples" if points else "first samples; noise and atoms scaled to their own range"
    return f"{style.source(results)}; {results.at_first}sample seed {cell.sample_seed}; {shown}"


PAGE = style.page(__file__, __doc__, make)

if __name__ == "__main__":
    raise SystemExit(PAGE.main())
