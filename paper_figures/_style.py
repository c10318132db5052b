"""How figures look: 8.5 or 17.5 cm wide, text of at least 6 points, the same bytes on every run.

Colours and markers of methods are those of ``_looks``, names and ticks that do not collide those of ``_labels``.
"""

import io
import re
from collections.abc import Callable, Iterable
from textwrap import shorten
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from dpmot.results import COPIES, REAL_TEST, REAL_TRAIN, fact, printed_name
from paper_figures._labels import GAP, LABEL, SMALL, End, label_ends, label_free, needed, ticks, wrapped
from paper_figures._looks import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    Style,
    ink,
    styles,
)
from paper_figures._page import Page
from paper_figures._results import Results, fingerprints
from paper_figures._scales import decades, distance_scale, distance_ticks, level_axis

__all__ = [
    "BLACK", "BLUE", "GREEN", "GREY", "LABEL", "ORANGE", "PURPLE", "SKY", "SMALL", "VERMILLION", "End", "Style",
    "decades", "distance_scale", "distance_ticks", "ink", "label_ends", "label_free", "level_axis", "styles",
    "ticks", "wrapped",
]  # fmt: skip

# Set once for the process: artists read these when they are made, long before a figure is saved.
matplotlib.rcParams.update(
    {
        "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 7.5, "xtick.labelsize": 7, "ytick.labelsize": 7,
        "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.6, "axes.titlelocation": "left",
        "xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.minor.width": 0.4, "ytick.minor.width": 0.4,
        "lines.linewidth": 1.2, "lines.markersize": 4, "figure.dpi": 152.4, "image.interpolation": "nearest",
        "axes.formatter.use_mathtext": True, "savefig.dpi": "figure",
    }
)  # fmt: skip

WIDTH, NARROW = 17.5 / 2.54, 8.5 / 2.54  # inches: two columns of text, and one
LEVELS = ("#440154", "#3B528B", "#21918C", "#4FA83D", "#C89F00")  # ordered values, dark to light, after viridis
ARROWS = {"lower": " ↓", "higher": " ↑"}
REAL = {REAL_TRAIN: "real A", REAL_TEST: "real C"}  # floors as figures name them


def plain(text: str) -> str:
    """Text that a figure draws as it stands: a dollar sign begins no mathematics."""
    return text.replace("$", r"\$")


def symbols(text: str, *, longest: int = 60) -> str:
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


def panels(
    rows: int, columns: int, height: float, *, width: float = WIDTH, **places: float
) -> tuple[Figure, np.ndarray]:
    """A figure of this height in inches and its axes (rows, columns), at ``places`` of ``subplots_adjust``."""
    figure = Figure(figsize=(width, height))
    grid = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(**places)
    return figure, grid


def laid(
    rows: int, columns: int, names: Iterable[Iterable[str]], told: str, *, panel: float = 1.5, narrow: bool = False,
    top: float = 0.25, between: float = 0.6, left: float = 0.55,
) -> tuple[Figure, np.ndarray]:  # fmt: skip
    """A figure whose panels leave room for the names at the ends of their lines, with the small print below it.

    Args:
        rows: of panels.
        columns: of panels.
        names: those of each panel.
        told: the small print.
        panel: least height of a panel in inches, as are those below.
        narrow: 8.5 cm wide, else 17.5.
        top: above the panels.
        between: panels above each other.
        left: of each panel, for its ticks and label.
    """
    width = NARROW if narrow else WIDTH
    sizes = [needed(one) for one in names]
    right = (GAP + 3 + max((size[0] for size in sizes), default=0)) / 72
    panel = max(panel, max((size[1] for size in sizes), default=0) / 72)
    bottom = 0.42 + _height_of(told, width)
    height = top + rows * panel + (rows - 1) * between + bottom
    own = width / columns - left - right
    places = {"left": left / width, "right": 1 - right / width, "wspace": (left + right) / own}
    places |= {"top": 1 - top / height, "bottom": bottom / height, "hspace": between / panel}
    figure, grid = panels(rows, columns, height, width=width, **places)
    note(figure, told)
    return figure, grid


def room(count: int, labels: Iterable[str], width: float = WIDTH) -> dict[str, float]:
    """Places of ``count`` columns of panels so that the longest label at the ends of lines fits beside each."""
    left = min(0.55, 0.4 * width / count)  # inches, tick labels and axis label
    # a panel keeps a fifth of its column
    right = min((GAP + 3 + max(needed(labels)[0], 30)) / 72, 0.8 * width / count - left)
    own = (width - count * (left + right)) / count
    return {"left": left / width, "right": 1 - right / width, "wspace": (left + right) / own}


def page(file: str, doc: str | None, make: Callable[[Results], Figure]) -> Page:
    """A figure as PNG and PDF, marked where it is no result; ``file`` and ``doc`` are its module's."""

    def contents(results: Results) -> Iterable[bytes]:
        figure = make(results)
        if results.warning:
            told: dict[str, Any] = {"color": ink(VERMILLION), "ha": "center", "zorder": 9}
            figure.text(0.5, 0.5, "NO RESULT", fontsize=44, alpha=0.25, rotation=20, va="center", **told)
            figure.text(0.5, 1.0, plain(shorten(results.warning, 150)), fontsize=SMALL, va="top", **told)
        return encode(figure)

    return Page(file, doc, "figures", (".png", ".pdf"), contents)


def not_run(text: str, *, height: float = 1.6) -> Figure:
    """A figure that says why there is none."""
    figure = Figure(figsize=(WIDTH, height))
    blank(figure.subplots(), f"not run: {text}")
    return figure


