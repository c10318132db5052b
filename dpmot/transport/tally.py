"""How many draws fall into each cell, and how much the draws depend on each other.

Draws come in bundles: all rows made from one random block, with their mirror images (see `noise`). Draws of different
bundles are independent. chi2 is read off independent pairs only; pairs inside a bundle tell by how much the counts vary
more than those of independent draws.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, starmap

import numpy as np
import torch
from torch import Tensor

from dpmot.transport.atoms import TensorAtoms
from dpmot.transport.noise import MOST, Rows, bundle_size, draw
from dpmot.transport.problem import COLUMNS, SemiDiscreteProblem
from dpmot.transport.race import SHAPES, Race, gathered, winners
from dpmot.transport.workers import Map, side_by_side

NOISE = 2**28  # bytes of noise that meet atoms which are not in memory, at once
Counts = tuple[Tensor, Tensor, list[Tensor], list[Race]]  # of a piece: counts, together, bundles, races; see `Tally`


@dataclass(frozen=True, eq=False)
class Tally:
    """Where the draws fell.

    Attributes:
        counts: c_i, float64 (N,).
        together: ordered pairs of *dependent* draws inside cell i, float64 (N,).
        pairs: ordered pairs of independent draws.
        bundles: counts of each of the G bundles, int16 or int32 (G, N), where they have more than two draws.
        races: the draws themselves, if runners-up were asked for.
    """

    counts: Tensor
    together: Tensor
    pairs: float
    bundles: Tensor | None = None
    races: tuple[Race, ...] = ()

    def __add__(self, other: "Tally") -> "Tally":
        """The counts of both; the draws of one are independent of the other's."""
        both = [tally.bundles for tally in (self, other) if tally.bundles is not None]
        return Tally(
            self.counts + other.counts,
            self.together + other.together,
            self.pairs + other.pairs + 2.0 * self.draws * other.draws,
            torch.cat(both) if both else None,
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
        """The same for the modes' sums F^T c, F (N, k); None where the tally keeps no bundles.

        The draws of a bundle say much the same about what changes slowly from atom to atom: it may be ten times I.
        """
        if self.bundles is None or not modes.numel():
            return None
        parts = zip(self.bundles.split(COLUMNS, dim=1), modes.split(COLUMNS), strict=True)
        sums, share = torch.zeros(len(self.bundles), modes.shape[1]).to(modes), self.counts / self.draws
        for counts, part in parts:
            sums += counts.double() @ part
        single = float(share @ modes.square().sum(1) - (modes.T @ share).square().sum())
        return float(sums.var(0).sum()) * len(sums) / (self.draws * max(single, 1e-300))


class _Counter:
    """Builds a `Tally` over `number` cells, or labels of them, from draws in bundles of `size`."""

    def __init__(self, number: int, size: int, labels: Tensor | None = None) -> None:
        self._number, self._size, self._labels = number, size, labels
        self._counts, self._together = torch.zeros(2, number, dtype=torch.int64)
        self._bundles: list[Tensor] = []
        self._races: list[Race] = []

    def count(self, races: list[Race], bundles: int) -> Counts:
        """What `add` takes, of a piece with so many bundles of rows and of its mirror images, if any."""
        cells = [race.cell if self._labels is None else self._labels[race.cell] for race in races]
        counts = torch.bincount(torch.cat(cells), minlength=self._number)
        together, counted = torch.zeros_like(counts), []
        if self._size == 2:
            together = 2 * torch.bincount(cells[0][cells[0] == cells[1]], minlength=self._number)
        elif self._size > 2:
            bundle = torch.arange(len(cells[0]), device=counts.device) % bundles
            places = torch.cat([bundle * self._number + cell for cell in cells])
            inside = torch.bincount(places, minlength=bundles * self._number).view(bundles, self._number)
            together = (inside * (inside - 1)).sum(0)
            counted = [inside.to(torch.int16 if self._size < 2**15 else torch.int32)]
        return counts, together, counted, [race for race in races if race.runners_up]

    def add(self, counts: Tensor, together: Tensor, bundles: list[Tensor], races: list[Race]) -> None:
        self._counts, self._together = counts + self._counts.to(counts), together + self._together.to(counts)
        self._bundles += bundles
        self._races += races

    def tally(self) -> Tally:
        bundles, draws = torch.cat(self._bundles) if self._bundles else None, float(self._counts.sum())
        pairs = draws * (draws - self._size)
        return Tally(self._counts.double(), self._together.double(), pairs, bundles, tuple(self._races))


def tally(
    problem: SemiDiscreteProblem,
    heights: list[Tensor],
    rows: int,
    generator: np.random.Generator,
    *,
    noise: str,
    labels: Tensor | None = None,
    runners_up: bool = False,
    rough: bool = False,
    most: int = MOST,
    tile: int | None = None,
    block: int | None = None,
    fused: bool | None = None,
) -> list[Tally]:
    """Count at least `rows` draws (mirror images included) under each of the heights, on common noise.

    Args:
        heights: centred heights, each (N,).
        rows: draws; whole bundles are counted.
        generator: the noise stream; its draws do not depend on `tile` or `block`.
        noise: one of `noise.KINDS`.
        labels: 0..G-1 of the atoms (N,): a last tally counts labels instead of cells, under the last heights.
        runners_up: keep the races, with who comes second in them.
        rough: products may be rounded to bfloat16 ("recycled" only), which near duplicates would not bear.
        most: turns of a bundle of "recycled" noise, at most: the fewer, the less draws depend on each other.
        tile, block: rows and atoms per product; they change the speed, and single draws that round across a wall. None:
            as suits the device.
        fused: see `winners`.
    """
    number, dim, device = len(problem.atoms), problem.atoms.dim, problem.mean.device
    size, mirror = bundle_size(noise, dim, number, most), noise != "plain"
    atoms = problem.rough if rough and noise == "recycled" else problem.points
    rows = max(rows, 2 * size)  # chi2 needs independent pairs
    heights = [h.float() for h in heights]
    counters = [_Counter(number, size) for _ in heights]
    if labels is not None:
        counters.append(_Counter(int(labels.max()) + 1, size, labels))
    tile, rows = tile or SHAPES[device.type == "cuda"][0], -(-rows // (1 + mirror))
    drawn = draw(noise, problem.measure, (number, dim), rows, generator, tile=tile, device=device, most=most)

    def counted(piece: Rows, races: list[list[Race]]) -> list[Counts]:
        each = races if labels is None else [*races, races[-1]]  # labels are counted under the last heights
        return [counter.count(pair, piece.bundles) for counter, pair in zip(counters, each, strict=True)]

    with side_by_side(device) as team:

        def raced(pieces: list[Rows], over: Map = map) -> list[list[list[Race]]]:
            return winners(
                pieces, atoms, heights, mirror=mirror, runners_up=runners_up, block=block, scratch=team.scratch,
                fused=fused, over=over
            )  # fmt: skip

        counts: Iterator[list[Counts]]
        if isinstance(atoms, TensorAtoms):  # a piece is a thread's, from its draws to their counts
            counts = team.over(lambda piece: counted(piece, raced([piece])[0]), drawn)
        else:
            batches = gathered(drawn, NOISE, team.threads)
            counts = starmap(counted, chain.from_iterable(zip(b, raced(b, team.over), strict=True) for b in batches))
        for of_piece in counts:
            for counter, part in zip(counters, of_piece, strict=True):
                counter.add(*part)
    return [counter.tally() for counter in counters]
