"""Figure 12: from one Gaussian to the images themselves, the frontier of the mixture start.

Frechet distance and share of copies against K, the components of the mixture, one line a level sigma; above, what the
mixture's file takes. Lines end at K = N, a random image with new noise, which is what N components of one image are.
Marks are the other starts on the same network and sampler, each at the level where it is best: a random stored latent
and DPM-OT at N, the Gaussian start at 1. Broken lines are the best samplers from the prior, at as many evaluations and
at twice as many.
"""

from itertools import cycle

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dpmot.experiment.fits import fit_of
from dpmot.experiment.plan import Method
from paper_figures import _style as style
from paper_figures._results import Results
from paper_figures._style import End, Quantity, Style

READS = ("fits",)
LOOKS = tuple(map(Style, style.LEVELS, "osDv^"))
MARKS = {"transport": "DPM-OT", "copy": "copy", "gaussian": "Gaussian start"}  # start -> its name
PANELS = 2  # evaluations that are shown, the fewest


def frontier(results: Results) -> pd.DataFrame:
    """Pooled rows of the mixtures of a sweep that differ in K and sigma alone, and of new noise, with ``k``, ``bytes``
    and ``by``; of the network and sampler of the first."""
    rows = results.pooled()
    rows = rows[rows["value"].notna()]
    drawn = results.experiment.drawn
    swept = {name: one for name, one in drawn.items() if one.start == "mixture" and results.group(name) == "sweep"}
    first = next(iter(swept.values()), None)
    placed = {name: _place(results, one) for name, one in swept.items() if first and _alike(one, first)}
    number = max((int(facts["images"]) for facts in results.fits.values()), default=0)
    fresh = {name: (number, None, "fresh") for name, one in drawn.items() if _fresh(one, first, results.group(name))}
    found = {**{name: place for name, place in placed.items() if place}, **(fresh if number else {})}
    rows = rows[rows["method"].isin(found)]
    places = pd.DataFrame([found[m] for m in rows["method"]], columns=["k", "bytes", "by"], index=rows.index)
    return pd.concat([rows, places], axis=1).sort_values(["sigma_start", "k"], kind="stable")


def _alike(one: Method, first: Method) -> bool:
    options = set(one.start_options) <= {"components", "by"}
    return options and (one.network, one.sampler, one.grid) == (first.network, first.sampler, first.grid)


def _fresh(one: Method, first: Method | None, group: str) -> bool:
    return bool(first) and one.start == "fresh_noise" and group == "sweep" and _same(one, first)


def _same(one: Method, first: Method | None) -> bool:
    return first is not None and (one.network, one.sampler) == (first.network, first.sampler)


def _place(results: Results, method: Method) -> tuple[int, int, str] | None:
    """K, bytes and kind of a method's mixture; None where its facts are not there."""
    fit = fit_of(results.experiment, method)
    facts = results.fits.get(fit.name) if fit else None
    return (facts["components"], facts["bytes"], method.start_options.get("by", "kmeans")) if facts else None


def _marks(results: Results, rows: pd.DataFrame, number: int) -> dict[str, tuple[int, str, Style, pd.Series]]:
    """Of each other start on the network and sampler of the frontier the row that is best: (K, name, look, row)."""
    first = results.experiment.drawn[rows["method"].iloc[0]]
    nfe, pooled = rows["nfe_budget"].iloc[0], results.pooled()
    pooled = pooled[(pooled["nfe_budget"] == nfe) & pooled["value"].notna()]
    looks, found = style.styles(results), {}
    for start, name in MARKS.items():
        methods = [m for m, one in results.experiment.drawn.items() if one.start == start and _same(one, first)]
        cells = style.distances(results)[0].of(pooled[pooled["method"].isin(methods)])
        if len(cells):
            best = cells.sort_values("value").iloc[0]
            found[start] = (1 if start == "gaussian" else number, name, looks[best["method"]], best)
    return found


def _rivals(results: Results, network: str, nfe: str) -> list[tuple[str, pd.Series]]:
    """The best sampler from the prior at as many evaluations and at twice as many: (NFE, its row).

    None that keeps samples by class: it pays for those that it throws away, so its budget is not what it spends.
    """
    rows = style.distances(results)[0].of(results.pooled())
    planned = results.experiment.drawn
    own = [m for m, one in planned.items() if one.start == "prior" and one.network == network and not one.balanced]
    rows = rows[rows["method"].isin(own) & rows["value"].notna()]
    ranked = rows["ranked"].astype(bool)
    rows = rows[ranked | ~ranked.groupby(rows["nfe_budget"]).transform("any")]
    found = []
    for budget in (nfe, str(2 * int(nfe))):
        cells = rows[rows["nfe_budget"] == budget]
        found += [(budget, cells.sort_values("value").iloc[0])] if len(cells) else []
    return found


