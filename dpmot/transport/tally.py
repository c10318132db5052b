"""Which cell does a draw fall into? Blocked product, argmax, bincount.

The N x B matrix of scores <z, y_i> + h_i never exists: a few rows of noise meet one block of atoms at a time, in
cache, and keep only the best score so far. Atoms that are not held in memory are computed once for many rows of noise.
All draws here are centred (z) and so are the atoms.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from itertools import chain, starmap

import numpy as np
import torch
from torch import Tensor

from dpmot.transport.atoms import Atoms, Held, blocks
from dpmot.transport.noise import MOST, Rows, draw, group_size
from dpmot.transport.problem import COLUMNS, SemiDiscreteProblem
from dpmot.transport.workers import Map, Scratch, side_by_side

SHAPES = (1024, 2048), (8192, 16_384)  # rows and atoms per product, without and with a GPU: on a processor the scores
# stay in the last cache (measured on two cores); on a GPU a product fills it (not measured: benchmarks.transport_cuda)
NOISE = 2**28  # bytes of noise that meet atoms which are not held, at once


def row_argmax(scores: Tensor) -> Tensor:
    """Index of the largest entry of each row, the first one on ties: (B, n) -> int64 (B,)."""
    if scores.device.type == "cpu":
        # numpy's argmax is vectorised: ten times faster than torch's on this shape; both promise the first index
        return torch.from_numpy(scores.numpy().argmax(1))
    return scores.argmax(1)


class Race:
    """Which atom has the best score, and which comes second? Blocks of atoms come one by one, the first of all first.

    Attributes:
        cell: index of the best score so far, the lowest on ties, int64 (R,).
        second: index of the second best, int64 (R,), if runners-up are kept.
        lead: best minus second-best score, float32 (R,), if runners-up are kept.
    """

    def __init__(self, rows: int, device: torch.device, *, runners_up: bool = False) -> None:
        def blank() -> tuple[Tensor, Tensor]:
            return torch.empty(rows, device=device), torch.empty(rows, dtype=torch.int64, device=device)

        self._best, self.cell = blank()
        self._next, self.second = blank() if runners_up else (None, None)

    @property
    def lead(self) -> Tensor:
        return self._best - self._next

    def meet(self, scores: Tensor, offset: int, first: int = 0) -> None:
        """Scores (B, n) of rows first, ... for the atoms offset, ..., offset + n - 1."""
        rows = slice(first, first + len(scores))
        index, value = _largest(scores)
        if self.second is not None:
            scores.scatter_(1, index[:, None], -torch.inf)
            second, runner = _largest(scores)
            scores.scatter_(1, index[:, None], value[:, None])
            self._rank_second(rows, value, index + offset, runner, second + offset, offset)
        self.enter(value, index, offset, rows)

    def enter(self, value: Tensor, index: Tensor, offset: int, rows: slice = slice(None)) -> None:
        """The best scores of the atoms offset, ... for some rows, and which of them have it; without runners-up."""
        if not offset:
            self._best[rows], self.cell[rows] = value, index
            return
        self.cell[rows] = torch.where(value > self._best[rows], index + offset, self.cell[rows])
        self._best[rows] = torch.maximum(self._best[rows], value)

    def _rank_second(
        self, rows: slice, value: Tensor, index: Tensor, runner: Tensor, second: Tensor, offset: int
    ) -> None:
        """The second best is the loser of the two winners, or a runner-up."""
        if not offset:
            self._next[rows], self.second[rows] = runner, second
            return
        behind = value > self._best[rows]  # the winner so far falls behind
        loser, lost = torch.where(behind, self._best[rows], value), torch.where(behind, self.cell[rows], index)
        for rival, name in ((runner, second), (self._next[rows], self.second[rows])):
            lost = torch.where(rival > loser, name, lost)
            loser = torch.maximum(loser, rival)
        self._next[rows], self.second[rows] = loser, lost


def _largest(scores: Tensor) -> tuple[Tensor, Tensor]:
    index = row_argmax(scores)
    return index, scores.gather(1, index[:, None]).squeeze(1)


def winners(
    pieces: Sequence[Rows],
    atoms: Atoms,
    heights: list[Tensor],
    *,
    mirror: bool = False,
    runners_up: bool = False,
    block: int | None = None,
    scratch: Scratch | None = None,
    fused: bool | None = None,
    over: Map = map,
) -> list[list[list[Race]]]:
    """Cells of rows of noise under one or several heights, and of their mirror images: one product serves all.

    Args:
        pieces: centred noise; every block of atoms is computed once for all of it.
        atoms: centred atoms.
        heights: centred heights, each float32 (N,).
        mirror: also return the cells of -z.
        runners_up: also find who comes second, and by how much.
        block: atoms per product; None: as suits the device.
        scratch: buffers to use again.
        fused: by the kernel of `leaders`; None: on a GPU where triton is at hand. Not for runners-up.
        over: `map`, or one that works on several pieces at a time.

    Returns:
        For each of the pieces and each of the heights one or two finished races.
    """
    device = heights[0].device
    scratch, sides = scratch or Scratch(device), 1 + mirror
    fused = _fusing(device) if fused is None else fused
    races = [
        [[Race(len(rows), device, runners_up=runners_up) for _ in range(sides)] for _ in heights] for rows in pieces
    ]
    for i, j, y in blocks(atoms, block or SHAPES[device.type == "cuda"][1]):
        meet, part = _meet_fused if fused and not runners_up else _meet, [h[i:j] for h in heights]
        list(over(partial(meet, y=y, i=i, heights=part, scratch=scratch), pieces, races))
    return races


def _meet(rows: Rows, run: list[list[Race]], *, y: Tensor, i: int, heights: list[Tensor], scratch: Scratch) -> None:
    """Rows of noise meet the atoms y = y_i, ...: each of the heights has one race, or two for both signs."""
    first, given = 0, heights[0]
    (front, *others), sides = chain.from_iterable(run), (1, -1)[: len(run[0])]
    shifts = [(side, h - side * given) for h in heights for side in sides][1:]
    for scores in rows.scores(y, given, scratch):
        front.meet(scores, i, first)
        for k, (race, (side, shift)) in enumerate(zip(others, shifts, strict=True), 1):
            last = k == len(others)  # in place takes half the time
            out = scores if last else scratch("shifted", *scores.shape)
            race.meet(torch.add(shift, scores, alpha=side, out=out), i, first)
        first += len(scores)


def _meet_fused(
    rows: Rows, run: list[list[Race]], *, y: Tensor, i: int, heights: list[Tensor], scratch: Scratch
) -> None:
    """The same by one kernel; TF32 where atoms are rounded already."""
    from dpmot.transport._triton import leaders

    mixing, factor = rows.factors(y, scratch)
    for h, pair in zip(heights, run, strict=True):
        found = leaders(mixing, factor, h, mirror=len(pair) == 2, exact=y.dtype == torch.float32)
        for race, (value, cell) in zip(pair, found, strict=True):
            race.enter(value, cell, i)


@cache
def _fusing(device: torch.device) -> bool:
    return device.type == "cuda" and find_spec("triton") is not None


def gathered(pieces: Iterator[Rows], most: int, least: int = 1) -> Iterator[list[Rows]]:
    """Pieces of noise, as many at once as fit so many bytes, and at least so many."""
    batch, size = [], 0
    for piece in pieces:
        if len(batch) >= least and size + piece.nbytes > most:
            yield batch
            batch, size = [], 0
        batch.append(piece)
        size += piece.nbytes
    if batch:
        yield batch


@dataclass(frozen=True, eq=False)
class Tally:
    """Where the draws fell.

    Attributes:
        counts: c_i, float64 (N,).
        together: ordered pairs of *dependent* draws inside cell i, float64 (N,).
        pairs: ordered pairs of independent draws.
        blocks: counts of each of the G blocks of dependent draws, int16 or int32 (G, N), where they have more than two.
        races: the draws themselves, if runners-up were asked for.
    """

    counts: Tensor
    together: Tensor
    pairs: float
    blocks: Tensor | None = None
    races: tuple[Race, ...] = ()

    def __add__(self, other: "Tally") -> "Tally":
        """Of these and other, independent draws."""
        blocks = None if self.blocks is None else torch.cat([self.blocks, other.blocks])
        return Tally(
            self.counts + other.counts,
            self.together + other.together,
            self.pairs + other.pairs + 2.0 * self.draws * other.draws,
            blocks,
            self.races + other.races,
        )

    @property
    def draws(self) -> int:
        """B."""
        return int(self.counts.sum())

    def chi2(self, masses: Tensor) -> float:
        """sum_i (c_i (c_i - 1) - together_i) / w_i over the independent pairs, minus 1: unbiased."""
        return float(((self.counts * (self.counts - 1) - self.together) / masses).sum()) / self.pairs - 1

    def inflation(self, masses: Tensor) -> float:
        """I: the variance of the counts over that of independent draws; see `certificate`."""
        total = float(self.draws)
        within = total * (total - 1) - self.pairs
        if within <= 0:
            return 1.0
        together = float((self.together / masses).sum()) / within
        return 1 + within / total * (together - 1 - self.chi2(masses)) / max(len(masses) - 1, 1)

    def mode_inflation(self, modes: Tensor) -> float | None:
        """The same for the modes' sums F^T c, F (N, k); None where draws are not in blocks.

        The draws of a block say much the same about what changes slowly from atom to atom: it may be ten times I.
        """
        if self.blocks is None or not modes.numel():
            return None
        parts = zip(self.blocks.split(COLUMNS, dim=1), modes.split(COLUMNS), strict=True)
        sums, share = sum(counts.double() @ part for counts, part in parts), self.counts / self.draws
        single = float(share @ modes.square().sum(1) - (modes.T @ share).square().sum())
        return float(sums.var(0).sum()) * len(sums) / (self.draws * max(single, 1e-300))


class _Counter:
    """Builds a `Tally` over `number` cells, or labels of them, from draws in blocks of `size` dependent ones."""

    def __init__(self, number: int, size: int, labels: Tensor | None = None) -> None:
        self._number, self._size, self._labels = number, size, labels
        self._counts, self._together = torch.zeros(2, number, dtype=torch.int64)
        self._blocks, self._races = [], []

    def count(self, races: list[Race], groups: int) -> tuple[Tensor, Tensor, list[Tensor], list[Race]]:
        """What `add` takes, of a piece with so many groups of dependent rows and of its mirror images, if any."""
        cells = [race.cell if self._labels is None else self._labels[race.cell] for race in races]
        counts, blocks = torch.bincount(torch.cat(cells), minlength=self._number), []
        together = torch.zeros_like(counts)
        if self._size == 2:
            together = 2 * torch.bincount(cells[0][cells[0] == cells[1]], minlength=self._number)
        elif self._size > 2:
            group = torch.arange(len(cells[0]), device=counts.device) % groups
            cells = torch.cat([group * self._number + cell for cell in cells])
            seen = torch.bincount(cells, minlength=groups * self._number).view(groups, self._number)
            together = (seen * (seen - 1)).sum(0)
            blocks = [seen.to(torch.int16 if self._size < 2**15 else torch.int32)]
        return counts, together, blocks, [race for race in races if race.second is not None]

    def add(self, counts: Tensor, together: Tensor, blocks: list[Tensor], races: list[Race]) -> None:
        self._counts, self._together = counts + self._counts.to(counts), together + self._together.to(counts)
        self._blocks += blocks
        self._races += races

    def tally(self) -> Tally:
        blocks, draws = torch.cat(self._blocks) if self._blocks else None, float(self._counts.sum())
        pairs = draws * (draws - self._size)
        return Tally(self._counts.double(), self._together.double(), pairs, blocks, tuple(self._races))


def tally(
    problem: SemiDiscreteProblem,
    heights: list[Tensor],
    rows: int,
    generator: np.random.Generator,
    *,
    noise: str,
    groups: Tensor | None = None,
    runners_up: bool = False,
    rough: bool = False,
    most: int = MOST,
    tile: int | None = None,
    block: int | None = None,
    fused: bool | None = None,
) -> list[Tally]:
    """Count at least `rows` draws (mirror images included) under each of the heights, on common noise.

    Args:
        problem: source and atoms.
        heights: centred heights, each (N,).
        rows: draws; whole blocks of dependent draws are counted.
        generator: the noise stream; its draws do not depend on `tile` or `block`.
        noise: one of `noise.KINDS`.
        groups: labels 0..G-1 of the atoms (N,): a last tally counts groups instead of cells, under the last heights.
        runners_up: keep the races, with who comes second in them.
        rough: products may be rounded to bfloat16 ("recycled" only), which near duplicates would not bear.
        most: turns of a block of "recycled" noise, at most: the fewer, the less draws depend on each other.
        tile, block: rows and atoms per product; they change the speed, and single draws that round across a wall. None:
            as suits the device.
        fused: see `winners`.
    """
    number, dim, device = len(problem.atoms), problem.atoms.dim, problem.mean.device
    size, mirror = group_size(noise, dim, number, most), noise != "plain"
    atoms = problem.rough if rough and noise == "recycled" else problem.points
    rows = max(rows, 2 * size)  # chi2 needs independent pairs
    heights = [h.float() for h in heights]
    counters = [_Counter(number, size) for _ in heights]
    if groups is not None:
        counters.append(_Counter(int(groups.max()) + 1, size, groups))
    options = {"mirror": mirror, "runners_up": runners_up, "block": block, "fused": fused}
    tile = tile or SHAPES[device.type == "cuda"][0]
    shape, rows = {"tile": tile, "device": device, "most": most}, -(-rows // (1 + mirror))
    drawn = draw(noise, problem.law, (number, dim), rows, generator, **shape)

    def counted(piece: Rows, races: list[list[Race]]) -> list:
        pairs = races if groups is None else [*races, races[-1]]  # groups are of the last heights
        return [counter.count(pair, piece.groups) for counter, pair in zip(counters, pairs, strict=True)]

    with side_by_side(device) as team:
        options["scratch"] = team.scratch
        if isinstance(atoms, Held):  # a piece is a thread's, from its draws to their counts
            found = team.over(lambda piece: counted(piece, winners([piece], atoms, heights, **options)[0]), drawn)
        else:
            batches = gathered(drawn, NOISE, team.threads)
            raced = ((batch, winners(batch, atoms, heights, over=team.over, **options)) for batch in batches)
            found = starmap(counted, chain.from_iterable(zip(*one, strict=True) for one in raced))
        for piece in found:
            for counter, one in zip(counters, piece, strict=True):
                counter.add(*one)
    return [counter.tally() for counter in counters]
