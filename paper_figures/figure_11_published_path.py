"""Figure 11: what a start's latents and their exact denoising measure, from the published path's levels up to sigma 10.

Frechet distances, precision, recall, mode mixture and source recovery against the level sigma of the latents: the
latents themselves (0 NFE), and the posterior mean of each exact denoiser. The vertical lines are the published path's
levels at 5 to 50 steps. The grey bands are real images.
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dpmot.results import REAL_TEST, REAL_TRAIN, RECOVERY
from paper_figures import _style as style
from paper_figures._results import Results
from paper_figures._style import Quantity, Style

LOOKS = tuple(map(Style, style.LEVELS[::2], "soD"))
ATOMS = "atoms"


def _quantities(results: Results) -> list[Quantity]:
    family = results.families[0]
    return [
        *style.distances(results),
        Quantity(f"precision_{family}", ("test",), "precision against test", REAL_TRAIN),
        Quantity(f"recall_{family}", ("test",), "recall of test", REAL_TRAIN),
        Quantity("mmr_0.1", ("none",), "MMR (t = 0.1)", REAL_TEST),
        Quantity(RECOVERY, ("test", "train"), "source recovery"),
    ]


def _cells(results: Results) -> pd.DataFrame:
    """Pooled cells of starts that store images, of the path and of the sweep, with their line's name; no controls."""
    rows = results.pooled()
    wanted = results.of_groups(rows, ("dpm_ot", "as_code", "sweep"))
    rows = rows[wanted & rows["value"].notna() & rows["sigma_atoms"].notna()]
    line = rows["network"].where(rows["sampler"] != "none", ATOMS)
    return rows.assign(line=line).sort_values("sigma_atoms", kind="stable")


def _named(results: Results, line: str) -> str:
    if line == ATOMS:
        return "atoms, 0 NFE"
    network = results.experiment.networks.get(line)
    split = network and network.options.get("split")
    return f"posterior of {split}" if split else f"network {line}"


def _draw(axes: Axes, results: Results, cells: pd.DataFrame, quantity: Quantity) -> None:
    chosen = style.begin(axes, quantity, cells)
    if chosen.empty:
        return
    looks = zip(dict.fromkeys(cells["line"]), LOOKS, strict=False)
    lines = [(chosen[chosen["line"] == line], look, _named(results, line)) for line, look in looks]
    ends = style.draw_lines(axes, "sigma_atoms", lines)
    floors = style.floor(axes, results.pooled(), quantity)
    if not quantity.floor:
        number = results.images(REAL_TEST if chosen["reference"].iloc[0] == "test" else REAL_TRAIN)
        floors = [] if number is None else [(1 / number, "1/N")]
    _scale(axes, results, cells)
    style.label_ends(axes, ends, floors)


def _scale(axes: Axes, results: Results, cells: pd.DataFrame) -> None:
    at_budget = cells["nfe_budget"].isin(results.budgets)
    published, swept = set(cells["sigma_atoms"][at_budget]), set(cells["sigma_atoms"][~at_budget])
    ends = {min(published), max(published)} if published else set()
    limits = cells["sigma_atoms"].min() / 1.15, cells["sigma_atoms"].max() * 1.15
    style.level_axis(axes, limits, sorted(swept | ends), "{x:.2g}")
    for sigma in published:
        axes.axvline(sigma, color=style.GREY, linewidth=0.4, linestyle=":", zorder=1)


def make(results: Results) -> Figure:
    """The figure."""
    cells = _cells(results)
    if cells.empty:
        return style.not_run("metrics.csv holds no pooled cell of a start that stores images")
    names = [*(_named(results, line) for line in dict.fromkeys(cells["line"])), *style.REAL.values()]
    explained = (
        "Dotted: levels of the published path at its budgets. Hollow: unranked (Table 9). Grey: real "
        "images. Posterior of C: of the held-out images, the latents' own; of A: of the training images."
    )
    told = f"{explained}\n{style.measured_note(results, cells)}"
    figure, grid = style.laid(3, 2, [names], told, top=0.12, between=0.35)
    for axes, quantity in zip(grid.flat, _quantities(results), strict=True):
        _draw(axes, results, cells, quantity)
    for axes in grid[-1]:
        axes.set_xlabel("level $\\sigma$ of the latents")
    return figure


PAGE = style.page(__file__, __doc__, make)

if __name__ == "__main__":
    raise SystemExit(PAGE.main())