def _draw(axes: Axes, results: Results, rows: pd.DataFrame, quantity: Quantity, number: int) -> None:
    """One panel: a quantity against K at one budget."""
    cells = style.begin(axes, quantity, rows, " of a frontier")
    if cells.empty:
        return
    lines = cells[cells["by"] != "labels"]
    sigmas = sorted(lines["sigma_start"].unique())
    looks = dict(zip(sigmas, cycle(LOOKS), strict=False))
    drawn = [(lines[lines["sigma_start"] == sigma], look, f"$\\sigma$ {sigma:g}") for sigma, look in looks.items()]
    ends: list[End] = style.draw_lines(axes, "k", style.spread(drawn, "k"))
    beside = []
    for sigma, look in looks.items():
        by_class = cells[(cells["by"] == "labels") & (cells["sigma_start"] == sigma)]
        axes.plot(by_class["k"], by_class["value"], "*", color=look.colour, markersize=8, zorder=5, markeredgewidth=0)
    for place, name, look, best in _marks(results, rows, number).values():
        same = (results.pooled()["method"] == best["method"]) & (results.pooled()["sigma_start"] == best["sigma_start"])
        own = quantity.of(results.pooled()[same & (results.pooled()["nfe_budget"] == best["nfe_budget"])])
        for value in own["value"].head(1):
            face = look.colour if best["ranked"] else "white"
            axes.plot(
                [place], [value], look.marker, color=look.colour, markerfacecolor=face, zorder=5, markersize=5.5,
                clip_on=False,
            )  # fmt: skip
            told = f"{name}, $\\sigma$ {best['sigma_start']:g}"
            if place > 1:
                ends.append((place, value, told, look.colour))
            elif quantity is not style.COPIED:  # the panel above it says it
                beside.append((place, value, told, look.colour))
    floors = style.floor(axes, results.pooled(), quantity)
    if quantity.metric.startswith("fd_"):
        network = results.attribute(rows["method"].iloc[0], "network")
        for (nfe, best), line in zip(_rivals(results, network, rows["nfe_budget"].iloc[0]), ("--", ":"), strict=False):
            axes.axhline(best["value"], color=style.BLACK, linestyle=line, linewidth=0.9, zorder=2)
            floors.append((best["value"], f"{style.short(results, best['method'])}, NFE {nfe}"))
    else:
        tolerance = results.experiment.copying_tolerance
        axes.set_yscale("symlog", linthresh=tolerance, linscale=0.6)
        axes.set_ylim(-0.2 * tolerance, max(0.1, 1.3 * cells["high"].max()))
        places = [0, tolerance, 0.1, *([1] if cells["high"].max() > 0.75 else [])]
        style.ticks(axes.yaxis, places, [f"{place:g}" for place in places])
        axes.axhline(tolerance, color=style.BLACK, linestyle=":", linewidth=0.9, zorder=2)
        floors.append((tolerance, "tolerance"))
    if quantity is not style.COPIED:
        axes.set_ylim(top=1.5 * axes.get_ylim()[1])  # room for a name above the lines
    places = sorted(set(lines["k"]))
    style.level_axis(axes, (0.8, number * 1.25), ())
    style.ticks(axes.xaxis, places, [f"{k}" if k < 1000 else f"{k / 1000:g}k" for k in places])
    style.label_ends(axes, ends, floors)
    for end in beside:
        style.label_free(axes, end)


def _bytes(axes: Axes, rows: pd.DataFrame, results: Results) -> None:
    """The upper axis: megabytes, or kilobytes, of each mixture's file; of the images at N."""
    stored = dict(zip(rows["k"], rows["bytes"], strict=True)) | {
        int(facts["images"]): facts["bytes_of_images"] for facts in results.fits.values() if facts["part"] == "all"
    }
    stored = {k: float(size) for k, size in stored.items() if pd.notna(size)}
    unit, name = (1e6, "MB") if max(stored.values()) > 1e6 else (1e3, "kB")
    upper = axes.secondary_xaxis("top")
    upper.tick_params(labelsize=style.SMALL)
    low, high = axes.get_xlim()
    inside = [k for k in sorted(stored) if low <= k <= high]
    style.ticks(upper.xaxis, inside, [f"{stored[k] / unit:.2g}" for k in inside], of=axes, size=style.SMALL)
    upper.set_xlabel(f"{name} stored", fontsize=7)


def make(results: Results) -> Figure:
    """The figure."""
    rows = frontier(results)
    if rows.empty:
        return style.not_run("metrics.csv holds no pooled cell of a sweep of mixtures, or fits/ no facts of them")
    number = int(rows["k"].max())
    budgets = sorted({nfe for nfe in rows["nfe_budget"] if nfe.isdecimal()}, key=int)[:PANELS]
    quantities = [style.distances(results)[0], style.COPIED]
    told = f"{_explained(results, rows)}\n{style.measured_note(results, rows)}"
    first = results.attribute(rows["method"].iloc[0], "network")
    rivals = {
        f"{style.short(results, best['method'])}, NFE {nfe}"
        for budget in budgets
        for nfe, best in _rivals(results, first, budget)
    }
    names = [f"$\\sigma$ {sigma:g}" for sigma in sorted(rows["sigma_start"].unique())]
    names += [*(f"{name}, $\\sigma$ 1" for name in MARKS.values()), *rivals, "real A"]
    figure, grid = style.laid(2, len(budgets), [names], told, top=0.55, between=0.4, narrow=len(budgets) == 1)
    for column, nfe in enumerate(budgets):
        cells = rows[rows["nfe_budget"] == nfe]
        for axes, quantity in zip(grid[:, column], quantities, strict=True):
            _draw(axes, results, cells, quantity, number)
        _bytes(grid[0, column], cells, results)
        grid[0, column].set_title(f"NFE {nfe}", pad=3, fontweight="bold")
        grid[1, column].set_xlabel("components K, or N images")
    return figure


def _explained(results: Results, rows: pd.DataFrame) -> str:
    method = rows["method"].iloc[0]
    on = f"network {results.attribute(method, 'network')}, sampler {results.attribute(method, 'sampler')}"
    return (
        f"Mixtures by k-means ({on}); stars: by class. Levels are drawn a little beside each other. Lines end at N, a "
        f"random image with new noise. Hollow: unranked. Other starts at the level where each is best. Broken lines: "
        f"the best sampler from the prior, at as many evaluations and at twice as many. Grey: real images."
    )


PAGE = style.page(__file__, __doc__, make)

if __name__ == "__main__":
    raise SystemExit(PAGE.main())
