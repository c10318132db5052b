"""Fixed tiles: a matrix product's last bits depend on its shape, so every product over samples has one shape.

With tiles of 128 rows, the last one padded, sample k has the same bits in every batch, order and worker count.
(128 rows run a fifth faster than 64 on two cores, see benchmarks/sampling.py.) Of images of more than 2^15 numbers
there are fewer, so that a tile is no larger than memory and padding bear.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar, cast

import torch
from torch import Tensor

from dpmot.device import ordinary

TILE = 128
LARGEST = 2**22  # numbers in a tile
COLUMNS = 64  # a multiple of every vector length
Result = TypeVar("Result")
Output = TypeVar("Output", Tensor, tuple[Tensor, ...])


@ordinary(grad=False)
def in_tiles(function: Callable[..., Output], *rows: Tensor, tile: int | None = None) -> Output:
    """``function`` applied to ``tile`` rows of each argument (B, ...) at a time, without gradients.

    The last tile is padded by its last row, so that every call has the same shape.

    Args:
        function: tensors (tile, ...) -> a tensor (tile, ...), or a tuple of them.
        tile: rows; None: as suits the size of one of the first argument's.

    Returns:
        The concatenated result (B, ...), or the tuple of them.

    Raises:
        ValueError: no rows.
    """
    if len(rows[0]) == 0:
        raise ValueError("No rows to evaluate: at least one sample is needed")
    size = tile or rows_of(rows[0][0].numel())
    parts = []
    for k, blocks in enumerate(zip(*(tiles(argument, size) for argument in rows), strict=True)):
        output = function(*blocks)
        columns = output if isinstance(output, tuple) else (output,)
        parts.append([column[: len(rows[0]) - k * size] for column in columns])  # without the padding
    results = tuple(torch.cat(column) if len(column) > 1 else column[0] for column in zip(*parts, strict=True))
    return cast(Output, results if isinstance(output, tuple) else results[0])


def rows_of(numbers: int) -> int:
    """Rows of a tile for images of so many numbers: TILE, or the power of two that keeps it within LARGEST."""
    return min(TILE, 1 << max(0, (LARGEST // max(1, numbers)).bit_length() - 1))


def tiles(rows: Tensor, tile: int = TILE) -> Iterator[Tensor]:
    """Blocks of exactly `tile` rows of (B, ...); the last one is padded by the last row."""
    for first in range(0, len(rows), tile):
        block = rows[first : first + tile]
        short = tile - len(block)
        yield torch.cat([block, block[-1:].expand(short, *block.shape[1:])]) if short else block


def product(rows: Tensor, matrix: Tensor) -> Tensor:
    """rows (tile, K) @ matrix (K, n), where a row's last bits do not depend on its place in the tile.

    Matrix libraries compute the last few columns of a product by another path, in which rows differ (measured with MKL
    at n = 9: a third of the rows). So n is filled up with zeros to a multiple of COLUMNS.
    """
    n = matrix.shape[1]
    whole = torch.nn.functional.pad(matrix, (0, -n % COLUMNS)) if n % COLUMNS else matrix
    return (rows @ whole)[:, :n]


def in_blocks(function: Callable[[Sequence], Result], rows: Sequence, numbers: int, *, most: int) -> list[Result]:
    """``function`` of blocks of rows, in order, so that memory is bounded; of halves where it still does not suffice.

    Blocks are multiples of the tile, so that a function that works in tiles gives every row the same bits.

    Args:
        numbers: in one row, in float64.
        most: bytes of a block, but for one tile.

    Raises:
        MemoryError: not even one tile fits into memory.
    """
    size = max(TILE, most // (8 * numbers) // TILE * TILE)
    blocks = (rows[i : i + size] for i in range(0, len(rows), size))
    return [part for block in blocks for part in in_halves(function, block)]


def in_halves(function: Callable[[Sequence], Result], rows: Sequence) -> list[Result]:
    """``function(rows)``; where memory does not suffice, of its halves, and of theirs, in order.

    Halves are multiples of the tile, so a function that works in tiles gives every row the bits it had before.

    Raises:
        MemoryError: not even one tile fits into memory.
    """
    try:
        return [function(rows)]
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        if len(rows) <= TILE:
            raise MemoryError(f"not even {len(rows)} samples at a time fit into memory: {error}") from None
    half = -(-len(rows) // (2 * TILE)) * TILE
    print(f"out of memory with {len(rows)} samples at a time: going on with {half}", flush=True)
    return [part for piece in (rows[:half], rows[half:]) for part in in_halves(function, piece)]


def _out_of_memory(error: Exception) -> bool:
    # on a CPU torch raises a plain RuntimeError
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "t allocate memory" in str(error)
