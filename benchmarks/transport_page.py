"""The table and the figure of `benchmarks.transport`, `benchmarks.transport_hard` and `benchmarks.noise`.

Reads transport.csv, trail.csv, hard.csv and noise.csv in a folder; writes transport.md and figure_6_solver there.

example: python -m benchmarks.transport_page results/reference/transport
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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
    parts += [
        f"- {SOLVERS[str(name)][0]}: {cells.settings.iloc[0]}." for name, cells in rows.groupby("solver", sort=False)
    ]
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


def small_and_large(rows: pd.DataFrame) -> tuple[str, str]:
    """The case with most atoms times dimensions that a peer was run on, and the smallest at the same abar."""
    size = (rows.atoms * rows.dim).groupby(rows.case).first()
    peers = rows[rows.solver != "ours"].case.unique()
    large = str(size[peers].idxmax())
    same = [case for case in size.index if str(case).rpartition("-")[2] == large.rpartition("-")[2]]
    return str(size[same].idxmin()), large


def draw(axes: Axes, trail: pd.DataFrame, column: str) -> list[_style.End]:
    """chi2 of every solver along its fit; returns the ends of the lines."""
    ends = []
    for name, (label, colour, marker) in SOLVERS.items():
        line = trail[(trail.solver == name) & (trail.chi2 > 0)].sort_values(column)
        if len(line):
            axes.plot(line[column], line.chi2, color=colour, marker=marker, markersize=3)
            ends.append((line[column].iloc[-1], line.chi2.iloc[-1], label, colour))
    axes.set(xscale="log", yscale="log")
    return ends


def _named(case: str) -> str:
    """A case as a reader knows it: "digits, abar 0.9"."""
    data, _, abar = case.replace("_", " ").rpartition("-")
    return f"{data}, abar {abar}"


def figure(trail: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """Figure 6, the solver against its peers: error over seconds, and over noises with the line N / n; a row a case."""
    shown = small_and_large(rows)
    peers = rows[rows.case == shown[1]].solver.unique()
    absent = ", ".join(label for name, (label, _, _) in SOLVERS.items() if name not in peers)
    told = (
        "chi2 = sum (p - w)^2 / w of the masses of the cells. N / n: what plain counting of n noises would leave of "
        "N cells. 2 threads; a point of a peer is a fit of its own."
    )
    told += f" Not run on {_named(shown[1])}: {absent}." if absent else ""
    if any(case.startswith("cifar10") for case in shown):
        told += f" {INEXACT}"
    names = [*(label for label, _, _ in SOLVERS.values()), "N / n"]
    canvas, grid = _style.laid(len(shown), 2, [names], told, left=0.65)
    for case, (left, right) in zip(shown, grid, strict=True):
        part = trail[trail.case == case]
        ends = [draw(left, part, "seconds"), draw(right, part, "noises")]
        noises = np.geomspace(part.noises.min(), part.noises.max(), 2)
        right.plot(noises, 1 / noises, color=_style.BLACK, linewidth=0.6, linestyle=":")
        ends[1].append((noises[-1], 1 / noises[-1], "N / n", _style.BLACK))
        one = rows[rows.case == case].iloc[0]
        left.set_title(f"{_named(case)}: {one.atoms:,} atoms, {one.dim:,} dimensions", fontweight="bold")
        for axes, label, own in zip((left, right), ("seconds of fitting", "noises per atom"), ends, strict=True):
            axes.set(xlabel=label, ylabel="error chi2 ↓")
            _style.decades(axes.xaxis)
            _style.decades(axes.yaxis)
            _style.label_ends(axes, own)
    return canvas


def main() -> None:
    """Write both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("results/transport"))
    folder = parser.parse_args().folder
    (folder / "transport.md").write_text(page(folder))
    drawn = _style.encode(figure(pd.read_csv(folder / "trail.csv"), pd.read_csv(folder / "transport.csv")))
    for ending, content in zip((".png", ".pdf"), drawn, strict=True):
        (folder / f"figure_6_solver{ending}").write_bytes(content)


if __name__ == "__main__":
    main()