def encode(figure: Figure) -> tuple[bytes, bytes]:
    """PNG and PDF bytes without dates or versions that change between runs; a drawing's PNG has 64 colours."""
    contents = []
    for kind, metadata in (("png", {"Software": None}), ("pdf", {"CreationDate": None, "ModDate": None})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, metadata=metadata)
        contents.append(buffer.getvalue())
    photographs = any(axes.images for axes in figure.axes)
    return contents[0] if photographs else _of_few_colours(contents[0]), contents[1]


def _of_few_colours(png: bytes) -> bytes:
    picture, buffer = Image.open(io.BytesIO(png)), io.BytesIO()
    picture.convert("RGB").quantize(255, kmeans=1).save(buffer, "png", optimize=True, dpi=picture.info["dpi"])
    return buffer.getvalue()


def note(figure: Figure, text: str, *, left: float = 0.01) -> None:
    """Small print at the bottom left: n, seeds, intervals, fingerprint; long lines are broken."""
    text = _small(text, figure.get_figwidth())
    place = 0.07 / figure.get_figheight()
    figure.text(left, place, text, fontsize=SMALL, color="#444444", va="bottom", linespacing=1.3)


def _small(text: str, width: float) -> str:
    return wrapped(text, 72 * width * 0.955, SMALL)


def _height_of(text: str, width: float) -> float:
    """Height of small print in inches, with the space around it."""
    return 0.12 + len(_small(text, width).splitlines()) * SMALL * 1.3 * 1.17 / 72


def measured_note(results: Results, rows: pd.DataFrame, intervals: str = "") -> str:
    """n, seeds, intervals and fingerprint of the cells drawn; ``intervals`` replaces the usual words on these."""
    n = " or ".join(sorted(set(rows["num_samples"]) - {""}, key=int)) or "unknown"
    told = f"{results.pooled_over}; bars and bands: 95 % intervals{results.over}"
    told = f"{results.pooled_over.partition(';')[0]}; {intervals}" if intervals else told
    return f"{source(results)}; n = {n} a cell, {told}; fingerprint {fingerprints(rows['fingerprint'], 2)}"


def source(results: Results) -> str:
    """The data set, and how many methods the configuration itself leaves out of the figure."""
    return plain(results.source) + results.fewer


def blank(axes: Axes, text: str) -> None:
    """An empty panel that says why it is empty."""
    axes.set_axis_off()
    axes.text(
        0.5, 0.5, plain(text), ha="center", va="center", transform=axes.transAxes, color=GREY, fontsize=8, wrap=True
    )


def errors(cells: pd.DataFrame) -> list[pd.Series]:
    """Lengths of the error bars below and above."""
    return [(cells["value"] - cells["low"]).clip(lower=0), (cells["high"] - cells["value"]).clip(lower=0)]


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


def spread(lines: Iterable[tuple[pd.DataFrame, Style, str]], x: str) -> list[tuple[pd.DataFrame, Style, str]]:
    """Lines over a logarithmic ``x`` a little beside each other, so that their intervals do not hide each other."""
    lines = [line for line in lines if len(line[0])]
    values = pd.concat([cells[x] for cells, _, _ in lines]) if lines else pd.Series([1.0])
    step = (values.max() / values.min()) ** 0.012
    middle = (len(lines) - 1) / 2
    return [
        (cells.assign(**{x: cells[x] * step ** (k - middle)}), look, name)
        for k, (cells, look, name) in enumerate(lines)
    ]


def draw_methods(axes: Axes, results: Results, x: str, cells: pd.DataFrame) -> list[End]:
    """A line for each method."""
    looks = styles(results)
    return draw_lines(axes, x, ((cells[cells["method"] == m], looks[m], short(results, m)) for m in looks))


class Quantity(NamedTuple):
    """What a panel shows: a metric under one of its references, with the axis' label and the real images beside it."""

    metric: str
    references: tuple[str, ...]
    label: str
    floor: str = ""

    @property
    def told(self) -> str:
        """The label with an arrow to where values are better."""
        return self.label + ARROWS.get(fact(self.metric).direction, "")

    def of(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows of it."""
        return rows[(rows["metric"] == self.metric) & rows["reference"].isin(self.references)]


def distances(results: Results) -> list[Quantity]:
    """Frechet distance against either split."""
    metric = f"fd_{results.families[0]}"
    floors = {"test": REAL_TRAIN, "train": REAL_TEST}
    return [Quantity(metric, (ref,), f"{printed_name(metric)} against {ref}", real) for ref, real in floors.items()]


COPIED = Quantity(COPIES, ("train",), f"share of copies of train{ARROWS['lower']}", REAL_TEST)


def begin(axes: Axes, quantity: Quantity, rows: pd.DataFrame, told: str = "") -> pd.DataFrame:
    """The rows of a quantity on an axis labelled and scaled for them; that there are none is ``told``."""
    cells = quantity.of(rows)
    axes.set_ylabel(quantity.told)
    if cells.empty:
        blank(axes, f"not run: metrics.csv holds no pooled\n{printed_name(quantity.metric)}{told}")
    elif quantity.metric.startswith("fd_"):
        distance_scale(axes, cells)
    return cells


def floor(axes: Axes, rows: pd.DataFrame, quantity: Quantity, colour: str = "#DDDDDD") -> list[tuple[float, str]]:
    """Draw what real images measure, if anything, as a line with its interval as a band: (height, name) of the line."""
    rows = quantity.of(rows)
    rows = rows[(rows["method"] == quantity.floor) & rows["value"].notna()]
    if rows.empty:
        return []
    row = rows.iloc[0]
    axes.axhline(row["value"], color=GREY, linewidth=0.8, zorder=2)
    if pd.notna(row["low"]) and pd.notna(row["high"]):
        axes.axhspan(row["low"], row["high"], color=colour, linewidth=0, zorder=1)
    return [(row["value"], REAL[quantity.floor])]
