"""Texts of figures that do not collide: measured before they are drawn, wrapped, moved apart, or left out.

Sizes are in points, 1/72 inch, of DejaVu Sans, which matplotlib brings along; so they are the same on every machine.
"""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.cbook import is_math_text
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator
from matplotlib.transforms import Bbox
from scipy.optimize import isotonic_regression

from paper_figures._looks import GREY, ink

SMALL, LABEL = 6.0, 6.5  # points: small print; names at the ends of lines
LINE = 1.2  # height of a line of text, in sizes
LONGEST = 78.0  # points, of a line of a name
GAP = 7.0  # points, from a panel to its names
BREAK = re.compile(r"(?<!\$) ")  # no line ends after a symbol, as in "sigma 3"

End = tuple[float, float, str, str]  # x and y of a line's last point in data units, its name and its colour


@cache
def width_of(text: str, size: float) -> float:
    """Width of one line of text."""
    plain, is_math = _math(text)
    return float(text_to_path.get_text_width_height_descent(plain, FontProperties(size=size), is_math)[0])


def _math(text: str) -> tuple[str, bool]:
    """The text as it is drawn, and whether it has mathematics."""
    math = bool(is_math_text(text))
    return (text if math else text.replace(r"\$", "$")), math


def wrapped(text: str, width: float, size: float) -> str:
    """The text in lines of at most that width, broken between words, and within a word that is wider."""
    lines: list[str] = []
    for given in text.splitlines():
        line = ""
        for word in (part for whole in BREAK.split(given) for part in _parts(whole, width, size)):
            longer = f"{line} {word}".strip()
            if line and width_of(longer, size) > width:
                lines.append(line)
                line = word
            else:
                line = longer
        lines.append(line)
    return "\n".join(lines)


def _parts(word: str, width: float, size: float) -> list[str]:
    """The word, or pieces of it where it has no mathematics and does not fit."""
    if _math(word)[1] or width_of(word, size) <= width:
        return [word]
    many = max(int(len(word) * width / width_of(word, size)), 1)
    return [word[k : k + many] for k in range(0, len(word), many)]


def name_of(text: str, size: float = LABEL) -> str:
    """A name at the end of a line, in lines."""
    return wrapped(text, LONGEST, size)


def needed(names: Iterable[str], size: float = LABEL) -> tuple[float, float]:
    """Width and height of names below each other."""
    lines = [line for name in names for line in name_of(name, size).splitlines()]
    return max((width_of(line, size) for line in lines), default=0.0), len(lines) * LINE * size


def apart(wanted: Sequence[float], sizes: Sequence[float], most: float = 1.0) -> list[float]:
    """Ascending centres, as near to the ``wanted`` ones in [0, most] as boxes of these sizes can be without overlap.

    The least squares under c_{i+1} - c_i >= (s_i + s_{i+1}) / 2: an isotonic regression. Boxes that are higher together
    than ``most`` stick out evenly.
    """
    if not len(wanted):
        return []
    steps = np.concatenate([[0.0], np.cumsum((np.array(sizes[:-1]) + np.array(sizes[1:])) / 2)])
    free = isotonic_regression(np.array(wanted, float) - steps).x
    low, high = 0.0, most - steps[-1]
    return list((np.clip(free, low, high) if high >= low else np.full(len(free), (low + high) / 2)) + steps)


def inches(axes: Axes) -> tuple[float, float]:
    """Width and height of a panel."""
    box, figure = axes.get_position(), cast(Figure, axes.figure)
    return box.width * figure.get_figwidth(), box.height * figure.get_figheight()


