"""Shards: a method's samples, and the measuring of all methods, as several jobs whose parts are put together in order.

Every sample has random numbers of its own (:mod:`dpmot.seeds`), so who draws it changes no bit, as long as the network
sees whole tiles (:mod:`dpmot.tiles`). So the samples of a method stand in one line, cell by cell and seed by seed, and
are cut into ranges at multiples of ``STEP`` within a cell. A tile weighs what it costs: the evaluations of its cell and
one for its start, whether it is full or not. Ranges of equal weight balance better than equal shares of every cell,
which cannot be smaller than a tile each; and neighbours, which often have one start, stay together. The class-balanced
prior fills the slots of a cell together, and is cut between cells only.

Measuring is cut between methods, whose rows are written in order.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate, groupby

from dpmot.experiment.tasks import Piece, Sample, Shard
from dpmot.runtime.job import Job

STEP = 128  # samples: a multiple of every tile


def even(weights: Sequence[float], number: int) -> list[range]:
    """Neighbours together, in ``number`` ranges of about equal weight, or in fewer where there are not so many.

    None is empty, and none weighs more than its share and the largest weight together.
    """
    number = min(number, len(weights))
    middles = [before + weight / 2 for before, weight in zip(accumulate(weights, initial=0.0), weights, strict=False)]
    total, ends = sum(weights), [0]
    for k in range(1, number):
        end = bisect_left(middles, k * total / number)
        ends.append(min(max(end, ends[-1] + 1), len(weights) - number + k))
    return [range(first, last) for first, last in zip(ends, [*ends[1:], len(weights)], strict=True)]


def shards_of(sample: Sample, number: int) -> tuple[Shard, ...]:
    """A method's samples in ``number`` shards; in fewer where it has fewer tiles, or cells that cannot be cut."""
    tiles = _tiles(sample)
    ranges = even([_weight(tile) for tile in tiles], number)
    parts = [_joined([tiles[i] for i in some]) for some in ranges]
    return tuple(Shard(sample, pieces, k, len(parts)) for k, pieces in enumerate(parts, 1))


def numbered(shards: Sequence[Job], number: int, *, of: str) -> Job:
    """Shard ``number``, from 1 on, of a job by its name.

    Raises:
        ValueError: there are not so many.
    """
    if number > len(shards):
        told = f"has {len(shards)} shards" if shards else "is not split; `shards:` in the configuration splits it"
        raise ValueError(f"--shard {number}: {of} {told}")
    return shards[number - 1]


def _tiles(sample: Sample) -> list[Piece]:
    count, step = sample.num_samples, sample.num_samples if sample.method.balanced else STEP
    drawn = [cell for cell in sample.cells if not cell.reason]
    return [Piece(cell, k, min(k + step, count)) for cell in drawn for k in range(0, count, step)]


def _weight(piece: Piece) -> int:
    return (piece.cell.nfe + 1) * -(-(piece.last - piece.first) // STEP)


def _joined(tiles: Sequence[Piece]) -> tuple[Piece, ...]:
    """Neighbouring samples of a cell as one piece."""
    cells = (list(some) for _, some in groupby(tiles, key=lambda piece: piece.cell.key))
    return tuple(Piece(some[0].cell, some[0].first, some[-1].last) for some in cells)
