"""The nearest real images of samples, whatever was done to a copy: noise, blur, moves, mirroring, other colours.

**Registered distance.** For images x, y and a transform T of a small group (moves by up to s pixels, mirrored or not)

    d(x, y) = min_T sqrt(2 - 2 |corr(T x, y)|),   corr over the pixels where T x and y overlap, more than half of all,

lies in [0, sqrt 2] and is 0 for every copy of another brightness, contrast or sign, moved or mirrored. It is taken in
two spaces: the images, and the images blurred, where noise and blur weigh less.

**Search.** The distance is taken to ``CANDIDATES`` images: those whose means of blocks, about 8 x 8 of them and in
principal components, correlate most with the sample's under every second move. That is one product of all samples,
moves and images; the rest grows like the number of samples.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.ndimage import correlate1d

SIDE, COARSE_SIDE = 32, 8  # larger images are shrunk by block means: for distances, and for the search
RANK = 64  # principal components of the search
CANDIDATES = 48  # images of the search whose distance is taken
KEPT = 10  # nearest ones that are told
SPACES = ("images", "blurred")
PREPARED = 1024  # gallery images that are made ready at a time
QUERIES, COLUMNS = 64, 512  # samples and gallery images at a time: products stay in the cache
_FLAT = 1e-3  # standard deviation, of grey levels in [0, 1], below which a window is one colour


@dataclass(frozen=True)
class Moves:
    """The transforms that are searched: all of max(|down|, |right|) <= most, each mirrored or not."""

    most: int

    @property
    def steps(self) -> list[tuple[int, int]]:
        """(down, right) of every move."""
        reach = range(-self.most, self.most + 1)
        return [(down, right) for down in reach for right in reach]


@dataclass(frozen=True, eq=False)
class Gallery:
    """Real images, prepared for the search.

    Attributes:
        moves: what is searched.
        basis: principal components of the coarse images, float32 (D, r).
        coarse: the images in it, float32 (m, r).
        spaces: for each of ``SPACES`` the centred images, float32 (m, C, H, W).
    """

    moves: Moves
    basis: np.ndarray
    coarse: np.ndarray
    spaces: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return len(self.coarse)


@dataclass(frozen=True, eq=False)
class Found:
    """The nearest gallery images of n samples in one space, nearest first.

    Attributes:
        index: rows of the gallery, int32 (n, k).
        distance: registered, float32 (n, k).
        move: index into ``Moves.steps`` of the best move of the sample, int16 (n, k).
        mirrored, inverted: what else was done to it, bool (n, k).
    """

    index: np.ndarray
    distance: np.ndarray
    move: np.ndarray
    mirrored: np.ndarray
    inverted: np.ndarray

    @property
    def ratio(self) -> np.ndarray:
        """Distance to the nearest over that to the second nearest image, (n,); 1 where both are 0."""
        first, second = self.distance[:, 0], self.distance[:, 1]
        return np.where(second > 0, first / np.where(second > 0, second, 1), 1.0)

    @property
    def correlation_ratio(self) -> np.ndarray:
        """Correlation with the second nearest over that with the nearest image, (n,); 1 where that is 0."""
        first, second = (1 - self.distance[:, k].astype(np.float64) ** 2 / 2 for k in (0, 1))
        return np.where(first > 0, second / np.where(first > 0, first, 1), 1.0)

    def rows(self, index: np.ndarray) -> "Found":
        """Those of some samples, (m,)."""
        return Found(**{name: getattr(self, name)[index] for name in self.__dataclass_fields__})


def gallery(images: np.ndarray) -> Gallery:
    """Prepare real images, uint8 (m, C, H, W), m >= 3.

    Raises:
        ValueError: they are no such images, or fewer.
    """
    if len(images) < 3:
        raise ValueError(f"Copies are looked for among three real images at least, got {len(images)}")
    shape = shrunk(_checked(images)[:1], SIDE).shape[1:]
    spaces = tuple(np.empty((len(images), *shape), dtype=np.float32) for _ in SPACES)
    parts = []
    for rows in _slices(len(images), PREPARED):
        small = shrunk(images[rows], SIDE)
        parts.append(unit(shrunk(small, COARSE_SIDE)).reshape(len(small), -1))
        spaces[0][rows], spaces[1][rows] = centred(small), centred(blurred(small))
    coarse = np.concatenate(parts)
    _, vectors = np.linalg.eigh(coarse.T @ coarse)
    basis = np.ascontiguousarray(vectors[:, ::-1][:, :RANK])
    return Gallery(Moves(min(2, max(1, min(shape[1:]) // 8))), basis, coarse @ basis, spaces)


def shrunk(images: np.ndarray, side: int) -> np.ndarray:
    """Means of the smallest blocks that leave at most ``side`` pixels a side, float32 in [0, 1]."""
    images = np.asarray(images)
    scale = np.float32(1 / 255 if images.dtype == np.uint8 else 1)
    n, c, h, w = images.shape
    block = -(-max(h, w) // side)
    high, wide = min(block, h), min(block, w)  # a thin image keeps a row
    top, left = h % high // 2, w % wide // 2  # the middle, which a mirror keeps
    h, w = h // high, w // wide
    cut = images[:, :, top : top + h * high, left : left + w * wide].reshape(n, c, h, high, w, wide)
    return cut.mean(axis=(3, 5), dtype=np.float32) * scale


def centred(images: np.ndarray) -> np.ndarray:
    """Images (n, C, H, W) less their mean."""
    return images - images.mean(axis=(1, 2, 3), keepdims=True)


def unit(images: np.ndarray) -> np.ndarray:
    """Images of mean 0 and norm 1; those of one colour become 0."""
    images = centred(images)
    norm = np.sqrt(np.einsum("nchw,nchw->n", images, images))[:, None, None, None]
    flat = norm < _FLAT * np.sqrt(images[0].size)
    return np.where(flat, 0, images / np.where(flat, 1, norm)).astype(np.float32)


def blurred(images: np.ndarray) -> np.ndarray:
    """Images under (1, 4, 6, 4, 1) / 16 in both directions; their edges go on."""
    weights = np.array([1, 4, 6, 4, 1]) / 16
    for axis in (2, 3):
        images = correlate1d(images, weights, axis=axis, mode="nearest")
    return images


def moved(images: np.ndarray, down: int, right: int, *, mode: Literal["edge", "constant"] = "edge") -> np.ndarray:
    """Images moved by whole pixels; what comes in is the edge ("edge") or 0 ("constant")."""
    most = max(abs(down), abs(right))
    wide = np.pad(images, [(0, 0), (0, 0), (most, most), (most, most)], mode=mode)
    h, w = images.shape[2:]
    return wide[:, :, most - down : most - down + h, most - right : most - right + w]


def nearest(images: np.ndarray, real: Gallery, own: np.ndarray | None = None) -> tuple[Found, ...]:
    """The nearest images of samples, uint8 (n, C, H, W), in each of ``SPACES``.

    Args:
        images: the samples.
        real: what they are compared with.
        own: rows of the gallery (n,) that are the samples themselves, which are left out; -1 for none.

    Raises:
        ValueError: there are none, or they are no such images.
    """
    if not len(_checked(images)):
        raise ValueError("Copies are looked for among samples, got none")
    own = np.full(len(images), -1) if own is None else np.asarray(own)
    parts = []
    for rows in _slices(len(images), QUERIES):
        small = shrunk(images[rows], SIDE)
        candidates = _candidates(small, real, own[rows])
        kinds = (centred(small), centred(blurred(small)))
        parts.append([_compared(x, y, candidates, real.moves) for x, y in zip(kinds, real.spaces, strict=True)])
    return tuple(joined([part[space] for part in parts]) for space in range(len(SPACES)))


@dataclass(frozen=True)
class Flag:
    """A sample that lies nearer to a real image than nearly all held-out images do, for their surroundings.

    Attributes:
        sample, nearest: rows of the samples and of the gallery.
        space: in which the ratio is rarest.
        distance: registered distance.
        ratio: to the distance to the second nearest.
        chance: share of held-out images whose ratio is as small.
        down, right, mirrored, inverted: what the sample has to undergo, after mirroring moved, to fit its image.
    """

    sample: int
    nearest: int
    space: str
    distance: float
    ratio: float
    chance: float
    down: int
    right: int
    mirrored: bool
    inverted: bool


def flags(
    found: Sequence[Found],
    ratios: Sequence[np.ndarray],
    held_out: Sequence[np.ndarray],
    moves: Moves,
    names: Sequence[str],
    *,
    most: float = 0.002,
) -> list[Flag]:
    """Samples of a ratio that at most a share ``most`` of the held-out images have, the rarest and then nearest first.

    Args:
        found: the nearest images, in each space.
        ratios, held_out: of the samples (n,) and of held-out images (m,), one kind in each space after the other.
        moves: what was searched.
        names: of the ratios.
        most: that share, as far as m images can tell it.
    """
    rarity = [np.searchsorted(np.sort(real), own, side="right") + 1 for real, own in zip(held_out, ratios, strict=True)]
    chance = np.stack(rarity) / (len(held_out[0]) + 1)
    most = max(most, 1 / (len(held_out[0]) + 1))  # as rare as so few can tell
    kind = np.lexsort((np.stack(ratios), chance), axis=0)[0]
    result = []
    for k in np.flatnonzero(chance.min(axis=0) <= most):
        one = found[kind[k] % len(found)]
        down, right = moves.steps[one.move[k, 0]]
        near = float(one.distance[k, 0]), float(ratios[kind[k]][k]), float(chance[kind[k], k])
        undone = down, right, bool(one.mirrored[k, 0]), bool(one.inverted[k, 0])
        result.append(Flag(int(k), int(one.index[k, 0]), names[kind[k]], *near, *undone))
    return sorted(result, key=lambda flag: (flag.chance, flag.distance))


def _candidates(small: np.ndarray, real: Gallery, own: np.ndarray) -> np.ndarray:
    """The images (n, k) that correlate most with the samples under a coarse grid of moves, in ``basis``."""
    steps = [(down, right) for down, right in real.moves.steps if (down + right) % 2 == 0 or real.moves.most == 1]
    variants = [
        unit(shrunk(moved(one, *step), COARSE_SIDE)).reshape(len(small), -1) @ real.basis
        for one in (small, small[..., ::-1])
        for step in steps
    ]
    stacked = np.concatenate(variants)  # variant by variant
    score = np.empty((len(small), len(real)), dtype=np.float32)
    for columns in _slices(len(real), COLUMNS):
        product = stacked @ real.coarse[columns].T
        of_variant = product.reshape(len(variants), len(small), -1)
        np.maximum(of_variant.max(axis=0), -of_variant.min(axis=0), out=score[:, columns])
    score[np.flatnonzero(own >= 0), own[own >= 0]] = -1
    k = min(CANDIDATES, len(real) - 1)
    return np.argpartition(score, -k, axis=1)[:, -k:]


def _compared(x: np.ndarray, real: np.ndarray, candidates: np.ndarray, moves: Moves) -> Found:
    """Registered distances of samples (n, C, H, W) and their candidates (n, k)."""
    n, k = candidates.shape
    steps, kinds = moves.steps, (x, x[..., ::-1])
    y = real[candidates].reshape(n, k, -1)
    inside = [moved(np.ones_like(x[:1]), *step, mode="constant") for step in steps]
    window = np.concatenate(inside).reshape(len(steps), -1)  # where a moved image lies
    large = 2 * window.sum(axis=1)[:, None] > window.shape[1]  # of a few pixels all images correlate
    pixels = np.maximum(window.sum(axis=1), 1)[:, None]
    sums, squares = (np.swapaxes(power @ window.T, 1, 2) for power in (y, y * y))  # (n, steps, k)
    spread = squares - sums**2 / pixels
    best = np.full((n, k), -1.0, dtype=np.float32)
    move, mirrored, inverted = (np.zeros((n, k), dtype=kind) for kind in (np.int16, bool, bool))
    flat = (_FLAT**2 * pixels)[None]
    for mirror, one in enumerate(kinds):
        variants = np.stack([moved(one, *step, mode="constant").reshape(n, -1) for step in steps], axis=1)
        own, own_squares = variants.sum(axis=2)[..., None], np.einsum("nsd,nsd->ns", variants, variants)[..., None]
        own_spread = own_squares - own**2 / pixels
        product = variants @ np.swapaxes(y, 1, 2) - own * sums / pixels
        usable = (own_spread > flat) & (spread > flat) & large
        correlation = np.where(usable, product / np.sqrt(np.where(usable, own_spread * spread, 1)), 0)
        at = np.abs(correlation).argmax(axis=1)
        value = np.take_along_axis(correlation, at[:, None], axis=1)[:, 0]
        better = np.abs(value) > best
        best = np.where(better, np.abs(value), best)
        move, mirrored = np.where(better, at, move), np.where(better, bool(mirror), mirrored)
        inverted = np.where(better, value < 0, inverted)
    distance = np.sqrt(2 * np.clip(1 - best, 0, 1)).astype(np.float32)
    order = np.argsort(distance, axis=1, kind="stable")[:, :KEPT]
    columns = (candidates.astype(np.int32), distance, move.astype(np.int16), mirrored, inverted)
    return Found(*(np.take_along_axis(column, order, axis=1) for column in columns))


def joined(parts: Sequence[Found]) -> Found:
    """What was found of several sets of samples, one after the other."""
    names = Found.__dataclass_fields__
    return Found(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def _checked(images: np.ndarray) -> np.ndarray:
    if images.dtype != np.uint8 or images.ndim != 4:
        raise ValueError(f"Copies are looked for among uint8 images (n, C, H, W), got {images.dtype} {images.shape}")
    return images


def _slices(n: int, step: int) -> Iterator[slice]:
    return (slice(i, min(n, i + step)) for i in range(0, n, step))