def label_ends(
    axes: Axes, ends: Iterable[End], floors: Iterable[tuple[float, str]] = (), *, size: float = LABEL
) -> None:
    """Write each line's name at its right end, moved apart vertically where names would overlap.

    The axes have their final limits and position; ``floors`` reach from side to side; ``size`` is in points.
    """
    right = axes.get_xlim()[1]
    ends = [*ends, *((right, height, name, GREY) for height, name in floors)]
    low, high = axes.get_ylim()
    width, height = inches(axes)
    points = []
    for x, y, text, colour in ends:
        end = (x, min(max(y, low), high))
        points.append(
            (axes.transAxes.inverted().transform(axes.transData.transform(end))[1], end, name_of(text, size), colour)
        )
    points.sort(key=lambda point: point[0])
    sizes = [len(text.splitlines()) * LINE * size / (72 * height) for _, _, text, _ in points]
    leader = {"arrowstyle": "-", "linewidth": 0.4, "shrinkA": 0, "shrinkB": 2, "relpos": (0, 0.5)}
    for (_, end, text, colour), place in zip(points, apart([point[0] for point in points], sizes), strict=True):
        axes.annotate(
            text, xy=end, xytext=(1 + GAP / (72 * width), place), textcoords="axes fraction", color=ink(colour),
            fontsize=size, va="center", arrowprops=leader | {"color": colour}, annotation_clip=False, linespacing=1.0,
        )  # fmt: skip


def label_free(axes: Axes, end: End, *, size: float = LABEL) -> None:
    """Write a name at the right of its point, at the height where it lies on nothing drawn that is nearest to it.

    The axes have their final limits and position, and everything else is drawn; ``size`` is in points.
    """
    x, y, text, colour = end
    scale = cast(Figure, axes.figure).dpi / 72
    frame, (left, middle) = axes.bbox, axes.transData.transform((x, y))
    width, height = width_of(text, size) * scale, LINE * size * scale
    paths = [line.get_transform().transform_path(line.get_path()) for line in axes.lines]
    paths += [band.get_transform().transform_path(band.get_path()) for band in axes.patches]
    for bars in (one for one in axes.collections if isinstance(one, LineCollection)):
        paths += [bars.get_transform().transform_path(path) for path in bars.get_paths()]

    def hidden(at: tuple[float, float]) -> int:
        box = Bbox.from_bounds(at[0], at[1] - height / 2, width, height)
        return sum(bool(path.intersects_bbox(box.padded(1.5 * scale), filled=False)) for path in paths)

    heights = np.arange(frame.y0 + height, frame.y1 - height / 2, height / 2)
    places = [(left + step * size * scale, float(place)) for place in heights for step in (1.5, 4, 8, 16)]
    places.sort(key=lambda at: (at[0] - left) / 3 + abs(at[1] - middle))
    best = min(places, key=hidden)
    leader = {"arrowstyle": "-", "linewidth": 0.4, "shrinkA": 0, "shrinkB": 2, "relpos": (0, 0.5), "color": colour}
    axes.annotate(
        text, (x, y), tuple(axes.transAxes.inverted().transform(best)), textcoords="axes fraction", color=ink(colour),
        fontsize=size, va="center", arrowprops=leader, zorder=6,
    )  # fmt: skip


def ticks(
    axis: Axis, places: Sequence[float], texts: Sequence[str], *, size: float = 7.0, of: Axes | None = None
) -> None:
    """Ticks at these places alone; a text that would touch the one before it, or the last one, is left out.

    The axes, or those that a secondary axis is ``of``, have their final limits, scale and position.
    """
    axes, across = of or axis.axes, isinstance(axis, XAxis)
    length = inches(axes)[0 if across else 1] * 72
    shown = sorted(zip(places, texts, strict=True))
    at = np.array([(x, x) for x, _ in shown]).reshape(-1, 2)
    where = axes.transAxes.inverted().transform(axes.transData.transform(at))[:, 0 if across else 1]
    half = [(width_of(text, size) / 2 + 1 if across else 0.55 * size) for _, text in shown]
    kept: list[int] = []

    def touches(k: int, other: int) -> bool:
        return abs(where[k] - where[other]) * length < half[k] + half[other]

    last = next((k for k in range(len(shown) - 1, -1, -1) if shown[k][1]), -1)
    for k, (_, text) in enumerate(shown):
        if text and not (kept and touches(k, kept[-1])) and (k == last or not touches(k, last)):
            kept.append(k)
    if last >= 0 and last not in kept:
        kept.append(last)
    axis.set_major_locator(FixedLocator([place for place, _ in shown]))
    axis.set_major_formatter(FixedFormatter([text if k in kept else "" for k, (_, text) in enumerate(shown)]))
    axis.set_minor_locator(NullLocator())
