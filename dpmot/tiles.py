"""Fixed tiles: a matrix product's last bits depend on its shape, so every product over samples has one shape.

With tiles of 128 rows, the last one padded, sample k has the same bits in every batch, order and worker count.
(128 rows run a fifth faster than 64 on two cores, see benchmarks/sampling.py.)
"""

from collections.abc import Callable

import torch
from torch import Tensor

TILE = 128


def in_tiles(function: Callable[..., Tensor], *rows: Tensor, tile: int = TILE) -> Tensor:
    """``function`` applied to tiles of ``tile`` rows of each argument (B, ...), the last tile padded by its last row.

    Returns:
        The concatenated results, (B, ...).

    Raises:
        ValueError: no rows.
    """
    total = len(rows[0])
    if total == 0:
        raise ValueError("No rows to evaluate: at least one sample is needed")
    parts = []
    for first in range(0, total, tile):
        blocks = [argument[first : first + tile] for argument in rows]
        missing = tile - len(blocks[0])
        if missing:
            blocks = [torch.cat([b, b[-1:].expand(missing, *b.shape[1:])]) for b in blocks]
        parts.append(function(*blocks)[: tile - missing])
    return torch.cat(parts)
