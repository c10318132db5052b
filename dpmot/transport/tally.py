"""How many draws fall into each cell, and how much the draws depend on each other.

Draws come in bundles: all rows made from one random block, with their mirror images (see `noise`). Draws of different
bundles are independent. chi2 is read off independent pairs only; pairs inside a bundle tell by how much the counts vary
more than those of independent draws.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, starmap

import numpy as np
import torch
from torch import Tensor

from dpmot.transport.atoms import TensorAtoms
from dpmot.transport.noise import MOST, Rows, bundle_size, draw
from dpmot.transport.problem import COLUMNS, SemiDiscreteProblem
from dpmot.transport.processes import Processes, Size
from dpmot.transport.race import SHAPES, Race, gathered, winners
from dpmot.transport.workers import side_by_side

NOISE = 2**28  # bytes of noise that meet atoms which are not in memory, at once
Counts = tuple[Tensor, list[Tensor], list[Race]]  # of a piece: counts and together, bundles, races; see `Tally`


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


@dataclass(eq=False)
class _Counter:
    """Builds a `Tally` over `number` cells, or labels of them, from draws in bundles of `size`."""

    number: int
    size: int
    labels: Tensor | None = None
    total: Tensor | int = 0  # counts and together, int64 (2, number)
    bundles: list[Tensor] = field(default_factory=list)
    races: list[Race] = field(default_factory=list)

    @property
    def narrow(self) -> torch.dtype:
        """Of the counts of a bundle."""
        return torch.int16 if self.size < 2**15 else torch.int32

    def count(self, races: list[Race], bundles: int) -> Counts:
        """What `add` takes, of a piece with so many bundles of rows and of its mirror images, if any."""
        cells = [race.cell if self.labels is None else self.labels[race.cell] for race in races]
        counts = torch.bincount(torch.cat(cells), minlength=self.number)
        together, counted = torch.zeros_like(counts), []
        if self.size == 2:
            together = 2 * torch.bincount(cells[0][cells[0] == cells[1]], minlength=self.number)
        elif self.size > 2:
            bundle = torch.arange(len(cells[0]), device=counts.device) % bundles
            places = torch.cat([bundle * self.number + cell for cell in cells])
            inside = torch.bincount(places, minlength=bundles * self.number).view(bundles, self.number)
            together = (inside * (inside - 1)).sum(0)
            counted = [inside.to(self.narrow)]
        return torch.stack([counts, together]), counted, [race for race in races if race.runners_up]

    def add(self, total: Tensor, bundles: list[Tensor], races: list[Race]) -> None:
        self.total = self.total + total
        self.bundles += bundles
        self.races += races

    def join(self, processes: Processes, sizes: list[Size], like: Race, sides: int) -> None:
        """Make this counter that of all pieces, of those sizes, where it was that of this process's own.

        Args:
            like: a race of no rows. sides: races of a piece, 2 with mirror images.
        """
        device = like.cell.device
        self.total = processes.total(torch.zeros(2, self.number, dtype=torch.int64, device=device) + self.total)
        if self.size > 2:
            own = torch.cat([torch.empty(0, self.number, dtype=self.narrow, device=device), *self.bundles])
            self.bundles = [processes.in_order(own, [size.bundles for size in sizes])]
        if like.runners_up:
            rows = [sides * size.rows for size in sizes]
            for name in Race.FIELDS:
                own = torch.cat([getattr(race, name) for race in (like, *self.races)])
                setattr(like, name, processes.in_order(own, rows))
            self.races = [like]

    def tally(self) -> Tally:
        counts, together = torch.as_tensor(self.total).double()
        bundles, draws = torch.cat(self.bundles) if self.bundles else None, float(counts.sum())
        return Tally(counts, together, draws * (draws - self.size), bundles, tuple(self.races))


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
    fused: bool | None = None,
    processes: Processes | None = None,
) -> list[Tally]:
    """Count at least `rows` draws (mirror images included) under each of the heights, on common noise.

    Args:
        heights: centred heights, each (N,).
        rows: draws; whole bundles are counted.
        generator: the noise stream; its draws do not depend on `SHAPES`.
        noise: one of `noise.KINDS`.
        labels: 0..G-1 of the atoms (N,): a last tally counts labels instead of cells, under the last heights.
        runners_up: keep the races, with who comes second in them.
        rough: products may be rounded to bfloat16 ("recycled" only), which near duplicates would not bear.
        most: turns of a bundle of "recycled" noise, at most: the fewer, the less draws depend on each other.
        fused: see `winners`.
        processes: that share the draws; each gets the tallies that one alone would have, to the bit.
    """
    number, dim, device = len(problem.atoms), problem.atoms.dim, problem.mean.device
    size, mirror = bundle_size(noise, dim, number, most), noise != "plain"
    atoms = problem.rough if rough and noise == "recycled" else problem.points
    rows = max(rows, 2 * size)  # chi2 needs independent pairs
    heights = [h.to(problem.dtype) for h in heights]
    counters = [_Counter(number, size) for _ in heights]
    if labels is not None:
        counters.append(_Counter(int(labels.max()) + 1, size, labels))
    tile, rows = SHAPES[device.type == "cuda"][0], -(-rows // (1 + mirror))
    sizes: list[Size] = []
    if processes is not None:
        known = [*heights, problem.sums, problem.mean, problem.masses, *([] if labels is None else [labels])]
        processes.agree(known, generator.bit_generator.state, rows, noise, most, runners_up, rough)
    drawn = draw(noise, problem.measure, (number, dim), rows, generator, tile=tile, device=device, most=most)
    drawn = drawn if processes is None else processes.share(drawn, sizes)

    def counted(piece: Rows, races: list[list[Race]]) -> list[Counts]:
        each = races if labels is None else [*races, races[-1]]  # labels are counted under the last heights
        return [counter.count(pair, piece.bundles) for counter, pair in zip(counters, each, strict=True)]

    raced = partial(winners, atoms=atoms, heights=heights, mirror=mirror, runners_up=runners_up, fused=fused)
    counts: Iterator[list[Counts]]
    with side_by_side(device) as team:
        if isinstance(atoms, TensorAtoms):  # a piece is a thread's, from its draws to their counts
            counts = team.over(lambda piece: counted(piece, raced([piece], scratch=team.scratch)[0]), drawn)
        else:
            batches = gathered(drawn, NOISE, team.threads)
            met = (zip(b, raced(b, scratch=team.scratch, over=team.over), strict=True) for b in batches)
            counts = starmap(counted, chain.from_iterable(met))
        for of_piece in counts:
            for counter, part in zip(counters, of_piece, strict=True):
                counter.add(*part)
    if processes is not None:
        for counter in counters:
            like = Race(0, device, runners_up=runners_up, dtype=problem.dtype)
            counter.join(processes, sizes, like, 1 + mirror)
    return [counter.tally() for counter in counters]
