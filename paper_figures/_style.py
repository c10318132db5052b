"""How figures look: Okabe-Ito colours, one style per method in every figure, the same bytes on every run."""

import io
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from textwrap import fill, shorten
from typing import Any, NamedTuple, cast

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.scale import SymmetricalLogTransform
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from dpmot.results import FLOORS, REAL_TEST, REAL_TRAIN, printed_name
from paper_figures._page import Page
from paper_figures._results import Results, fingerprints

# Set once for the process: artists read these when they are made, long before a figure is saved.
matplotlib.rcParams.update(
    {
        "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "xtick.labelsize": 7, "ytick.labelsize": 7,
        "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.6, "axes.titlelocation": "left",
        "xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.minor.width": 0.4, "ytick.minor.width": 0.4,
        "lines.linewidth": 1.2, "lines.markersize": 4, "savefig.dpi": 150, "image.interpolation": "nearest",
        "axes.formatter.use_mathtext": True,
    }
)  # fmt: skip

WIDTH = 7.0  # inches, a text width of two columns
BLACK, ORANGE, SKY, GREEN, BLUE, VERMILLION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
GREY = "#777777"
PALETTES = {
    "rivals": ((BLUE, SKY, GREEN, PURPLE), "o^vp8"),
    "dpm_ot": ((VERMILLION, ORANGE), "sDsDsD"),
    "mixture": ((GREEN, PURPLE), "Ph*pdX"),
    "singular": ((GREEN, PURPLE, BLUE, SKY), "v<>^dhH"),
    "as_code": ((VERMILLION, ORANGE), "*P1+x"),
    "controls": ((BLACK, "#4D4D4D", "#737373", "#949494"), "X<>dhH"),
}
REAL = {REAL_TRAIN: "real A", REAL_TEST: "real C"}  # floors as figures name them
OTHER = ((PURPLE, GREY), "ph")
LINES = {
    "rivals": ("-",),
    "mixture": ("-", "--", "-."),
    "dpm_ot": ("-", "--", "-."),
    "as_code": (":",),
    "controls": ("--", ":"),
}


@dataclass(frozen=True)
class Style:
    """Colour, marker and line of one method."""

    colour: str
    marker: str
    line: str = "-"
    width: float = 1.0


