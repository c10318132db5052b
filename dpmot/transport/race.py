"""Which atom has the best score? Blocked product, argmax.

The N x B matrix of scores <z, y_i> + h_i never exists: a few rows of noise meet one block of atoms at a time, in
cache, and keep only the best score so far. Atoms that are not in memory are computed once for many rows of noise.
All draws here are centred (z) and so are the atoms.
"""

from collections.abc import Iterator, Sequence
from functools import cache, partial
from importlib.util import find_spec
from itertools import chain

import torch
from torch import Tensor

from dpmot.transport.atoms import Atoms, blocks
from dpmot.transport.noise import Rows
from dpmot.transport.workers import Map, Scratch

SHAPES = (1024, 2048), (8192, 16_384)  # rows and atoms per product, without and with a GPU: on a processor the scores
# stay in the last cache (measured on two cores); on a GPU a product fills it (not measured: benchmarks.transport_cuda)


class Race:
    """The atoms with the best and, if asked for, the second-best score of each row; the first block comes first.

    Attributes:
        FIELDS: the tensors that it keeps, each (R,), or (0,) without runners-up.
        runners_up: whether the second best are kept.
        cell: index of the best score so far, the lowest on ties, int64 (R,).
        second: index of the second best, int64 (R,), or (0,) without runners-up.
        lead: best minus second-best score, (R,), with runners-up.
    """

    FIELDS = ("cell", "second", "_best", "_next")

    def __init__(
        self, rows: int, device: torch.device, *, runners_up: bool = False, dtype: torch.dtype = torch.float32
    ) -> None:
        seconds, self.runners_up = rows if runners_up else 0, runners_up
        like = partial(torch.empty, dtype=dtype, device=device)
        self._best, self._next = like(rows), like(seconds)
        self.cell = torch.empty(rows, dtype=torch.int64, device=device)
        self.second = torch.empty(seconds, dtype=torch.int64, device=device)

    @property
    def lead(self) -> Tensor:
        return self._best - self._next

    def meet(self, scores: Tensor, offset: int, first: int = 0) -> None:
        """Scores (B, n) of rows first, ... for the atoms offset, ..., offset + n - 1."""
        rows = slice(first, first + len(scores))
        index, value = _largest(scores)
        if self.runners_up:
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


def row_argmax(scores: Tensor) -> Tensor:
    """Index of the largest entry of each row, the first one on ties: (B, n) -> int64 (B,)."""
    if scores.device.type == "cpu":
        # numpy's argmax is vectorised: ten times faster than torch's on this shape; both promise the first index
        return torch.from_numpy(scores.numpy().argmax(1))
    return scores.argmax(1)


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
    scratch: Scratch | None = None,
    fused: bool | None = None,
    over: Map = map,
) -> list[list[list[Race]]]:
    """Cells of rows of noise under one or several heights, and of their mirror images: one product serves all.

    Args:
        pieces: centred noise; every block of atoms is computed once for all of it.
        heights: each (N,), of the type of the atoms' floats: float32, or float64.
        mirror: also return the cells of -z.
        runners_up: also find who comes second, and by how much.
        scratch: buffers to use again.
        fused: by the kernel of `_triton`; None: on a GPU where triton is at hand. Not for runners-up.
        over: `map`, or one that works on several pieces at a time.

    Returns:
        For each of the pieces and each of the heights one or two finished races.
    """
    device = heights[0].device
    scratch, sides = scratch or Scratch(device), 1 + mirror
    fused = _fusing(device) if fused is None else fused
    fused = fused and heights[0].dtype == torch.float32
    races = [
        [
            [Race(len(rows), device, runners_up=runners_up, dtype=heights[0].dtype) for _ in range(sides)]
            for _ in heights
        ]
        for rows in pieces
    ]
    for i, j, y in blocks(atoms, SHAPES[device.type == "cuda"][1]):
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
            out = scores if last else scratch("shifted", *scores.shape, dtype=scores.dtype)
            race.meet(torch.add(shift, scores, alpha=side, out=out), i, first)
        first += len(scores)


def _meet_fused(
    rows: Rows, run: list[list[Race]], *, y: Tensor, i: int, heights: list[Tensor], scratch: Scratch
) -> None:
    """The same by one kernel; TF32 where atoms are rounded already."""
    from dpmot.transport._triton import leaders

    mixing, factor = rows.factors(y, scratch)
    for h, races in zip(heights, run, strict=True):
        best = leaders(mixing, factor, h, mirror=len(races) == 2, exact=y.dtype == torch.float32)
        for race, (value, cell) in zip(races, best, strict=True):
            race.enter(value, cell, i)


@cache
def _fusing(device: torch.device) -> bool:
    return device.type == "cuda" and find_spec("triton") is not None


def gathered(pieces: Iterator[Rows], most: int, least: int = 1) -> Iterator[list[Rows]]:
    """Pieces of noise, as many at once as fit so many bytes, and at least so many."""
    batch: list[Rows] = []
    size = 0
    for piece in pieces:
        if len(batch) >= least and size + piece.nbytes > most:
            yield batch
            batch, size = [], 0
        batch.append(piece)
        size += piece.nbytes
    if batch:
        yield batch
