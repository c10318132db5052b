"""Figure 9: samples along the arc between two noises, cos(t) x + sin(t) x'', under each coupling.

An argmax map jumps from atom to atom; a smoothed one and the prior's ODE move; copy and fresh noise do not look at the
noise and draw another image for every frame. Points are drawn as paths in their first two coordinates.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figures import _samples as samples
from paper_figures import _style as style
from paper_figures._results import Results

READS = ("strips", "data", "coupling")
COLUMNS = 4
ARC = r"samples of the noises $\cos(t)x+\sin(t)x''$, t from 0 to $\pi/2$"
STRIPS = f"From left to right: {ARC}."
PATHS = (
    f"Dots: {ARC}, joined in their order; a colour is a pair of noises x and x'', the same in all panels. "
    "Grey: training points."
)
BLIND = ("copy", "fresh_noise")  # starts that do not look at the noise


def _draw_strips(axes: Axes, strips: dict[str, np.ndarray], results: Results) -> None:
    """One row of frames for each method: the first pair of noises."""
    samples.draw_rows(axes, [(style.symbols(results.title(method)), frames[0]) for method, frames in strips.items()])
    count, _, _, width = next(iter(strips.values()))[0].shape
    axes.set_xticks([0.5 * (width - 1), (width + 1) * (count - 0.5) - 1], ["x", "x''"])


def _draw_paths(figure: Figure, strips: dict[str, np.ndarray], results: Results) -> None:
    """A small panel for each method: the frames of every pair, joined."""
    train = samples.split(results, "A")
    panels = figure.subplots(-(-len(strips) // COLUMNS), COLUMNS, squeeze=False, sharex=True, sharey=True)
    for axes in panels.flat[len(strips) :]:
        axes.set_axis_off()
    for axes, (method, pairs) in zip(panels.flat, strips.items(), strict=False):
        samples.scatter(axes, train, "#BBBBBB", 1.5)
        for frames, colour in zip(pairs, (style.BLUE, style.VERMILLION), strict=False):
            axes.plot(frames[:, 0], frames[:, 1], "o-", color=colour, markersize=2.5, linewidth=0.8, zorder=2)
        axes.set_title(style.symbols(results.title(method)), fontsize=6.5)
        axes.set_aspect("equal", adjustable="box")
        axes.set_xticks([])
        axes.set_yticks([])


def make(results: Results) -> Figure:
    """The figure."""
    strips = samples.strips(results)
    if not strips:
        return style.not_run("the results hold no strips.safetensors")
    first = next(iter(strips.values()))
    points = samples.is_points(first[0])
    height = 1.75 * -(-len(strips) // COLUMNS) + 0.85 if points else 0.33 * len(strips) + 0.75
    figure = Figure(figsize=(style.WIDTH, height))
    if points:
        _draw_paths(figure, strips, results)
        figure.subplots_adjust(left=0.01, right=0.99, top=1 - 0.2 / height, bottom=0.62 / height, wspace=0.05)
    else:
        _draw_strips(figure.subplots(), strips, results)
        figure.subplots_adjust(left=0.32, right=0.99, top=0.99, bottom=0.7 / height)
    counted = sorted(set(results.coupling["nfe_counted"])) if results.coupling is not None else []
    blind = [style.symbols(results.title(m)) for m in strips if results.attribute(m, "start") in BLIND]
    told = PATHS if points else STRIPS
    told += f" {' and '.join(blind)}: another image for every frame, whatever the noise." if blind else ""
    told += f"\n{style.plain(results.source)}; {', '.join(counted) or 'unknown'} evaluations a sample"
    style.note(figure, told)
    return figure


PAGE = style.page(__file__, __doc__, make)

if __name__ == "__main__":
    raise SystemExit(PAGE.main())