def styles(results: Results) -> dict[str, Style]:
    """One style per method: the group gives palette and line, the place within (group, chain) the rest."""
    found: dict[str, Style] = {}
    seen = Counter[tuple[str, str]]()
    for method in results.methods:
        group = results.group(method)
        place = (group, results.chain(method))
        index, seen[place] = seen[place], seen[place] + 1
        (colours, markers), lines = PALETTES.get(group, OTHER), LINES.get(group, ("-.",))
        line, width = lines[index // len(colours) % len(lines)], 1.8 if group == "dpm_ot" else 1.0
        found[method] = Style(colours[index % len(colours)], markers[index % len(markers)], line, width)
    return found | {method: Style(GREY, "_") for method in FLOORS}


def plain(text: str) -> str:
    """Text that a figure draws as it stands: a dollar sign begins no mathematics."""
    return text.replace("$", r"\$")


def symbols(text: str, *, longest: int = 40) -> str:
    """A label of that many characters, with ``sigma_M*`` and ``sigma`` as symbols where it has none of mathematics."""
    text = text if len(text) <= longest else f"{text[: longest - 1]}…"
    if set(text) & set("$\\"):
        return plain(text)
    signs = {"sigma_M*": r"$\sigma_M^*$", "sigma_M": r"$\sigma_M$", "sigma ": r"$\sigma$ "}
    return re.sub(r"sigma_M\*|sigma_M|sigma ", lambda found: signs[found[0]], text)


def short(results: Results, method: str, **options: int) -> str:
    """The label without what its panel says already: the network, as in "DPM-OT (EDM, DDIM)"."""
    network = re.escape(results.attribute(method, "network"))
    return symbols(re.sub(rf"\({network}, ", "(", results.label(method), flags=re.IGNORECASE), **options)


def panels(rows: int, columns: int, height: float, **places: float) -> tuple[Figure, np.ndarray]:
    """A figure of this height in inches and its axes (rows, columns), at ``places`` of ``subplots_adjust``."""
    figure = Figure(figsize=(WIDTH, height))
    grid = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(**places)
    return figure, grid


def room(count: int, labels: Iterable[str]) -> dict[str, float]:
    """Places of ``count`` columns of panels so that the longest label at the ends of lines fits beside each."""
    left = min(0.55, 0.4 * WIDTH / count)  # inches, tick labels and axis label
    longest = max((len(re.sub(r"\\sigma|[$^_]", "", label)) for label in labels), default=0)
    # 0.051 inches: a mean letter of DejaVu Sans at 6.5 points; a panel keeps a fifth of its column
    right = min(0.2 + 0.051 * max(longest, 12), 0.8 * WIDTH / count - left)
    width = (WIDTH - count * (left + right)) / count
    return {"left": left / WIDTH, "right": 1 - right / WIDTH, "wspace": (left + right) / width}


def page(file: str, doc: str | None, make: Callable[[Results], Figure]) -> Page:
    """A figure as PNG and PDF, marked where it is no result; ``file`` and ``doc`` are its module's."""

    def contents(results: Results) -> Iterable[bytes]:
        figure = make(results)
        if results.warning:
            told: dict[str, Any] = {"color": VERMILLION, "ha": "center", "zorder": 9}
            figure.text(0.5, 0.5, "NO RESULT", fontsize=44, alpha=0.25, rotation=20, va="center", **told)
            figure.text(0.5, 1.0, plain(shorten(results.warning, 150)), fontsize=6, va="top", **told)
        return encode(figure)

    return Page(file, doc, "figures", (".png", ".pdf"), contents)


def not_run(text: str, *, height: float = 1.6) -> Figure:
    """A figure that says why there is none."""
    figure = Figure(figsize=(WIDTH, height))
    blank(figure.subplots(), f"not run: {text}")
    return figure


def encode(figure: Figure) -> tuple[bytes, bytes]:
    """PNG and PDF bytes without dates or versions that change between runs."""
    contents = []
    for kind, metadata in (("png", {"Software": None}), ("pdf", {"CreationDate": None, "ModDate": None})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, metadata=metadata)
        contents.append(buffer.getvalue())
    return contents[0], contents[1]


def note(figure: Figure, text: str, *, left: float = 0.01) -> None:
    """Small print at the bottom left: n, seeds, intervals, fingerprint; long lines are broken."""
    text = "\n".join(fill(line, 150) for line in text.splitlines())
    figure.text(left, 0.08 / figure.get_figheight(), text, fontsize=6, color="#444444", va="bottom", linespacing=1.35)


def measured_note(results: Results, rows: pd.DataFrame) -> str:
    """n, seeds, interval and fingerprint of the cells drawn, one line."""
    n = " or ".join(sorted(set(rows["num_samples"]) - {""}, key=int)) or "unknown"
    return (
        f"{plain(results.source)}; n = {n} a cell, {results.pooled_over}; bars and bands: 95 % "
        f"intervals; fingerprint {fingerprints(rows['fingerprint'], 2)}"
    )


def blank(axes: Axes, text: str) -> None:
    """An empty panel that says why it is empty."""
    axes.set_axis_off()
    axes.text(
        0.5, 0.5, plain(text), ha="center", va="center", transform=axes.transAxes, color=GREY, fontsize=8, wrap=True
    )


def errors(cells: pd.DataFrame) -> list[pd.Series]:
    """Lengths of the error bars below and above."""
    return [(cells["value"] - cells["low"]).clip(lower=0), (cells["high"] - cells["value"]).clip(lower=0)]


End = tuple[float, float, str, str]  # x and y of a line's last point in data units, its name and its colour


def draw_lines(axes: Axes, x: str, lines: Iterable[tuple[pd.DataFrame, Style, str]]) -> list[End]:
    """Lines (cells, style, name) over the column ``x`` with their intervals; markers are hollow where unranked."""
    ends = []
    for cells, look, name in lines:
        if cells.empty:
            continue
        axes.plot(cells[x], cells["value"], color=look.colour, linestyle=look.line, linewidth=look.width, zorder=3)
        axes.errorbar(
            cells[x], cells["value"], yerr=errors(cells), fmt="none", ecolor=look.colour, elinewidth=0.8, zorder=3
        )
        for part, face in ((cells[cells["ranked"]], look.colour), (cells[~cells["ranked"]], "white")):
            axes.plot(
                part[x], part["value"], look.marker, zorder=4, color=look.colour, markerfacecolor=face,
                markeredgewidth=0.9,
            )  # fmt: skip
        ends.append((cells[x].iloc[-1], cells["value"].iloc[-1], name, look.colour))
    return ends


def draw_methods(axes: Axes, results: Results, x: str, cells: pd.DataFrame) -> list[End]:
    """A line for each method."""
    looks = styles(results)
    return draw_lines(axes, x, ((cells[cells["method"] == m], looks[m], short(results, m)) for m in looks))


def distance_scale(axes: Axes, cells: pd.DataFrame) -> None:
    """Logarithmic where distances are certain, linear through 0 below: a debiased distance may be negative.

    The linear part ends at the decade of the smallest value whose interval excludes 0.
    """
    certain = cells.loc[cells["low"] > 0, "value"]
    start = 10.0 ** math.floor(math.log10(certain.min())) if len(certain) else 1.0
    axes.set_yscale("symlog", linthresh=start, linscale=0.4)


class Quantity(NamedTuple):
    """What a panel shows: a metric under one of its references, with the axis' label and the real images beside it."""

    metric: str
    references: tuple[str, ...]
    label: str
    floor: str = ""

    def of(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows of it."""
        return rows[(rows["metric"] == self.metric) & rows["reference"].isin(self.references)]


def distances(results: Results) -> list[Quantity]:
    """Frechet distance against either split."""
    metric = f"fd_{results.families[0]}"
    floors = {"test": REAL_TRAIN, "train": REAL_TEST}
    return [Quantity(metric, (ref,), f"{printed_name(metric)} against {ref}", real) for ref, real in floors.items()]


def begin(axes: Axes, quantity: Quantity, rows: pd.DataFrame, told: str = "") -> pd.DataFrame:
    """The rows of a quantity on an axis labelled and scaled for them; that there are none is ``told``."""
    cells = quantity.of(rows)
    axes.set_ylabel(quantity.label)
    if cells.empty:
        blank(axes, f"not run: metrics.csv holds no pooled\n{printed_name(quantity.metric)}{told}")
    elif quantity.metric.startswith("fd_"):
        distance_scale(axes, cells)
    return cells


def distance_ticks(axes: Axes) -> None:
    """Ticks at 0 and at 1, 2, 5 of each decade above the linear part, or at 1 where the labels grow."""
    low, high = axes.get_ylim()
    scale = axes.yaxis.get_transform()
    assert isinstance(scale, SymmetricalLogTransform), "distance_scale comes first"
    start = scale.linthresh
    ticks = [digit * 10.0**power for power in range(-9, 10) for digit in (1, 2, 5)]
    ticks = [tick for tick in ticks if max(low, start) <= tick * (1 + 1e-9) and tick <= high]
    if len(ticks) > 9:
        ticks = [tick for tick in ticks if f"{tick:e}".startswith("1.")]
    axes.yaxis.set_major_locator(FixedLocator([0.0, *ticks] if low <= 0 else ticks))
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
    axes.yaxis.set_minor_locator(NullLocator())


def level_axis(axes: Axes, limits: tuple[float, float], ticks: Sequence[float], form: str = "{x:g}") -> None:
    """A logarithmic x axis with these ticks alone, and the distances' ticks upwards where y is a distance."""
    axes.set_xscale("log")
    axes.set_xlim(*limits)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(StrMethodFormatter(form))
    axes.xaxis.set_minor_locator(NullLocator())
    if axes.get_yscale() == "symlog":
        distance_ticks(axes)


def floor(axes: Axes, rows: pd.DataFrame, quantity: Quantity) -> list[tuple[float, str]]:
    """Draw what real images measure, if anything, as a line with its interval as a band: (height, name) of the line."""
    rows = quantity.of(rows)
    rows = rows[(rows["method"] == quantity.floor) & rows["value"].notna()]
    if rows.empty:
        return []
    row = rows.iloc[0]
    axes.axhline(row["value"], color=GREY, linewidth=0.8, zorder=2)
    if pd.notna(row["low"]) and pd.notna(row["high"]):
        axes.axhspan(row["low"], row["high"], color="#DDDDDD", linewidth=0, zorder=1)
    return [(row["value"], REAL[quantity.floor])]


def label_ends(axes: Axes, ends: Iterable[End], floors: Iterable[tuple[float, str]] = (), *, size: float = 6.5) -> None:
    """Write each line's name at its right end, moved apart vertically where names would overlap.

    The axes have their final limits and position; ``floors`` reach from side to side; ``size`` is in points.
    """
    right = axes.get_xlim()[1]
    ends = [*ends, *((right, height, name, GREY) for height, name in floors)]
    low, high = axes.get_ylim()
    points = []
    for x, y, text, colour in ends:
        end = (x, min(max(y, low), high))
        points.append((axes.transAxes.inverted().transform(axes.transData.transform(end))[1], end, text, colour))
    points.sort(key=lambda point: point[0])
    inches = axes.get_position().height * cast(Figure, axes.figure).get_figheight()
    heights = _apart([point[0] for point in points], 1.25 * size / (72 * inches))
    leader = {"arrowstyle": "-", "linewidth": 0.4, "shrinkA": 0, "shrinkB": 2, "relpos": (0, 0.5)}
    for (_, end, text, colour), height in zip(points, heights, strict=True):
        axes.annotate(
            text, xy=end, xytext=(1.05, height), textcoords="axes fraction", color=colour, fontsize=size, va="center",
            arrowprops=leader | {"color": colour}, annotation_clip=False,
        )  # fmt: skip


def _apart(heights: list[float], gap: float) -> list[float]:
    """Ascending heights in [0, 1], moved to be ``gap`` apart: a block that touches is centred on its members."""
    blocks: list[list[float]] = []  # [sum of wanted first places, members]
    for height in heights:
        blocks.append([height, 1])
        while len(blocks) > 1:
            (low, count), (high, size) = blocks[-2], blocks[-1]
            if low / count + count * gap <= high / size:
                break
            blocks[-2:] = [[low + high - size * count * gap, count + size]]
    free = [total / count + index * gap for total, count in blocks for index in range(int(count))]
    last = len(free) - 1
    raised = [max(height, index * gap) for index, height in enumerate(free)]
    return [min(height, 1 - (last - index) * gap) for index, height in enumerate(raised)]
