"""The share of copies: how many samples are copies of the training images, or of the test images?

Of samples and of held-out images alike the nearest and second nearest real images are found, in the gallery of all
splits: images by registered distance, so that noisy, blurred, moved, mirrored and recoloured copies are found too
(:mod:`dpmot.metrics._registered`); points by Euclidean distance. Their ratios, and the splits of the nearest ones, tell
the share (:mod:`dpmot.statistics.copies`). What is a copy by rotation, zoom or cropping is not searched.

``copies_pixels`` is that share. ``flagged_pixels`` is the share of samples whose ratio hardly a held-out image has and
whose nearest image is of that split; copies.csv names them.

An image that is there twice, in one split or in two, mirrored or not, hangs once, in the first of A, C, B: a copy of it
would be as near to the second as to the first. That copies can be told is tried: where the real images themselves,
handed back, are not found to be copies (data of one colour, of few values, with near duplicates), upper ends are 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from hashlib import blake2b

import numpy as np
from scipy.spatial import cKDTree

from dpmot import seeds
from dpmot.features._kept import Keep
from dpmot.metrics import Fact
from dpmot.metrics._registered import (
    KEPT,
    QUERIES,
    SPACES,
    Flag,
    Found,
    Gallery,
    Moves,
    flags,
    gallery,
    joined,
    nearest,
)
from dpmot.statistics.copies import Ratios, Share, share

FACTS = {
    "copies": Fact("none", "share of copies", digits=3, least=0.01, quality=False, replicates=False, share=True),
    "flagged": Fact("none", "flagged as copies", digits=3, least=0.01, quality=False, replicates=False, share=True),
}
SPACE = "gallery"
ROLES = {"train": ("A", "BC"), "test": ("C", "B")}  # reference -> the split that is copied, and its decoys
HELD_OUT = 4000  # real images whose ratios are taken
SEARCHED = 2000  # samples of a row that are searched for
TRIED = 200  # real images that are handed back, to see whether copies can be told
PIECE = 8 * QUERIES  # real images that are searched at a time where what is found is kept


class Copies:
    """Real images of the splits, among which those are sought that samples are copies of.

    Args:
        splits: "A", "B", "C", or some of them -> uint8 images (n, C, H, W), or float points (n, d). Split B at least is
            copied by no method; split A is what networks are trained on.
        keep: keeps what is found of these images alone; None: nobody does.

    Raises:
        ValueError: neither images nor points, fewer than three, no split B, or a split whose images are all in another.
    """

    def __init__(self, splits: Mapping[str, np.ndarray], keep: Keep | None = None) -> None:
        if "B" not in splits or len(splits) < 2:
            raise ValueError(f"Copies need split B, which no method copies, and another, got {', '.join(splits)}")
        kept = _distinct(splits)
        lost = [name for name, rows in kept.items() if not len(rows)]
        if lost:
            raise ValueError(
                f"Every image of split {lost[0]} is in another split too, so copies cannot be told from new samples: "
                "give other splits, or leave copies out of the metrics"
            )
        self._keep = keep
        self.sizes = {name: len(rows) for name, rows in kept.items()}
        self.split = np.repeat(list(splits), list(self.sizes.values()))
        self._row = np.concatenate(list(kept.values()))
        self._real = np.concatenate([images[kept[name]] for name, images in splits.items()])
        of_points, of_images = ("points",), (*SPACES, *(f"{space}, correlation" for space in SPACES))
        self.kinds: tuple[str, ...] = of_images if self._real.ndim == 4 else of_points

    def search(self, samples: np.ndarray) -> tuple[Found, ...]:
        """The nearest real images of samples (n, C, H, W) or (n, d), as the real ones are, in each space."""
        kinds: dict[bytes, int] = {}
        which = np.array([kinds.setdefault(one.tobytes(), len(kinds)) for one in samples])
        _, first = np.unique(which, return_index=True)  # each distinct sample once
        return tuple(one.rows(which) for one in self.nearest(samples[first]))

    def nearest(self, samples: np.ndarray, own: np.ndarray | None = None) -> tuple[Found, ...]:
        """The nearest real images of samples; ``own`` (n,) are the rows of the gallery that they are, left out."""
        if self._real.ndim == 4:
            return nearest(samples, self._gallery, own)
        return (_nearest_points(samples, self._tree, own),)

    def of_real(self, rows: np.ndarray, *, handed_back: bool = False) -> tuple[Found, ...]:
        """The nearest other ones of real images, by their rows in the gallery; with themselves, where handed back."""
        if self._keep is None:
            return self.nearest(self._real[rows], None if handed_back else rows)
        parts = [self._kept(rows[k : k + PIECE], self._keep, handed_back) for k in range(0, len(rows), PIECE)]
        return tuple(joined(some) for some in zip(*parts, strict=True))

    def _kept(self, rows: np.ndarray, keep: Keep, handed_back: bool) -> tuple[Found, ...]:
        """The same of a few."""
        names = list(Found.__dataclass_fields__)

        def compute() -> tuple[np.ndarray, ...]:
            found = self.nearest(self._real[rows], None if handed_back else rows)
            return tuple(getattr(one, name) for one in found for name in names)

        arrays = keep(__name__, ["nearest", rows.tolist(), handed_back], compute)
        return tuple(Found(*arrays[k : k + len(names)]) for k in range(0, len(arrays), len(names)))

    def rows(self, name: str) -> np.ndarray:
        """The rows of a split in the gallery."""
        return np.flatnonzero(self.split == name)

    def shares(self, found: Sequence[Found]) -> dict[str, Share]:
        """ "train" and "test", as far as these splits are there -> the share of copies of their images."""
        return self.shares_of(self.ratios(found))

    def shares_of(self, samples: Sequence[Ratios]) -> dict[str, Share]:
        """The same from the ratios of samples."""
        roles = [name for name, (target, _) in ROLES.items() if target in self.sizes]
        found = {name: self._share(samples, name) for name in roles}
        return {name: one if name in self._told else replace(one, high=1.0) for name, one in found.items()}

    @cached_property
    def _told(self) -> set[str]:
        """The references whose own images, handed back, are found to be copies, by more than half."""
        tried = {name: self.rows(target)[:TRIED] for name, (target, _) in ROLES.items() if target in self.sizes}
        of_real = {name: self.of_real(rows, handed_back=True) for name, rows in tried.items()}
        found = {name: self._share(self.ratios(some), name) for name, some in of_real.items()}
        return {name for name, one in found.items() if one.value > 0.5}

    def _share(self, samples: Sequence[Ratios], name: str) -> Share:
        target, decoys = ROLES[name]
        others = [decoy for decoy in decoys if decoy in self.sizes]
        return share(samples, self.ratios(self.held_out), self.sizes, target=target, decoys=others)

    def ratios(self, found: Sequence[Found]) -> tuple[Ratios, ...]:
        """What the share is estimated from, one for each of ``kinds``."""
        nearest = [(one.index[:, 0], self.split[one.index[:, 0]]) for one in found]
        ratios = [one.ratio for one in found]
        ratios += [one.correlation_ratio for one in found] if self._real.ndim == 4 else []
        return tuple(Ratios(ratio, *nearest[k % len(found)]) for k, ratio in enumerate(ratios))

    def flags(self, found: Sequence[Found]) -> list[Flag]:
        """Samples that lie nearer to a real image than nearly all held-out images do, the rarest first."""
        ratios, held_out = ([one.ratio for one in self.ratios(some)] for some in (found, self.held_out))
        return flags(found, ratios, held_out, self._moves, self.kinds)

    def image(self, row: int) -> tuple[str, int]:
        """Split of a row of the gallery, and its row there."""
        return str(self.split[row]), int(self._row[row])

    @cached_property
    def held_out(self) -> tuple[Found, ...]:
        """The nearest other real images of some of splits B and C, which no network was trained on."""
        rows = np.flatnonzero(np.isin(self.split, ["B", "C"]))
        rows = seeds.generator(0, "copies", "held out").permutation(rows)[:HELD_OUT]
        return self.of_real(rows)

    @property
    def _moves(self) -> Moves:
        return self._gallery.moves if self._real.ndim == 4 else Moves(0)

    @cached_property
    def _gallery(self) -> Gallery:
        return gallery(self._real)

    @cached_property
    def _tree(self) -> cKDTree:
        if self._real.ndim != 2 or len(self._real) < 3:
            raise ValueError(
                f"Copies are looked for among three images (n, C, H, W) or points (n, d), got {self._real.shape}"
            )
        return cKDTree(self._real)


def _distinct(splits: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The rows of each split that are no earlier row's image, mirrored or not, of it or of a split before it."""
    seen: set[bytes] = set()
    kept: dict[str, list[int]] = {name: [] for name in splits}
    for name in sorted(splits, key="ACB".index):
        for row, one in enumerate(splits[name]):
            mirrored = one[..., ::-1] if one.ndim == 3 else one
            key = blake2b(min(one.tobytes(), mirrored.tobytes()), digest_size=16).digest()
            if key not in seen:
                seen.add(key)
                kept[name].append(row)
    return {name: np.array(rows, dtype=np.int64) for name, rows in kept.items()}


def _nearest_points(samples: np.ndarray, real: cKDTree, own: np.ndarray | None) -> Found:
    """The nearest rows of a tree, in float64."""
    kept = min(KEPT, real.n - 1)
    distance, index = real.query(samples, kept + 1)
    other = np.ones(index.shape, dtype=bool) if own is None else index != own[:, None]
    order = np.argsort(~other, axis=1, kind="stable")[:, :kept]
    index, distance = (np.take_along_axis(one, order, axis=1) for one in (index, distance))
    none = np.zeros(index.shape, dtype=bool)
    return Found(index.astype(np.int32), distance, none.astype(np.int16), none, none)
