"""Figure 2: samples of every method at every NFE budget.

One row a method, one column a budget; the same sample seeds everywhere, the first samples of the first seed,
not selected. Points are scattered over the training points.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figures import _samples as samples
from paper_figures import _style as style
from paper_figures._agreement import OUTSIDE
from paper_figures._results import Results
from paper_figures._samples import SampleCell

READS = ("samples", "data")
LEFT, COLUMN = 1.75, 5.1  # inches: names, pictures
LINES = 24  # lines of images on a page
LONGEST = (64, 48, 36, 24)  # characters of a name, the first that fits beside its row
POINTS = 500


def _grid(results: Results) -> dict[str, dict[str, SampleCell]]:
    """method -> NFE budget -> cell, for methods that were sampled or skipped; other figures' groups left out."""
    grid = {}
    for method in results.methods:
        if results.group(method) in OUTSIDE:
            continue
        found = samples.cells(results, method)
        row = {nfe: cell for nfe in results.budgets if (cell := samples.first(found, nfe))}
        # 0-NFE methods have one cell outside the budgets: it stands in the first column, under its own NFE
        if found and not row:
            row = {found[0].nfe_budget: found[0]}
        if row or any((method, nfe) in results.skipped() for nfe in results.budgets):
            grid[method] = row
    return grid


def _place(axes: Axes, cell: SampleCell, train: np.ndarray | None, *, lines: int, columns: int) -> None:
    drawn = cell["images"]
    if samples.is_points(drawn):
        samples.scatter(axes, train, "#CCCCCC", 2)
        samples.scatter(axes, drawn[:POINTS], style.BLUE, 2, 2)
        if train is not None:
            middle, half = train.mean(0), 1.35 * np.abs(train - train.mean(0)).max()
            axes.set_xlim(middle[0] - half, middle[0] + half)
            axes.set_ylim(middle[1] - half, middle[1] + half)
        axes.set_aspect("equal")
        axes.spines[:].set_visible(True)
    else:
        axes.imshow(samples.mosaic(drawn[: lines * columns], columns=columns))
        axes.spines[:].set_visible(False)
    axes.set_xticks([])
    axes.set_yticks([])


def make(results: Results) -> Figure:
    """The figure."""
    grid, budgets = _grid(results), results.budgets
    cell = next((cell for row in grid.values() for cell in row.values()), None)
    if cell is None:
        return style.not_run("the results hold no samples/*.safetensors of a method in this figure")
    points = samples.is_points(cell["images"])
    # about 25 images across the page
    size = {"lines": 2 if 2 * len(grid) <= LINES else 1, "columns": max(25 // len(budgets), 2)}
    width = COLUMN / len(budgets)
    row = min(width, 1.9, max(0.9, 8 / len(grid))) if points else width * size["lines"] / size["columns"] + 0.06
    height = row * len(grid) + 0.6
    places = {
        "left": LEFT / style.WIDTH,
        "right": (LEFT + COLUMN) / style.WIDTH,
        "top": 1 - 0.25 / height,
        "bottom": 0.3 / height,
    }
    figure, panels = style.panels(len(grid), len(budgets), height, wspace=0.06, hspace=0.08, **places)
    train = samples.split(results, "A") if points else None
    for line, (method, row_cells) in zip(panels, grid.items(), strict=True):
        beyond = set(row_cells) - set(budgets)
        for axes, nfe in zip(line, budgets, strict=True):
            if beyond and nfe == budgets[0]:
                _place(axes, row_cells[min(beyond)], train, **size)
            elif beyond:
                axes.set_axis_off()
            elif nfe in row_cells:
                _place(axes, row_cells[nfe], train, **size)
            else:
                style.blank(axes, _absent(results, method, nfe))
        _name(figure, line[0], results, method, min(beyond, default=None))
    for axes, nfe in zip(panels[0], budgets, strict=True):
        axes.set_title(f"NFE {nfe}", fontweight="bold", loc="center", pad=4)
    seed = f"{results.at_first}sample seed {cell.sample_seed}"
    style.note(figure, f"{style.source(results)}; first samples of {seed}, not selected")
    return figure


def _absent(results: Results, method: str, nfe: str) -> str:
    if method in results.experiment.elsewhere:
        return "–"
    return "skipped" if (method, nfe) in results.skipped() else "not run"


def _name(figure: Figure, axes: Axes, results: Results, method: str, beyond: str | None) -> None:
    """The method's name and, below it or behind it, its network or the NFE that no column has."""
    box, below = axes.get_position(), f"NFE {beyond}" if beyond is not None else results.attribute(method, "network")
    middle, room = (box.y0 + box.y1) / 2, 72 * box.height * figure.get_figheight()
    width = 72 * (LEFT - 0.01 * style.WIDTH) - 4
    names = [style.short(results, method, longest=longest) for longest in LONGEST]
    if len(style.wrapped(names[0], width, 7).splitlines()) == 1:
        figure.text(0.01, middle, names[0], va="bottom", fontsize=7)
        figure.text(0.01, middle, below, va="top", fontsize=style.SMALL, color=style.GREY)
        return
    texts = [style.wrapped(f"{name}; {below}", width, style.SMALL) for name in names]
    fits = (text for text in texts if len(text.splitlines()) * 1.2 * style.SMALL <= room)
    figure.text(0.01, middle, next(fits, texts[-1]), va="center", fontsize=style.SMALL, linespacing=1.0)


PAGE = style.page(__file__, __doc__, make)

if __name__ == "__main__":
    raise SystemExit(PAGE.main())
