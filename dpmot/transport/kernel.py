"""Which cell does a draw fall into? Blocked product, argmax, bincount.

The N x B matrix of scores <z, y_i> + h_i never exists: a few rows of noise meet one block of atoms at a time, in
cache, and keep only the best score so far. All draws here are centred (z) and so are the atoms.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dpmot.transport.atoms import Atoms, blocks
from dpmot.transport.noise import Rows, Scratch, draw, group_size
from dpmot.transport.problem import SemiDiscreteProblem

ROWS, BLOCK = 256, 2048  # rows and atoms per product: the scores stay in the last cache; measured on two cores


def row_argmax(scores: Tensor) -> Tensor:
    """Index of the largest entry of each row, the first one on ties: (B, n) -> int64 (B,)."""
    if scores.device.type == "cpu":
        # numpy's argmax is vectorised: ten times faster than torch's on this shape, and the first index is promised
        return torch.from_numpy(scores.numpy().argmax(1))
    return (scores == scores.amax(1, keepdim=True)).to(torch.uint8).argmax(1)


def _keep_best(best: Tensor | None, cell: Tensor | None, scores: Tensor, offset: int) -> tuple[Tensor, Tensor]:
    """Merge one block's winners into the running best; an earlier block wins a tie."""
    index = row_argmax(scores)
    value = scores.gather(1, index[:, None]).squeeze(1)
    if best is None:
        return value, index + offset
    return torch.maximum(best, value), torch.where(value > best, index + offset, cell)


def winners(
    rows: Rows,
    atoms: Atoms,
    heights: list[Tensor],
    *,
    mirror: bool = False,
    block: int = BLOCK,
    scratch: Scratch | None = None,
) -> list[list[Tensor]]:
    """Cells of a few rows of noise under one or several heights, and of their mirror images: one product serves all.

    Args:
        rows: centred noise, R rows.
        atoms: centred atoms.
        heights: centred heights, each float32 (N,).
        mirror: also return the cells of -z.
        block: atoms per product.
        scratch: buffers to use again.

    Returns:
        For each of the heights one or two int64 tensors (R,).
    """
    sides, scratch = (1, -1) if mirror else (1,), scratch or Scratch(heights[0].device)
    best: dict[tuple[int, int], tuple] = {(k, side): (None, None) for k in range(len(heights)) for side in sides}
    for i, j, y in blocks(atoms, block):
        products = rows.products(y, scratch)
        scores = scratch("scores", *products.shape)
        for k, side in best:
            torch.add(heights[k][i:j], products, alpha=side, out=scores)
            best[k, side] = _keep_best(*best[k, side], scores, i)
    return [[best[k, side][1] for side in sides] for k in range(len(heights))]


@dataclass(frozen=True, eq=False)
class Tally:
    """Where the draws fell.

    Attributes:
        counts: c_i, float64 (N,).
        together: ordered pairs of *dependent* draws inside cell i, float64 (N,).
        pairs: ordered pairs of independent draws.
    """

    counts: Tensor
    together: Tensor
    pairs: float

    @property
    def draws(self) -> int:
        """B."""
        return int(self.counts.sum())

    def chi2(self, masses: Tensor) -> float:
        """sum_i (c_i (c_i - 1) - together_i) / w_i over the independent pairs, minus 1: unbiased."""
        return float(((self.counts * (self.counts - 1) - self.together) / masses).sum()) / self.pairs - 1


class _Counter:
    """Builds a `Tally` over `number` cells from draws in blocks of `size` dependent ones."""

    def __init__(self, number: int, size: int, device: torch.device) -> None:
        self._size, self._draws = size, 0
        self._counts, self._together = torch.zeros(2, number, dtype=torch.float64, device=device)

    def add(self, cells: list[Tensor]) -> None:
        """Cells of a piece of noise, and of its mirror images if there are two."""
        number = len(self._counts)
        seen = torch.bincount(torch.cat(cells), minlength=number).double()
        self._draws += len(cells) * len(cells[0])
        self._counts += seen
        if self._size > 2:  # the piece is one block
            self._together += seen * (seen - 1)
        elif self._size == 2:
            self._together += 2 * torch.bincount(cells[0][cells[0] == cells[1]], minlength=number)

    def tally(self) -> Tally:
        return Tally(self._counts, self._together, float(self._draws) * (self._draws - self._size))


def tally(
    problem: SemiDiscreteProblem,
    heights: list[Tensor],
    rows: int,
    generator: np.random.Generator,
    *,
    noise: str,
    groups: Tensor | None = None,
    tile: int = ROWS,
    block: int = BLOCK,
) -> list[Tally]:
    """Count at least `rows` draws (mirror images included) under each of the heights, on common noise.

    Args:
        problem: source and atoms.
        heights: centred heights, each (N,).
        rows: draws; whole blocks of dependent draws are counted.
        generator: the noise stream; its draws do not depend on `tile` or `block`.
        noise: one of `noise.KINDS`.
        groups: labels 0..G-1 of the atoms (N,): a last tally counts groups instead of cells, under the last heights.
        tile, block: rows and atoms per product; they change the speed only.
    """
    number, dim, device = len(problem.atoms), problem.atoms.dim, problem.mean.device
    size, mirror = group_size(noise, dim, number), noise != "plain"
    atoms, heights, scratch = problem.points, [h.float() for h in heights], Scratch(device)
    counters = [_Counter(number, size, device) for _ in heights]
    grouped = None if groups is None else _Counter(int(groups.max()) + 1, size, device)
    for piece in draw(noise, problem.law, (number, dim), -(-rows // (1 + mirror)), generator, tile=tile, device=device):
        seen = winners(piece, atoms, heights, mirror=mirror, block=block, scratch=scratch)
        for counter, cells in zip(counters, seen, strict=True):
            counter.add(cells)
        if grouped is not None:
            grouped.add([groups[cell] for cell in seen[-1]])
    return [counter.tally() for counter in counters + ([] if grouped is None else [grouped])]


def gaps(
    problem: SemiDiscreteProblem, heights: Tensor, rows: int, generator: np.random.Generator, *, noise: str
) -> tuple[Tensor, Tensor]:
    """Winner (R,) of each of R >= `rows` draws and its lead over the second-best score, float64 (R,).

    P(lead > t | i wins) = p_i(h_i - t) / p_i(h_i): the mean lead of i is 1 over the slope of log p_i in its own height.
    """
    cells, leads = [], []
    device, heights = problem.mean.device, heights.float()
    scratch = Scratch(device)
    shape = len(problem.atoms), problem.atoms.dim
    for piece in draw(noise, problem.law, shape, rows, generator, tile=ROWS, device=device):
        best = cell = None
        second = torch.full((len(piece),), -torch.inf, device=device)
        for i, j, y in blocks(problem.points, BLOCK):
            scores = piece.products(y, scratch).add_(heights[i:j])
            before = best
            best, cell = _keep_best(best, cell, scores, i)
            if before is not None:
                top = scores.amax(1)
                second = torch.maximum(second, torch.minimum(before, top))
            scores.scatter_(1, row_argmax(scores)[:, None], -torch.inf)
            second = torch.maximum(second, scores.amax(1))
        cells.append(cell)
        leads.append((best - second).double())
    return torch.cat(cells), torch.cat(leads)
