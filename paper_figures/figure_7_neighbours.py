"""Figure 7: samples beside their nearest real images.

For DPM-OT (as in the paper, where the experiment has it so), DPM-OT at sigma_M*, the copy control and the prior start,
as far as the experiment has them, at one NFE budget. Where the audit
flagged samples (copies.csv), these are shown, the rarest first and one an image: beside the image that is nearest after
registration, with the ratio of the distance to that to the second nearest, and what was done to the sample. Elsewhere
the first samples beside the nearest training image in L2 over pixels in [-1, 1]. A framed neighbour is the sample's own
source: the start's image came back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dpmot.results import records
from paper_figures import _samples as samples
from paper_figures import _style as style
from paper_figures._results import Results, Row
from paper_figures._samples import SampleCell

READS = ("samples", "data", "star", "copies")
COLUMNS = 12
LEFT, RIGHT = 0.08, 0.99  # of the page
BOLD = 1.15  # widths of bold letters over those of others


@dataclass(frozen=True)
class Block:
    """One method's samples, or the reason why there are none."""

    title: str
    cell: SampleCell | None
    reason: str = ""


def _block(results: Results, kind: str, method: str, nfe: str, *, sigma: float | None = None) -> Block:
    cell = samples.first(samples.cells(results, method), nfe, sigma=sigma)
    if cell is None:
        reason = results.skipped().get((method, nfe))
        return Block(
            kind,
            None,
            f"skipped: {reason}" if reason else f"not run: no samples of {results.title(method)} at NFE {nfe}",
        )
    has_level = cell.sigma_start is not None and results.attribute(method, "start") != "prior"
    level = f", $\\sigma_M$ = {cell.sigma_start:.3g}" if has_level else ""
    title = results.title(method)
    kind = "" if title.startswith(f"{kind} ") else f"{kind}: "
    return Block(f"{kind}{style.symbols(title, longest=60)}, NFE {nfe}{level}", cell)


def _star(results: Results, nfe: str) -> Block:
    """The cell at the sigma_M that star.json selected: of the method that uses it, or of the sweep."""
    kind, star = "DPM-OT at $\\sigma_M^*$", results.star
    if star is None:
        return Block(kind, None, "not run: the results hold no star.json")
    if star.sigma is None:
        return Block(kind, None, f"none found: {star.reason or 'no reason given'}")
    sigma = star.sigma
    tried = [*_at_star(results), *(name for name in results.methods if results.group(name) == "sweep")]
    blocks = (_block(results, kind, method, nfe, sigma=sigma) for method in tried)
    none = Block(kind, None, f"not run: no samples at sigma_M* = {sigma:g}, NFE {nfe}")
    return next((block for block in blocks if block.cell), none)


def _at_star(results: Results) -> list[str]:
    """DPM-OT methods configured to start at sigma_M*."""
    drawn = results.experiment.drawn.items()
    return [name for name, method in drawn if method.group == "dpm_ot" and method.level == "star"]


def _blocks(results: Results) -> list[Block]:
    """What is planned of DPM-OT, DPM-OT at sigma_M*, copy, prior, and samples from elsewhere.

    Controls are on the network and sampler of DPM-OT if possible.
    """
    nfe, at_star, drawn = results.budgets[0], _at_star(results), results.experiment.drawn
    elsewhere = results.experiment.elsewhere.items()
    given = [_block(results, "from elsewhere", name, str(method.nfe)) for name, method in elsewhere]
    if not drawn:
        return given
    usual = [name for name in drawn if name not in at_star]

    def place(method: str) -> tuple[str, str]:
        return results.attribute(method, "network"), results.attribute(method, "sampler")

    def like(model: str | None, group: str, start: str | None = None) -> str | None:
        """The first method of a group, and of a start, on the model's network and sampler, else the first."""
        found = [name for name in usual if results.group(name) == group]
        if start:
            found = [name for name in found if results.attribute(name, "start") == start]
            found = [name for name in found if drawn[name].level != "star"]
        return next((name for name in found if model and place(name) == place(model)), next(iter(found), None))

    ours = like(next(iter(at_star), None), "dpm_ot")
    kind = "as in the paper" if ours and drawn[ours].level == "as_paper" else "DPM-OT"
    controls = {"copy control": like(ours, "controls", "copy"), "prior start": like(ours, "rivals")}
    return [
        *([_block(results, kind, ours, nfe)] if ours else []),
        *([_star(results, nfe)] if at_star or results.experiment.selection or results.star else []),
        *(_block(results, kind, method, nfe) for kind, method in controls.items() if method),
        *given,
    ]


