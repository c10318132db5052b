"""The class-balanced prior: samples of a network without classes, kept by the classifier's label in the data's shares.

A control: how much of what a start gains is the balance of classes? Slot k of n wants the class that a network with
labels would be told for sample k. Draws come in the order of the seeds, then of their redraws; each takes the first
empty slot of the class that the classifier of split B gives it, or is thrown away. So a sample given its class has the
network's own law, classes have the data's shares, and what was thrown away is paid for: the cost of a sample is that of
all draws over those that were kept.
"""

import math
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dpmot import plugins
from dpmot.experiment.cells import Cell
from dpmot.experiment.stages._ends import MOVED, Ends
from dpmot.experiment.stages._prepared import encode
from dpmot.starts import classes, prior_noise

if TYPE_CHECKING:
    from dpmot.experiment.stages.sample import LoadedMethod

MOST = 100  # draws a kept sample: a class of a tenth that the network draws ten times too seldom is still filled


def drawn(method: "LoadedMethod", cell: Cell, rows: Sequence[int], *, shown: int) -> tuple[dict[str, Tensor], int]:
    """Samples of these seeds as a stage keeps them, and the evaluations that one has cost, those thrown away included.

    Raises:
        ValueError: the sampler draws noise, which would be the same again; or a class cannot be filled.
    """
    if method.draws_noise(cell):
        told = f"sampler {method.task.method.sampler} draws noise on the way, which no redraw changes"
        raise ValueError(f"balanced: {told}; take one that draws none")
    start: Any = method.start(cell.sigma_atoms)
    raw, wanted = method.part.raw, classes(rows, method.part.labels)
    assert wanted is not None

    def draw(number: int, r: int) -> Ends:
        some = rows[:number]
        ends = method.finish(start(some, redraws=torch.full((number,), r)), cell, some)
        method.check_spent(ends.nfe, cell)
        return ends

    def classify(x: Tensor) -> Tensor:
        seen = plugins.find("features", "classifier").extract(encode(x, raw), weights=method.classifier)
        return torch.from_numpy(seen.probabilities.argmax(1))

    found = kept(draw, classify, wanted)
    first, redraws = [rows[k] for k in found.row[:shown].tolist()], found.redraws[:shown]
    prior = prior_noise(first, raw.shape[1:], source_measure=start.law, redraws=redraws)
    seen = {"start": start(first, redraws=redraws).x.float(), "prior": prior}
    return {"images": encode(found.ends.x, raw), **seen, "labels": wanted, MOVED: found.ends.variance}, found.cost


def one_cost(cells: Sequence[Cell]) -> list[Cell]:
    """Cells that differ in nothing but the seed have one cost: the mean of theirs, rounded up."""
    spent: dict[tuple, list[int]] = {}
    for cell in cells:
        spent.setdefault((cell.nfe_budget, cell.sigma_start), []).append(cell.nfe_counted or 0)
    mean = {key: math.ceil(sum(each) / len(each)) for key, each in spent.items()}
    return [
        cell if cell.reason else replace(cell, nfe_counted=mean[cell.nfe_budget, cell.sigma_start]) for cell in cells
    ]


@dataclass(frozen=True, eq=False)
class Kept:
    """Samples in their slots.

    Attributes:
        ends: the samples.
        row, redraws: the draw that each is: the number of its seed, and how often that was drawn anew, int64 (n,).
        draws: how many there were in all.
    """

    ends: Ends
    row: Tensor
    redraws: Tensor
    draws: int

    @property
    def cost(self) -> int:
        """Evaluations of a kept sample, rounded up."""
        return math.ceil(self.draws * self.ends.nfe / len(self.row))


def kept(draw: Callable[[int, int], Ends], classify: Callable[[Tensor], Tensor], wanted: Tensor) -> Kept:
    """Fill every slot.

    Args:
        draw: (number, r) -> finished samples of the r-th redraw of the first ``number`` seeds.
        classify: samples -> their classes, (B,).
        wanted: class of each slot, (n,).

    Raises:
        ValueError: MOST draws a slot left one empty.
    """
    number, classes = len(wanted), len(wanted.unique())
    empty = {c: deque(wanted.eq(c).nonzero()[:, 0].tolist()) for c in wanted.unique().tolist()}
    found: dict[int, tuple[Ends, int, int]] = {}
    seen: Counter[int] = Counter()
    size, draws, r = number, 0, 0
    while size:
        ends = draw(size, r)
        for j, c in enumerate(classify(ends.x).tolist()):
            seen[c] += 1
            if empty.get(c):
                found[empty[c].popleft()] = ends.one(j), j, r
        draws, r = draws + size, r + 1
        short = {c: len(slots) for c, slots in empty.items() if slots}
        if short and draws >= MOST * number:
            c = max(short, key=lambda c: short[c])
            told = f"{seen[c]} of {draws} draws are of class {c} to the classifier, and {short[c]} more are wanted"
            raise ValueError(f"balanced: {told}: the network hardly draws it; take more steps, or another network")
        size = min(number, max((_needed(short[c], seen[c], draws, classes) for c in short), default=0))
    each, row, redraws = zip(*(found[k] for k in range(number)), strict=True)
    return Kept(Ends.joined(each), torch.tensor(row), torch.tensor(redraws), draws)


def _needed(slots: int, seen: int, draws: int, classes: int) -> int:
    """Draws that are likely to hold so many of a class, by its share so far (Laplace's rule)."""
    return math.ceil(slots * (draws + classes) / (seen + 1))
