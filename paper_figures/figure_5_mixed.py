"""Figure 5: the most mode-mixed samples, with their two classes and probabilities.

For at most three methods, chosen as those of a headline (:mod:`paper_figures._headline`) by MMR at t = 0.1, at the
smallest NFE budget each was drawn at: the samples of the first seed whose second largest class probability is largest
(mixed.csv), beside the nearest training image in L2 over pixels in [-1, 1]. The classifier's first class stands above
its second. Points are refused: no classifier looks at them, and they have no picture.
"""

from dataclasses import dataclass
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dpmot.results import POOLED, records
from paper_figures import _samples as samples
from paper_figures import _style as style
from paper_figures._comparison import Comparison
from paper_figures._headline import chosen, competing
from paper_figures._long_form import long_form
from paper_figures._numbers import quantity
from paper_figures._results import Results

READS = ("samples", "data", "mixed")
METRIC = "mmr_0.1"
METHODS, COLUMNS = 3, 12


@dataclass(frozen=True)
class Gallery:
    """One method's most mixed samples, or the reason why there are none.

    Attributes:
        title: its label, NFE and MMR.
        drawn: samples (n, C, H, W).
        nearest: the training image nearest to each.
        texts: the two classes of each, with probabilities.
        reason: why there are no samples.
    """

    title: str
    drawn: np.ndarray | None = None
    nearest: np.ndarray | None = None
    texts: tuple[str, ...] = ()
    reason: str = ""


def galleries(results: Results) -> list[Gallery]:
    """A gallery for each method.

    Raises:
        ValueError: the experiment has points, or mixed.csv is of another run.
    """
    comparison = Comparison(long_form(results, [(METRIC, "none")]), results)
    methods = chosen(results, competing(comparison, METRIC, "none"), most=METHODS)
    train = samples.split(results, "A")
    if train is not None and samples.is_points(train):
        told = f"data set {results.experiment.dataset} has points: take figure_5_mixed out of figures: in the config"
        raise ValueError(f"Figure 5 shows images; {told}")
    return [_gallery(results, comparison, method, train) for method in methods]


def _gallery(results: Results, comparison: Comparison, method: str, train: np.ndarray | None) -> Gallery:
    found = samples.cells(results, method)
    cell = next((one for nfe in results.budgets if (one := samples.first(found, nfe))), None)
    if cell is None or train is None:
        missing = f"samples of {results.title(method)}" if cell is None else "data.safetensors"
        return Gallery(results.title(method), reason=f"not run: the results hold no {missing}")
    row = comparison.rows.get((method, cell.nfe_budget, METRIC, "none"))
    mmr = "" if row is None or row["status"] != "measured" else f", MMR {quantity(row).short}"
    title = f"{style.symbols(results.title(method), longest=60)}, NFE {cell.nfe_budget}{mmr}"
    rows = records(results.mixed_of(method, cell.nfe_budget, cell.sigma_start, cell.sample_seed)[:COLUMNS])
    if results.mixed is None:
        return Gallery(title, reason="not run: the results hold no mixed.csv; measure again")
    if not rows:
        return Gallery(title, reason="no sample of the first seed has two classes of probability 0.1 or more")
    images, places = cell["images"], [int(one["sample"]) for one in rows]
    if max(places) >= len(images):
        raise ValueError(f"{results.folder / 'mixed.csv'} is of another run: {cell.file} has no sample {max(places)}")
    own = samples.own_train(cell)
    known, drawn = train if own is None else own, images[places]
    texts = tuple((one["first"], one["first_probability"], one["second"], one["second_probability"]) for one in rows)
    told = tuple(f"{a}: {p:.2f}\n{b}: {q:.2f}" for a, p, b, q in texts)
    return Gallery(title, drawn, known[samples.nearest(drawn, known)[0]], told)


def _draw(axes: Axes, gallery: Gallery) -> None:
    if gallery.drawn is None or gallery.nearest is None:
        style.blank(axes, fill(gallery.reason, 110))
        return
    blank = np.full((COLUMNS - len(gallery.drawn), *gallery.drawn.shape[1:]), 255, np.uint8)
    lines = (("sample", gallery.drawn), ("nearest", gallery.nearest))
    samples.draw_rows(axes, [(name, np.concatenate([images, blank])) for name, images in lines])
    height, width = (side + 1 for side in gallery.drawn.shape[2:])
    for column, text in enumerate(gallery.texts):
        middle, below = column * width + (width - 2) / 2, 2 * height - 1 + 0.04 * height
        axes.text(middle, below, text, ha="center", va="top", fontsize=6.5, color="#444444", linespacing=0.95)


def make(results: Results) -> Figure:
    """The figure."""
    shown = galleries(results)
    if not shown:
        return style.not_run(f"metrics.csv holds no pooled {METRIC} of a method at an NFE budget")
    height = 1.7 * len(shown) + 0.7
    places = {"left": 0.08, "right": 0.99, "top": 1 - 0.25 / height, "bottom": 0.9 / height, "hspace": 0.45}
    figure, grid = style.panels(len(shown), 1, height, **places)
    for axes, gallery in zip(grid.flat, shown, strict=True):
        axes.set_title(gallery.title, fontweight="bold")
        _draw(axes, gallery)
    style.note(figure, _note(results))
    return figure


def _note(results: Results) -> str:
    seeds = results.experiment.sample_seeds
    return (
        "The most mixed samples of each method, most mixed first: class and probability of the first, below of the "
        "second. Real images mix too (Table 2). Nearest: training image, L2 over pixels.\n"
        f"{style.source(results)}; samples of {results.at_first}sample seed {seeds[0]}; MMR at t = 0.1, {POOLED}"
    )


PAGE = style.page(__file__, __doc__, make)

if __name__ == "__main__":
    raise SystemExit(PAGE.main())
