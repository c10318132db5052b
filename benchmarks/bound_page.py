"""Figure 14 and Table 11: the error of DDIM on laws with a known score, term by term, and the bound on it.

Reads bound.csv of `benchmarks.bound` in a folder; writes bound.md and figure_14_bound.png and .pdf there.

example: python -m benchmarks.bound_page results/reference/laws
"""

import math
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks import drawn
from paper_figures import _style as style
from paper_figures._numbers import Number

METHODS = {
    "exact_start": "exact start",
    "copy": "copy",
    "dpm_ot": "DPM-OT",
    "zero_heights": "DPM-OT, heights 0",
    "prior": "prior",
}
TERMS = ("discretisation", "score", "finite N", "transport", "prior")
COLOURS = dict(zip(TERMS, (style.BLUE, style.ORANGE, style.GREEN, style.VERMILLION, style.PURPLE), strict=True))
LAWS = {
    "one": (style.BLUE, "o"),
    "near": (style.GREEN, "s"),
    "far": (style.VERMILLION, "^"),
    "gaussians": (style.PURPLE, "D"),
}
STORED = ("copy", "dpm_ot", "zero_heights")  # starts from N stored latents
TIGHT = 1.5  # bound over measurement, up to which it is called tight


@dataclass(frozen=True)
class Case:
    """The rows of one law and what is said of them.

    Attributes:
        dim: d.
        law: "one", "near", "far" or "gaussians".
        rows: its rows of bound.csv.
    """

    dim: int
    law: str
    rows: pd.DataFrame

    @property
    def spread(self) -> float:
        """W2 of the data and its mean alone."""
        return float(self.rows["spread"].iloc[0])

    @property
    def errors(self) -> list[str]:
        """Of the score, as far as they were measured."""
        return [error for error in ("none", "bias", "wave") if (self.rows["error"] == error).any()]

    @property
    def nfe(self) -> int:
        """Where totals were measured afresh."""
        return int(self.rows.loc[self.rows["quantity"] == "total - sum", "nfe"].iloc[0])

    @property
    def distance(self) -> str:
        """The best that was measured: W2 by pairing, or sliced."""
        return "w2" if (self.rows["distance"] == "w2").any() else "sliced"

    def number(self, method: str, error: str, distance: str, quantity: str, nfe: int | None = None) -> Number | None:
        """A value with its interval; None where there is none."""
        rows = self.rows[(self.rows["method"] == method) & (self.rows["error"] == error)]
        rows = rows[(rows["distance"] == distance) & (rows["quantity"] == quantity)]
        rows = rows[rows["nfe"] == (self.nfe if nfe is None else nfe)]
        return None if rows.empty else Number(*rows[["value", "low", "high"]].iloc[0])

    def cell(self, *which: str) -> str:
        """The same as text."""
        found = self.number(*which)  # type: ignore[arg-type]
        return "–" if found is None else found.text if found.half > 0 else "0"

    def measured(self, method: str, error: str, nfe: int | None = None, distance: str | None = None) -> float:
        """W2, the root of the sum of the terms; 0 where that is below 0."""
        found = self.number(method, error, distance or self.distance, "sum", nfe)
        assert found is not None
        return math.sqrt(max(0.0, found.value))

    def told(self, method: str, error: str, nfe: int | None = None) -> float:
        """The bound on it."""
        found = self.number(method, error, "bound", "total", nfe)
        assert found is not None
        return found.value

    def verdict(self, method: str, error: str) -> str:
        """Void: no smaller than the error of the mean alone. Else by its ratio to both ends of the measurement.

        Not judged where what is measured lies below W2 anyhow: sliced distances, and starts from stored latents
        (``dpmot.theory.distances``).
        """
        told, found = self.told(method, error), self.number(method, error, self.distance, "sum")
        assert found is not None
        if told >= self.spread:
            return "void"
        if method in STORED or self.distance == "sliced":
            return "not judged"
        if told > TIGHT * math.sqrt(max(0.0, found.high)):
            return "loose"
        return "tight" if told <= TIGHT * math.sqrt(max(0.0, found.low)) else "not resolved"


def cases(rows: pd.DataFrame) -> list[Case]:
    """By dimension, the laws from one Gaussian to the ones far apart."""
    found = [Case(int(dim), law, some) for (dim, law), some in rows.groupby(["dim", "law"])]  # type: ignore[misc]
    return sorted(found, key=lambda case: (case.dim, list(LAWS).index(case.law)))