@dataclass(frozen=True)
class Pairs:
    """Samples and the real images beside them, (n, C, H, W) each, with a text below and whether it is their source."""

    samples: np.ndarray
    nearest: np.ndarray
    texts: Sequence[str]
    own: Sequence[bool]


def _sources(results: Results, cell: SampleCell) -> list[tuple[str, int]]:
    """The split and row of the image that each sample was made from; empty where the start has none."""
    source, split = cell.get("source"), results.experiment.methods[cell.method].split
    return [] if source is None else [(split, int(row)) for row in source]


def _train(cell: SampleCell, train: np.ndarray) -> np.ndarray:
    """The training images of a cell: split A, or those that were handed over with its samples."""
    own = samples.own_train(cell)
    return train if own is None else own


def _first(results: Results, cell: SampleCell, train: np.ndarray) -> Pairs:
    """The first samples and their nearest training images."""
    drawn = cell["images"][:COLUMNS]
    index, distance = samples.nearest(drawn, train)
    sources = _sources(results, cell) or [("", -1)] * len(drawn)
    own = [source == ("A", row) for source, row in zip(sources, index, strict=False)]
    return Pairs(drawn, train[index], [f"{gap:.2f}" for gap in distance], own)


def _flagged(results: Results, cell: SampleCell) -> Pairs | None:
    """The samples of a cell that copies.csv flags, the rarest first, and the images that they lie near; None: none."""
    rows = results.flags_of(cell.method, cell.nfe_budget, cell.sigma_start, cell.sample_seed)
    rows = rows.sort_values(["chance", "distance"], kind="stable").drop_duplicates(["split", "nearest"])
    shown = records(rows[:COLUMNS])
    images, sources = cell["images"], _sources(results, cell)
    parts = {name: samples.split(results, name) for name in {row["split"] for row in shown}}
    brought = samples.own_train(cell)
    parts |= {} if brought is None else {"A": brought}
    pairs = []
    for row in shown:
        sample, nearest, part = int(row["sample"]), int(row["nearest"]), parts[row["split"]]
        if part is None or sample >= len(images) or nearest >= len(part):
            told = f"sample {sample} or image {nearest} of split {row['split']}"
            raise ValueError(f"{results.folder / 'copies.csv'} is of another run: {cell.file} has no {told}")
        own = bool(sources) and sources[sample] == (row["split"], nearest)
        pairs.append((images[sample], part[nearest], f"{row['ratio']:.2f}{_undone(row)}", own))
    if not pairs:
        return None
    drawn, beside, texts, framed = zip(*pairs, strict=True)
    return Pairs(np.stack(drawn), np.stack(beside), texts, framed)


def _undone(row: Row) -> str:
    """What a sample has to undergo to fit its image, as signs."""
    moved = [(row["down"], "↓", "↑"), (row["right"], "→", "←")]
    signs = [f"{forth if int(by) > 0 else back}{abs(int(by))}" for by, forth, back in moved if int(by)]
    done = "".join([*signs, *(["m"] if row["mirrored"] else []), *(["i"] if row["inverted"] else [])])
    return f"\n{done}" if done else ""


