"""Which cell does a draw fall into? Blocked product, argmax, bincount.

The N x B matrix of scores <z, y_i> + h_i never exists: one tile of rows meets one block of atoms at a time and
keeps only the best score so far. All draws here are centred (z) and so are the atoms.
"""

import numpy as np
import torch
from torch import Tensor

from dpmot.transport.atoms import BLOCK, Atoms, blocks
from dpmot.transport.problem import SemiDiscreteProblem

ROWS = 512  # rows of one tile: 512 x 600 float32 scores fill the second-level cache


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


def winners(z: Tensor, atoms: Atoms, heights: Tensor, *, mirror: bool = False, block: int = BLOCK) -> list[Tensor]:
    """Cells of one tile of centred rows, and of their mirror images -z, whose products are the same numbers negated.

    Args:
        z: float32 (R, d).
        atoms: centred atoms.
        heights: centred heights, float32 (N,).
        mirror: also return the cells of -z.
        block: atoms per product.

    Returns:
        One or two int64 tensors (R,).
    """
    best: list[tuple] = [(None, None)] * (2 if mirror else 1)
    for i, j, y in blocks(atoms, block):
        products = z @ y.T
        if mirror:
            best[1] = _keep_best(*best[1], heights[i:j] - products, i)
        best[0] = _keep_best(*best[0], products.add_(heights[i:j]), i)
    return [cell for _, cell in best]


def count_cells(
    problem: SemiDiscreteProblem,
    heights: Tensor,
    rows: int,
    generator: np.random.Generator,
    *,
    mirror: bool = False,
    tile: int = ROWS,
    block: int = BLOCK,
) -> tuple[Tensor, Tensor]:
    """Count the draws in every cell.

    Args:
        problem: source and atoms.
        heights: centred heights (N,).
        rows: fresh draws z; with `mirror`, 2 * rows draws are counted.
        generator: the noise stream; its draws do not depend on `tile` or `block`.
        mirror: count -z beside every z.
        tile: rows per product.
        block: atoms per product.

    Returns:
        counts, float64 (N,), and twins, float64 (N,): pairs (z, -z) that both fell into the cell (0 without mirror).
    """
    number, device = len(problem.atoms), problem.mean.device
    counts, twins = torch.zeros(2, number, dtype=torch.float64, device=device)
    # a single block is read once per call, several are read again for every tile
    centred = _InMemory(problem.centred) if number <= block else problem.centred
    heights = heights.float()
    for start in range(0, rows, tile):
        z = problem.law.draw(generator, min(tile, rows - start), problem.atoms.dim)
        cells = winners(torch.from_numpy(z).to(device), centred, heights, mirror=mirror, block=block)
        for cell in cells:
            counts += torch.bincount(cell, minlength=number)
        if mirror:
            twins += torch.bincount(cells[0][cells[0] == cells[1]], minlength=number)
    return counts, twins


class _InMemory:
    """A single block of atoms, kept."""

    def __init__(self, atoms: Atoms) -> None:
        self.dim, self._rows = atoms.dim, atoms.block(0, len(atoms))

    def __len__(self) -> int:
        return len(self._rows)

    def block(self, i: int, j: int) -> Tensor:
        return self._rows[i:j]
