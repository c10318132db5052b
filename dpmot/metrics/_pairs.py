"""Which pairs of rows are close? Exact answers at the price of float32 products.

With h(x) = |x|^2 / 2 of centred rows, |x - y|^2 / 2 = h(x) + h(y) - <x, y>. A float32 product of length l errs by at
most l u |x| |y| <= l u (h(x) + h(y)), u = 2^-24, in whatever order it is summed; a longer one, the sum of p such
pieces, by (l + p) u. Pairs farther from the question than that are decided; the few within are decided by differences
in float64. So the answers depend on no tile, thread or library, no n x n matrix exists, and of the pairs within one
set only one half is computed.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

TILE = 1024  # rows of each side: 4 MiB of bounds at a time
PIECE = 1024  # numbers of a row that are multiplied at a time
PENDING = 1 << 21  # candidates held before they are decided
LOW = 5  # dimensions in which a tree of at least so MANY rows finds the nearest sooner than products
MANY = 2048
EXTRA = 2  # neighbours beyond k that a tree is asked for first
CHUNK = 1 << 20  # numbers of each side held while distances are taken in float64, 8 MiB


@dataclass(frozen=True, eq=False)
class Rows:
    """A set of rows, prepared for products with those prepared beside it.

    Attributes:
        values: as given, float (n, d).
        half: h of the centred rows, float64 (n,).
        centre: float64 (d,).
        scale: > 0.
        held: the centred rows, (values - centre) / scale, float32 (n, d), at most 1 in size; None: made when asked for.
    """

    values: np.ndarray
    half: np.ndarray
    centre: np.ndarray
    scale: float
    held: np.ndarray | None

    def __len__(self) -> int:
        return len(self.values)

    def centred(self, first: int) -> np.ndarray:
        """The centred rows of a tile."""
        if self.held is not None:
            return self.held[first : first + TILE]
        return np.concatenate([*_centred(self.values[first : first + TILE], self.centre, self.scale)])


def prepare(*sets: np.ndarray) -> list[Rows]:
    """Rows of sets (n, d), n >= 1. The first gives the centre, which decides only how many pairs stay open.

    The first is held as it is multiplied too: give that which is y in :func:`tiles`, asked for again and again.
    """
    centre = sets[0].mean(axis=0, dtype=np.float64)
    scale = max(float(np.abs(rows - centre).max()) for values in sets for rows in _parts(values)) or 1.0
    prepared = []
    for k, values in enumerate(sets):
        half, held = np.empty(len(values)), None if k else np.empty(values.shape, dtype=np.float32)
        end = 0
        for part in _centred(values, centre, scale):
            first, end = end, end + len(part)
            half[first:end] = 0.5 * np.einsum("nd,nd->n", part, part, dtype=np.float64)
            if held is not None:
                held[first:end] = part
        prepared.append(Rows(values, half, centre, scale, held))
    return prepared


def squared_distances(x: np.ndarray, y: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """|x_i - y_j|^2 by differences, float64 (m,), for indices (m,): 0 for equal rows, symmetric to the bit."""
    result = np.empty(len(i))
    step = max(1, CHUNK // x.shape[1])
    for k in range(0, len(i), step):
        difference = x[i[k : k + step]].astype(np.float64) - y[j[k : k + step]]
        result[k : k + step] = np.einsum("md,md->m", difference, difference)
    return result


@dataclass(frozen=True, eq=False)
class Tile:
    """Lower bounds of |x_i - y_j|^2 / 2, scaled, for i = first, ..., j = second, ...

    ``low`` is float32 (rows, columns); the truth lies within ``width(i, j)`` above it.
    """

    x: Rows
    y: Rows
    first: int
    second: int
    low: np.ndarray

    def width(self, i: np.ndarray | int, j: np.ndarray | int) -> np.ndarray:
        """How far above ``low`` the truth may be, for indices into the sets."""
        return 2 * _bound(self.x.values.shape[1]) * (self.x.half[i] + self.y.half[j]) + _TINY

    def candidates(self, limits: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pairs (i, j) and their lower bounds, where at most the limit of their row (axis 0) or column."""
        rows, columns = self.low.shape
        limit = limits[self.first :][:rows, None] if axis == 0 else limits[None, self.second :][:, :columns]
        flat = np.flatnonzero(self.low <= limit)
        i, j = np.divmod(flat, columns)
        return i + self.first, j + self.second, self.low.ravel()[flat]

    def within(self, squared: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
        """Pairs (i, j) with |x_i - y_j|^2 <= squared, a bound for each x (axis 0) or y (axis 1); exact."""
        scaled = squared / (2 * self.x.scale**2)
        i, j, low = self.candidates(_float32_above(scaled), axis)
        own = i if axis == 0 else j
        open_ = np.flatnonzero(low + self.width(i, j) > scaled[own] * (1 - 2**-50))
        exact = squared_distances(self.x.values, self.y.values, i[open_], j[open_])
        inside = np.ones(len(i), dtype=bool)
        inside[open_] = exact <= squared[own[open_]]
        return i[inside], j[inside]


def tiles(x: Rows, y: Rows) -> Iterator[Tile]:
    """All pairs of two sets; where ``y`` is ``x``, tiles with second >= first. A tile lives until the next one."""
    factor = 1 - _bound(x.values.shape[1])
    buffer, part = np.empty((2, min(TILE, len(x)) * min(TILE, len(y))), dtype=np.float32)
    for first in range(0, len(x), TILE):
        own = x.centred(first)
        own_half = (factor * x.half[first : first + TILE, None]).astype(np.float32)
        for second in range(first if x is y else 0, len(y), TILE):
            other = y.centred(second)
            low, piece = (flat[: len(own) * len(other)].reshape(len(own), len(other)) for flat in (buffer, part))
            np.matmul(own[:, :PIECE], other[:, :PIECE].T, out=low)
            for k in range(PIECE, own.shape[1], PIECE):
                low += np.matmul(own[:, k : k + PIECE], other[:, k : k + PIECE].T, out=piece)
            np.subtract(own_half, low, out=low)
            low += (factor * y.half[second : second + TILE]).astype(np.float32)
            yield Tile(x, y, first, second, low)


def nearest(x: Rows, y: Rows, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest rows of y to each of x, without the row itself where ``y`` is ``x``.

    Their index int64 (n, k) and squared distance float64 (n, k), nearest first, of equals the first.
    """
    available = len(y) - (x is y)
    if not 1 <= k <= available:
        raise ValueError(f"{k} nearest of {available} rows are asked for: give 1 <= k <= {available}")
    if x.values.shape[1] <= LOW and len(y) >= MANY and 4 * k <= len(y):
        return _nearest_in_tree(x, y, k)
    return _nearest_of_all(x, y, k)


def _nearest_of_all(x: Rows, y: Rows, k: int) -> tuple[np.ndarray, np.ndarray]:
    search = _Search(x, y, k)
    for tile in tiles(x, y):
        if x is y and tile.first == tile.second:
            np.fill_diagonal(tile.low, np.inf)
        search.add(tile, axis=0)
        if x is y and tile.first != tile.second:
            search.add(tile, axis=1)
    search.decide()
    return search.index, search.squared


def _nearest_in_tree(x: Rows, y: Rows, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The same by a tree, N log N in few dimensions; rows with more equals than it was asked for look at all."""
    from scipy.spatial import cKDTree  # what draws pages imports this file

    own = x is y
    kept = _first_copies(y.values, k + own)  # of equal rows no more can be among the nearest
    tree, asked = cKDTree(y.values[kept].astype(np.float64)), k + own + EXTRA
    index, squared = np.empty((len(x), k), dtype=np.int64), np.empty((len(x), k))
    open_ = np.arange(len(x))
    for _ in range(3):
        asked = min(asked, len(kept))
        still = []
        for part in np.array_split(open_, len(open_) * asked // PENDING + 1):
            reach, near = tree.query(x.values[part].astype(np.float64), asked)
            j = kept[near].reshape(len(part), asked)
            exact = squared_distances(x.values, y.values, np.repeat(part, asked), j.ravel()).reshape(j.shape)
            if own:
                exact[j == part[:, None]] = np.inf
            order = np.lexsort((j, exact))[:, :k]  # of equals the first
            index[part], squared[part] = np.take_along_axis(j, order, 1), np.take_along_axis(exact, order, 1)
            beyond = np.square(reach.reshape(j.shape)[:, -1]) * (
                1 - 2**-40
            )  # what was not asked for is as far at least
            still.append(part[squared[part, -1] >= beyond] if asked < len(kept) else part[:0])
        open_, asked = np.concatenate(still), 4 * asked
        if not len(open_):
            return index, squared
    few = prepare(y.values, x.values[open_])
    found = _nearest_of_all(few[1], few[0], k + own)
    for row, j, exact in zip(open_, *found, strict=True):
        others = np.flatnonzero(j != row)[:k] if own else np.arange(k)
        index[row], squared[row] = j[others], exact[others]
    return index, squared


def _first_copies(values: np.ndarray, number: int) -> np.ndarray:
    """Numbers of the rows without those that have so many equal ones before them."""
    order = np.lexsort((*values.T, np.zeros(len(values))))
    rows = values[order]
    new = np.concatenate([[True], (rows[1:] != rows[:-1]).any(axis=1)])
    first = np.maximum.accumulate(np.where(new, np.arange(len(rows)), 0))
    return np.sort(order[np.arange(len(rows)) - first < number])


class _Search:
    """The k nearest so far: decided ones, and candidates whose lower bound is at most their row's limit."""

    def __init__(self, x: Rows, y: Rows, k: int) -> None:
        self.x, self.y, self.k = x, y, k
        self.index = np.full((len(x), k), -1, dtype=np.int64)
        self.squared = np.full((len(x), k), np.inf)
        self.limits = np.full(len(x), _FAR, dtype=np.float32)  # the k-th smallest upper bound seen
        self.upper = np.full((len(x), k), np.inf)
        self.pending: list[tuple[np.ndarray, ...]] = []
        self.num_pending = 0

    def add(self, tile: Tile, axis: int) -> None:
        """Take up a tile by its rows (axis 0), or by its columns, whose set is the same."""
        self._first_limits(tile, axis)
        i, j, low = tile.candidates(self.limits, axis)
        if not len(i):
            return
        upper = low + tile.width(i, j)
        own, other = (i, j) if axis == 0 else (j, i)
        touched, rank, order = _ranked(own, upper)
        kept = rank < self.k
        best = np.full((len(touched), self.k), np.inf)
        rows = np.searchsorted(touched, own[order][kept])
        best[rows, rank[kept]] = upper[order][kept]
        best = np.sort(np.concatenate([best, self.upper[touched]], axis=1), axis=1)[:, : self.k]
        self.upper[touched] = best
        self.limits[touched] = np.minimum(self.limits[touched], _float32_above(best[:, -1]))
        still = low <= self.limits[own]
        self.pending.append((own[still], other[still], low[still]))
        self.num_pending += int(still.sum())
        if self.num_pending > PENDING:
            self.decide()

    def decide(self) -> None:
        """Take the distances of all candidates that are still in question, and keep the k smallest."""
        if not self.pending:
            return
        own, other, low = (np.concatenate(parts) for parts in zip(*self.pending, strict=True))
        self.pending, self.num_pending = [], 0
        still = low <= self.limits[own]
        own, other = own[still], other[still]
        squared = squared_distances(self.x.values, self.y.values, own, other)
        touched = np.unique(own)
        held = np.isfinite(self.squared[touched])
        own = np.concatenate([np.repeat(touched, held.sum(axis=1)), own])
        other = np.concatenate([self.index[touched][held], other])
        squared = np.concatenate([self.squared[touched][held], squared])
        _, rank, order = _ranked(own, squared, other)
        kept = rank < self.k
        rows = own[order][kept]
        self.index[rows, rank[kept]] = other[order][kept]
        self.squared[rows, rank[kept]] = squared[order][kept]
        scaled = self.squared[touched, -1] / (2 * self.x.scale**2)
        # Candidates come in ascending order, so that nothing can displace a k-th that is at distance zero.
        done = np.where(scaled == 0, -np.inf, _float32_above(scaled))
        self.limits[touched] = np.minimum(self.limits[touched], done)

    def _first_limits(self, tile: Tile, axis: int) -> None:
        """Rows that see their first tile get a limit from it, lest all of it become candidates."""
        low = tile.low if axis == 0 else tile.low.T
        start = tile.first if axis == 0 else tile.second
        new = np.flatnonzero(self.limits[start : start + len(low)] == _FAR)
        if low.shape[1] <= self.k or not len(new):
            return
        kth = np.partition(low[new], self.k - 1, axis=1)[:, self.k - 1]
        other = tile.y if axis == 0 else tile.x
        first = tile.second if axis == 0 else tile.first
        widest = first + int(other.half[first : first + low.shape[1]].argmax())
        i, j = (start + new, widest) if axis == 0 else (widest, start + new)
        self.limits[start + new] = _float32_above(kth + tile.width(i, j))


_FAR = np.finfo(np.float32).max
_TINY = 2.0**-100  # scaled; far above what products of numbers below float32's range lose


def _bound(dimension: int) -> float:
    # A piece and the sum of pieces; 32 covers the rounding of rows and h to float32 and the two additions, with room.
    return (min(dimension, PIECE) + dimension // PIECE + 32) * 2.0**-24


def _float32_above(values: np.ndarray) -> np.ndarray:
    return np.nextafter(values.astype(np.float32), np.float32(np.inf))


def _ranked(own: np.ndarray, *keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct owners, and the place of each entry, in ``order``, among those of its owner by ascending keys."""
    order = np.lexsort((*reversed(keys), own))
    touched, first, count = np.unique(own[order], return_index=True, return_counts=True)
    return touched, np.arange(len(own)) - np.repeat(first, count), order


def _centred(values: np.ndarray, centre: np.ndarray, scale: float) -> Iterator[np.ndarray]:
    return (((part - centre) / scale).astype(np.float32) for part in _parts(values))


def _parts(values: np.ndarray) -> Iterator[np.ndarray]:
    step = max(1, CHUNK // values.shape[1])
    return (values[i : i + step] for i in range(0, len(values), step))
