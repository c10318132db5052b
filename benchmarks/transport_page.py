"""The table and the figure of `benchmarks.transport`, `benchmarks.transport_hard` and `benchmarks.noise`.

Reads transport.csv, trail.csv, hard.csv and noise.csv in a folder; writes transport.md and transport.png there.

example: python -m benchmarks.transport_page results/reference/transport
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from paper_figures import _style

SOLVERS = {
    "ours": ("ours", _style.VERMILLION, "o"),
    "ott": ("OTT-JAX", _style.BLUE, "s"),
    "pot": ("POT", _style.GREEN, "^"),
    "authors": ("authors' Adam", _style.GREY, "x"),
}
INEXACT = "Of CIFAR-10's 50,000 training images 86 were JPEG copies here, not the authors' pixels."


def bound(seconds: object) -> tuple[float, bool]:
    """Seconds, and whether they are only a lower bound (">= 12")."""
    text = str(seconds)
    return float(text.removeprefix(">= ")), text.startswith(">=")


def comparison(rows: pd.DataFrame, target: float) -> pd.DataFrame:
    """One line a case: seconds of each solver, and how many times as long as ours each peer takes."""
    lines = []
    for case, cells in rows[rows.target == target].groupby("case", sort=False):
        seconds = cells.set_index("solver").seconds
        line = {"case": case, "atoms": cells.atoms.iloc[0], "d": cells.dim.iloc[0]}
        line |= {label: seconds.get(name, "not run") for name, (label, _, _) in SOLVERS.items()}
        for name, (label, _, _) in SOLVERS.items():
            if name != "ours" and {name, "ours"} <= set(seconds.index) and not bound(seconds["ours"])[1]:
                peer, open_ended = bound(seconds[name])
                line[f"{label} / ours"] = f"{'>= ' if open_ended else ''}{peer / bound(seconds['ours'])[0]:.1f}"
        mine = cells[cells.solver == "ours"]
        if len(mine):
            if target == 0.01:
                line["ours, whole fit"] = mine.whole_fit.iloc[0]
            line |= {"noises / N (ours)": mine.noises_per_atom.iloc[0], "chi2 n / N (ours)": mine.ratio.iloc[0]}
        lines.append(line)
    return pd.DataFrame(lines).fillna("-")


def page(folder: Path) -> str:
    """The tables as Markdown."""
    rows = pd.read_csv(folder / "transport.csv")
    parts = ["# Semi-discrete transport: time to a given error", ""]
    parts += [
        "Seconds of fitting until the common certificate puts chi2 at or under the target; 2 threads. Settings:",
        "",
    ]
    parts += [f"- {SOLVERS[name][0]}: {cells.settings.iloc[0]}." for name, cells in rows.groupby("solver", sort=False)]
    parts += [
        "",
        "`>=`: the longest fit did not reach the target. A peer's time is that of the shortest length tried that",
    ]
    parts += ["does. The whole fit goes on until a certificate is likely."]
    if rows.case.str.startswith("cifar10").any():
        parts += ["", INEXACT]
    for target in sorted(rows.target.unique(), reverse=True):
        parts += [
            "",
            f"## chi2 = {target:g}",
            "",
            comparison(rows, target).to_markdown(index=False, disable_numparse=True),
        ]
    details = ["case", "solver", "fits", "lengths", "cap", "memory", "certificate_seconds", "products"]
    details += ["empty_cells", "empty_expected"]
    parts += [
        "",
        "## What was run",
        "",
        "Lengths are noises per atom of a peer's fits; memory is the process's peak in MB; empty cells (and how",
        "many right masses would leave empty) are those of the last heights, on the noise of the certificate.",
    ]
    once = rows.drop_duplicates(["case", "solver"]).reindex(columns=details).astype(object).fillna("-")
    parts += ["", once.to_markdown(index=False, disable_numparse=True)]
    for name, title in (("hard", "Hard problems"), ("noise", "Kinds of noise")):
        if (folder / f"{name}.csv").exists():
            table = pd.read_csv(folder / f"{name}.csv", dtype=str).fillna("-")
            parts += ["", f"## {title}", "", table.to_markdown(index=False, disable_numparse=True)]
    return "\n".join(parts) + "\n"


def draw(axes: Axes, trail: pd.DataFrame, column: str) -> None:
    """chi2 of every solver along its fit."""
    for name, (label, colour, marker) in SOLVERS.items():
        line = trail[(trail.solver == name) & (trail.chi2 > 0)].sort_values(column)
        axes.plot(line[column], line.chi2, color=colour, marker=marker, markersize=3, label=label)
    axes.set(xscale="log", yscale="log")
    axes.xaxis.set_minor_formatter(NullFormatter())


def figure(trail: pd.DataFrame) -> Figure:
    """A column for each case: error against seconds, and against noises with the line N / n of plain counting."""
    cases = list(trail.case.unique())
    canvas = Figure(figsize=(1.75 * len(cases) + 0.6, 3.6), layout="constrained")
    grid = canvas.subplots(2, len(cases), squeeze=False, sharey=True)
    for case, (top, bottom) in zip(cases, grid.T, strict=True):
        part = trail[trail.case == case]
        draw(top, part, "seconds")
        draw(bottom, part, "noises")
        noises = np.geomspace(part.noises.min(), part.noises.max(), 2)
        bottom.plot(noises, 1 / noises, color=_style.BLACK, linewidth=0.6, linestyle=":", label="N / n")
        top.set(title=case.replace("_", " "), xlabel="seconds of fitting")
        bottom.set(xlabel="noises per atom")
    for axes in grid[:, 0]:
        axes.set_ylabel("chi2")
    if any(case.startswith("cifar10") for case in cases):
        canvas.suptitle(INEXACT, fontsize=7)
    canvas.legend(*grid[1, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    return canvas


def main() -> None:
    """Write both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("results/transport"))
    folder = parser.parse_args().folder
    (folder / "transport.md").write_text(page(folder))
    figure(pd.read_csv(folder / "trail.csv")).savefig(folder / "transport.png", dpi=130)


if __name__ == "__main__":
    main()
