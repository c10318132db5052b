"""Every text of a figure with the box that matplotlib draws it in, and what a reader cannot read of it."""

from itertools import combinations, product

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from paper_figures import _looks, _style

TOUCH = 0.75  # pixels at 152.4 dpi, an eighth of a millimetre: boxes are rounded to pixels, and letters stop before


def drawn(figure):
    """(text, its box in pixels) of every text that is drawn."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    found = list(figure.texts)
    for axes in [one for top in figure.axes for one in (top, *top.child_axes)]:
        found += [*axes.texts, axes.title, axes._left_title, axes._right_title]
        if axes.axison:
            for axis in (axes.xaxis, axes.yaxis):
                found += [axis.label, *_ticks(axis), axis.offsetText]
    found += [text for legend in figure.legends for text in legend.get_texts()]
    shown = [text for text in found if text.get_visible() and text.get_text().strip()]
    return [(text, Text.get_window_extent(text, renderer)) for text in shown]


def _ticks(axis):
    """Texts of the ticks that lie on the axis: matplotlib holds others beyond its ends."""
    low, high = sorted(axis.get_view_interval())
    return [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high] + [
        tick.label2 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high and tick.label2.get_visible()
    ]


def faults(figure):
    """What is wrong with the texts of a figure, one line each: also where one lies over a picture."""
    texts = drawn(figure)
    whole = Bbox([[0, 0], figure.bbox.size])
    width = figure.get_figwidth() * 2.54
    told = [] if width in (17.5, 8.5) else [f"width {width} cm"]
    for text, box in texts:
        name = text.get_text()
        if text.get_fontsize() < 6:
            told.append(f"{text.get_fontsize()} points: {name}")
        if not text.get_text().startswith("NO RESULT") and _looks.contrast(to_hex(text.get_color())) < 4.5:
            told.append(f"contrast {_looks.contrast(to_hex(text.get_color())):.2f}: {name}")
        if min(box.x0, box.y0, whole.x1 - box.x1, whole.y1 - box.y1) < -TOUCH:
            told.append(f"out of the figure: {name}")
    for (one, first), (other, second) in combinations(texts, 2):
        both = Bbox.intersection(first, second)
        if both is not None and min(both.width, both.height) > TOUCH:
            told.append(f"overlap: {one.get_text()} | {other.get_text()}")
    pictures = [image.get_window_extent() for axes in figure.axes for image in axes.images]
    for (text, box), picture in product(texts, pictures):
        both = Bbox.intersection(box, picture)
        if both is not None and min(both.width, both.height) > TOUCH:
            told.append(f"over a picture: {text.get_text()}")
    return told


def crowded(figure, most=6):
    """Panels with more lines of methods than that; floors, thresholds and single marks are none."""
    counts = []
    for axes in figure.axes:
        looks = {
            (line.get_color(), line.get_linestyle())
            for line in axes.lines
            if line.get_linestyle() != "None" and len(line.get_xdata()) > 1 and line.get_color() != _style.GREY
        }
        counts.append(len(looks))
    return [count for count in counts if count > most]