def differences(rows: pd.DataFrame) -> tuple[int, int]:
    """Of the intervals of total - sum in 2 and 8 dimensions: how many exclude 0, and how many there are."""
    own = rows[(rows["quantity"] == "total - sum") & rows["dim"].isin([2, 8])]
    return int(((own["low"] > 0) | (own["high"] < 0)).sum()), len(own)


def lines_of_terms(case: Case) -> Iterator[dict[str, str]]:
    """Rows of the table of terms."""
    for method, name in METHODS.items():
        for error in case.errors:
            which = (method, error, case.distance)
            parts = {term: case.cell(*which, term) for term in TERMS}
            ends = {name: case.cell(*which, name) for name in ("sum", "total", "total - sum")}
            yield {"method": name, "score error": error} | parts | ends


def lines_of_bound(case: Case) -> Iterator[dict[str, str]]:
    """Rows of the table of the bound."""
    for method, name in METHODS.items():
        for error in case.errors:
            told, found = case.told(method, error), case.measured(method, error)
            line = {"method": name, "score error": error}
            for part in ("discretisation", "score", "start", "growth"):
                one = case.number(method, error, "bound", part)
                line[part] = "–" if one is None else f"{one.value:.3g}"
            line |= {"bound": f"{told:.3g}", "W2 measured": f"{found:.3g}"}
            yield line | {"ratio": f"{told / found:.3g}" if found else "–", "verdict": case.verdict(method, error)}


def lines_of_kl(case: Case) -> Iterator[dict[str, str]]:
    """Rows of the table of KL."""
    for method in ("exact_start", "prior"):
        for error in case.errors:
            if case.number(method, error, "kl", "sum"):
                parts = {
                    term: case.cell(method, error, "kl", term) for term in ("discretisation", "score", "prior", "sum")
                }
                yield {"method": METHODS[method], "score error": error} | parts


def setting(rows: pd.DataFrame, name: str) -> str:
    """What the rows say of a setting, each value once; "not recorded" where they were written before it was."""
    found = rows[name] if name in rows else pd.Series([float("nan")])
    return " or ".join("not recorded" if pd.isna(value) else f"{value:g}" for value in found.unique())


def head(rows: pd.DataFrame) -> str:
    """What the tables show."""
    out, number = differences(rows)
    told = (
        f"Squared W2 (2 and 8 dimensions; beyond, sliced), debiased, n = {setting(rows, 'samples')}, "
        f"N = {setting(rows, 'atoms')} latents at sigma_M = {setting(rows, 'sigma_start')}, score errors of "
        f"{setting(rows, 'size')} of the posterior deviation. Number of directions of sliced distances: "
        f"{setting(rows, 'directions')}. "
        "A term is what switching it on adds, with common draws; 95 % intervals over "
        f"{setting(rows, 'repetitions')} repetitions. Total: measured on other repetitions, by the package's own "
        "sampling. "
        f"In 2 and 8 dimensions {out} of {number} intervals of total - sum exclude 0; about {number / 20:.0f} would if "
        "all differences were 0. Bound: `dpmot.theory.bound`, on W2 and not its square; void where it is no smaller "
        f"than W2 of the data and its mean alone, tight up to {TIGHT:g} times both ends of what was measured, "
        "loose above, not resolved between; not judged where the measurement lies below W2: sliced, or of stored "
        "latents. KL(samples || data) is infinite for DPM-OT and copy, whose samples are N points."
    )
    return textwrap.fill(told, 120)


def page(rows: pd.DataFrame) -> str:
    """The tables as Markdown."""
    parts = [
        "# Table 11. The error of DDIM on laws with a known score, term by term, and a bound on it",
        "",
        head(rows),
    ]
    for case in cases(rows):
        about, chi2 = case.rows.iloc[0], {}
        for method in ("dpm_ot", "zero_heights"):
            found = case.number(method, "none", "chi2", "chi2", 0)
            chi2[method] = "not measured" if found is None else found.text
        told = f"K = {about['components']}, R / s = {about['apart']:.3g}, W2 of its mean alone {case.spread:.3g}; "
        told += f"chi2 of DPM-OT {chi2['dpm_ot']}, of heights 0 {chi2['zero_heights']}."
        parts += ["", f"## {case.law}, d = {case.dim}, NFE {case.nfe}", "", told]
        for lines in (lines_of_terms, lines_of_bound, lines_of_kl):
            table = pd.DataFrame(list(lines(case)))
            if len(table):
                parts += ["", table.to_markdown(index=False, disable_numparse=True)]
    return "\n".join(parts) + "\n"


