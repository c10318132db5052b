"""Figure 13 and its table: predicted and measured source recovery against the level of the start.

Reads recovery.csv of `benchmarks.predict` in a folder; writes recovery.md and figure_13_recovery.png and .pdf there.

example: python -m benchmarks.laws_page results/reference/laws
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks import drawn
from dpmot.results import records
from paper_figures import _style as style
from paper_figures._numbers import Number

TOLERANCE = 0.03  # how far a measurement may lie from its prediction
LAWS = {"posterior": "posterior draws", "ode": "DDIM, NFE 30", "network": "trained networks, DDIM"}
TITLES = {"posterior": "posterior draws", "ode": "DDIM: ideal (full), networks (hollow)"}
COLOURS = (style.VERMILLION, style.BLUE, style.GREEN, style.ORANGE, style.PURPLE, style.SKY)
MARKERS = "osD^vP"
NAMES = {"digits": "digits", "gaussians": "25 Gaussians", "fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10"}


def cases(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Name as "digits, N = 599", and the rows of it by level."""
    for (dataset, number), some in rows.groupby(["dataset", "num_images"], sort=True):
        yield f"{NAMES.get(dataset, dataset)}, N = {number:,}", some.sort_values("sigma", kind="stable")


def shown(value: float, low: float, high: float) -> str:
    """With its interval, or alone where that has no width."""
    number = Number(value, low, high)
    return number.text if number.half > 5e-5 else f"{value:.4f}"


def verdict(rows: pd.DataFrame, law: str) -> str:
    """How many measurements of a law lie within the tolerance of their predictions, the largest, and each outside."""
    own = rows[rows["law"] == law]
    outside = own["difference"].abs() > TOLERANCE
    inside = (own[["difference_low", "difference_high"]].abs() <= TOLERANCE).all(axis=1)
    told = f"{'all' if not outside.any() else f'{(~outside).sum()} of'} {len(own)} differences within {TOLERANCE:g}"
    told += f", {inside.sum()} with their whole intervals; the largest is {own['difference'].abs().max():.3f}"
    names = [f"{case} {_apart(row)}" for case, some in cases(own[outside]) for row in records(some)]
    return f"{told}; outside: {'; '.join(names)}" if names else told


def _apart(row: dict) -> str:
    """Where a measurement departs from its prediction, by how much, and whether its interval shows it."""
    zero = "excludes" if row["difference_low"] > 0 or row["difference_high"] < 0 else "holds"
    return f"at sigma {row['sigma']:.4g} by {row['difference']:.3f} (the interval of the difference {zero} 0)"


def line(row: dict) -> dict[str, str]:
    """One row of the table."""
    return {
        "sigma": f"{row['sigma']:.4g}",
        "what": LAWS[row["law"]],
        "measured by": row["by"],
        "latents": f"{row['num_latents']:,}",
        "n": f"{row['num_samples']:,}",
        "predicted": shown(row["predicted"], row["predicted_low"], row["predicted_high"]),
        "measured": shown(row["measured"], row["low"], row["high"]),
        "measured - predicted": shown(row["difference"], row["difference_low"], row["difference_high"]),
    }


def page(rows: pd.DataFrame) -> str:
    """The table as Markdown."""
    parts = ["# Source recovery, predicted and measured", ""]
    parts += [
        "Predicted from the images alone, 95 % intervals over latents; measured on the same latents, pair by pair, of",
        "which the prediction has not asked whose they are; networks on n starts of their own. DDIM and networks",
        "stand beside the prediction of the exact flow. The difference of DDIM holds its discretisation, that of",
        "networks how far they depart from the ideal denoiser and, at NFE 5 and 10 above all, the discretisation too.",
        "Samples of stored latents (copy, transport) are not independent: n of them count as",
        "1 / (1/n + 1/N). I: upper bound on what a latent tells of its image in the population, in nats; below log N",
        "copying is not forced, above it the bound does not decide.",
        "",
    ]
    for law in ("posterior", "ode"):
        own = rows[rows["law"] == law]
        out = int(((own["difference_low"] > 0) | (own["difference_high"] < 0)).sum())
        parts += [f"{LAWS[law]}: {verdict(rows, law)}.", f"{out} of {len(own)} intervals exclude 0.", ""]
    parts.pop()
    for name, some in cases(rows):
        first = some.iloc[0]
        levels = records(some.drop_duplicates("sigma"))
        told = ", ".join(f"{row['population']:.3g} at {row['sigma']:.4g}" for row in levels)
        parts += ["", f"## {name}", "", f"log N = {first['log_images']:.2f}; I at most {told}.", ""]
        table = pd.DataFrame([line(row) for row in records(some)])
        parts.append(table.to_markdown(index=False, disable_numparse=True))
    return "\n".join(parts) + "\n"


def draw(axes: Axes, rows: pd.DataFrame, law: str) -> None:
    """Lines predicted, markers measured; hollow ones are networks'."""
    for (_, some), colour, marker in zip(cases(rows), COLOURS, MARKERS, strict=False):
        own = some[some["law"] == law]
        curve = own.drop_duplicates("sigma")
        axes.plot(curve["sigma"], curve["predicted"], color=colour, linewidth=1.0)
        points = [(own, colour)] + ([(some[some["law"] == "network"], "white")] if law == "ode" else [])
        for part, face in points:
            bars = [part["measured"] - part["low"], part["high"] - part["measured"]]
            axes.errorbar(
                part["sigma"], part["measured"], yerr=bars, fmt=marker, color=colour, markerfacecolor=face,
                markersize=3.5, elinewidth=0.7, markeredgewidth=0.8,
            )  # fmt: skip
    axes.set(xscale="log", ylim=(-0.03, 1.03), xlabel="level of the start $\\sigma_M$")
    axes.set_title(TITLES[law])


def figure(rows: pd.DataFrame) -> Figure:
    """Recovery of posterior draws, and of DDIM; information over log N."""
    canvas, grid = style.panels(1, 3, 2.9, left=0.07, right=0.99, top=0.92, bottom=0.32, wspace=0.28)
    for axes, law in zip(grid[0], TITLES, strict=False):
        draw(axes, rows, law)
    grid[0, 0].set_ylabel("source recovery")
    last: Axes = grid[0, 2]
    for (name, some), colour, marker in zip(cases(rows), COLOURS, MARKERS, strict=False):
        levels = some.drop_duplicates("sigma")
        ratio = levels["population"] / levels["log_images"]
        last.plot(
            levels["sigma"], np.maximum(ratio, 1e-4), marker, linestyle="-", color=colour, label=name, markersize=3
        )
    last.axhline(1, color=style.BLACK, linestyle=":", linewidth=0.9)
    last.set(xscale="log", yscale="log", ylim=(1e-3, None), xlabel="level of the start $\\sigma_M$")
    last.set_title("information / log N, at most")
    canvas.legend(*last.get_legend_handles_labels(), loc="lower center", ncols=3, frameon=False, fontsize=7,
                  bbox_to_anchor=(0.5, 0.045))  # fmt: skip
    told = "Lines: predicted from the images alone. Markers: measured on the same latents, networks on others."
    style.note(canvas, f"{told} Bars: 95 % intervals. Dotted: I = log N.")
    return canvas


if __name__ == "__main__":
    drawn.main(__doc__, "recovery", "figure_13_recovery", page=page, figure=figure)