def _draw_images(axes: Axes, results: Results, cell: SampleCell, train: np.ndarray) -> None:
    pairs = _flagged(results, cell) or _first(results, cell, train)
    samples.draw_rows(axes, [("sample", pairs.samples), ("nearest", pairs.nearest)])
    height, width = pairs.samples.shape[2] + 1, pairs.samples.shape[3] + 1
    axes.set_xlim(right=COLUMNS * width - 1.5)  # fewer pairs stand at the left, in the size of many
    for column, (text, own) in enumerate(zip(pairs.texts, pairs.own, strict=True)):
        colour = style.VERMILLION if own else "#444444"
        middle, below = column * width + (width - 2) / 2, 2 * height - 1 + 0.04 * height
        axes.text(middle, below, text, ha="center", va="top", fontsize=6.5, color=style.ink(colour), linespacing=0.95)
        if own:
            corner = (column * width - 0.5, height - 0.5)
            axes.add_patch(Rectangle(corner, width - 1, height - 1, fill=False, edgecolor=colour, linewidth=1.6))


def _draw_points(axes: Axes, cell: SampleCell, train: np.ndarray) -> None:
    drawn = cell["images"][:200]
    index, distance = samples.nearest(drawn, train)
    samples.scatter(axes, train)
    for point, neighbour in zip(drawn, train[index], strict=True):
        axes.plot(*np.stack([point[:2], neighbour[:2]]).T, color=style.VERMILLION, linewidth=0.7, zorder=2)
    samples.scatter(axes, drawn, style.BLUE, order=3)
    axes.set_xlabel(f"mean distance to the nearest {distance.mean():.3g}", fontsize=7)
    axes.set_aspect("equal", adjustable="datalim")


def _title(results: Results, block: Block, *, points: bool) -> str:
    if points:
        return block.title.replace(": ", ":\n", 1)
    title = f"{block.title}, flagged" if block.cell and _flagged(results, block.cell) else block.title
    return style.wrapped(title, 72 * style.WIDTH * (RIGHT - LEFT) / BOLD, 8)


def make(results: Results) -> Figure:
    """The figure."""
    blocks, train = _blocks(results), samples.split(results, "A")
    if not blocks:
        return style.not_run("the experiment has none of the methods that this figure shows")
    if train is None:
        blocks = [Block(block.title, None, "not run: the results hold no data.safetensors") for block in blocks]
    points = train is not None and samples.is_points(train)
    columns = 2 if points else 1
    rows = -(-len(blocks) // columns)
    height = (6.6 / 2 if points else 7.2 / 4) * rows
    top, bottom, apart = (0.4, 0.7, 0.35) if points else (0.25, 0.8, 0.3)  # inches, inches, share of a panel
    places = {"left": LEFT, "right": RIGHT, "top": 1 - top / height, "bottom": bottom / height}
    figure, grid = style.panels(rows, columns, height, wspace=0.15, hspace=apart, **places)
    for axes in grid.flat[len(blocks) :]:
        axes.set_axis_off()
    for axes, block in zip(grid.flat, blocks, strict=False):
        axes.set_title(_title(results, block, points=points), fontweight="bold")
        if block.cell is None or train is None:
            style.blank(axes, fill(block.reason, 50 if points else 110))
        else:
            if points:
                _draw_points(axes, block.cell, _train(block.cell, train))
            else:
                _draw_images(axes, results, block.cell, _train(block.cell, train))
    style.note(figure, _note(results, blocks, points=points))
    return figure


def _note(results: Results, blocks: Sequence[Block], *, points: bool) -> str:
    seed = next((block.cell.sample_seed for block in blocks if block.cell), "none")
    if points:
        shown, flagged = "Blue: samples; grey: training points; lines join each sample to its nearest", False
    else:
        flagged = any(block.cell and _flagged(results, block.cell) for block in blocks)
        shown = "The first samples; numbers: L2 distance, pixels in [-1, 1]; framed: the sample's own source came back"
    if flagged:
        shown += (
            ".\n“Flagged”: samples that the audit flagged, the rarest first, one an image. It flags 2 of 1,000 real "
            "images too, so a few prove nothing. Numbers there: distance to the nearest image after registration over "
            "that to the second nearest (0: a copy; 1: new); arrows: pixels the sample is moved by; m: mirrored; "
            "i: inverted"
        )
    return f"{shown}.\n{style.source(results)}; samples of {results.at_first}sample seed {seed}"


PAGE = style.page(__file__, __doc__, make)

if __name__ == "__main__":
    raise SystemExit(PAGE.main())