def draw_bounds(axes: Axes, found: list[Case]) -> None:
    """Bound (lines) and measurement (markers) over NFE, from an exact start with the exact score."""
    for case in found:
        colour, marker = LAWS[case.law]
        budgets = sorted({int(nfe) for nfe in case.rows["nfe"] if nfe})
        told = [case.told("exact_start", "none", nfe) / case.spread for nfe in budgets]
        seen = [case.measured("exact_start", "none", nfe, "sliced") / case.spread for nfe in budgets]
        axes.plot(
            budgets, told, color=colour, linewidth=1.0, label=f"{case.law}, R / s = {case.rows['apart'].iloc[0]:.2g}"
        )
        axes.plot(budgets, seen, marker, color=colour, markersize=3.5)
    axes.axhline(1, color=style.BLACK, linestyle=":", linewidth=0.9)
    axes.set(xscale="log", yscale="log", xlabel="NFE", ylabel="W2 / W2 of the mean alone")
    axes.set_xticks(budgets, [str(nfe) for nfe in budgets])
    axes.minorticks_off()
    axes.set_title(f"bound and measured, d = {found[0].dim}")


def draw_steps(axes: Axes, found: list[Case]) -> None:
    """The error of single steps by level."""
    for case in found:
        colour, marker = LAWS[case.law]
        rows = case.rows[(case.rows["distance"] == "step") & (case.rows["nfe"] == case.nfe)]
        for method, line in (("exact_start", "-"), ("prior", "--")):
            own = rows[rows["method"] == method].sort_values("sigma")
            axes.plot(
                own["sigma"], own["value"] / case.spread, marker + line, color=colour, markersize=3, linewidth=0.9
            )
    axes.set(xscale="log", yscale="log", xlabel="level $\\sigma$ before the step")
    axes.set_title("error of single steps, over the same")


def draw_terms(axes: Axes, found: list[Case]) -> None:
    """Terms of the squared distance, over that of the mean alone: above 0 to the right, below to the left."""
    names, place = [], 0
    for case in found:
        for method in ("prior", "zero_heights", "dpm_ot", "copy"):
            ends = {True: 0.0, False: 0.0}
            for term in TERMS:
                one = case.number(method, "wave", case.distance, term)
                if one is not None:
                    share, up = one.value / case.spread**2, one.value > 0
                    axes.barh(place, share, left=ends[up], color=COLOURS[term], height=0.7)
                    ends[up] += share
            names.append(f"{METHODS[method].removeprefix('DPM-OT, ')}, d = {case.dim}")
            place += 1
        place += 1
    places = [k + k // 4 for k in range(len(names))]
    axes.set_yticks(places, names, fontsize=style.SMALL)
    axes.invert_yaxis()
    axes.axvline(0, color=style.BLACK, linewidth=0.6)
    axes.set(xlabel="W2² / that of the mean alone")
    axes.set_title(f"terms, law {found[0].law}, wave")
    for term in TERMS:
        axes.barh(0, 0, color=COLOURS[term], label=term)


def figure(rows: pd.DataFrame) -> Figure:
    """Bound and measurement, single steps, terms."""
    canvas, grid = style.panels(1, 3, 3.2, left=0.075, right=0.985, top=0.93, bottom=0.3, wspace=0.3)
    found = cases(rows)
    middle = [case for case in found if case.dim == 8] or found
    draw_bounds(grid[0, 0], middle)
    draw_steps(grid[0, 1], middle)
    draw_terms(grid[0, 2], [case for case in found if case.law == "near"] or found[:1])
    place = grid[0, 2].get_position()
    grid[0, 2].set_position([place.x0 + 0.06, place.y0, place.width - 0.06, place.height])
    below = {"loc": "lower center", "frameon": False, "fontsize": 7}
    canvas.legend(*grid[0, 0].get_legend_handles_labels(), ncols=3, bbox_to_anchor=(0.3, 0.09), **below)
    canvas.legend(*grid[0, 2].get_legend_handles_labels(), ncols=3, bbox_to_anchor=(0.79, 0.07), **below)
    told = "Left: lines are the bound, markers sliced W2, from an exact start with the exact score; dotted: void above."
    style.note(canvas, f"{told} Middle: from sigma_M (full) and sigma_max (broken). Right: NFE {found[0].nfe}.")
    return canvas


if __name__ == "__main__":
    drawn.main(__doc__, "bound", "figure_14_bound", page=page, figure=figure)
