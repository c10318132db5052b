"""The Brenier potential u(x) = max_i <x, y_i> + h_i; its gradient T(x) = y_i*, i* the argmax, is the transport map.

x is a draw of the source measure itself (N(0, I) or U[0, 1]^d), the atoms are as given. Products are taken between
x - centre and y_i - mean y in float32, in fixed tiles (:mod:`dpmot.tiles`): the bits of one row do not depend on its
batch. Ties go to the lowest index; only atoms that are one point and have one height share the draws of their cell.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from dpmot.device import ordinary
from dpmot.tiles import in_tiles, product, tiles
from dpmot.transport.atoms import Atoms, blocks, rows
from dpmot.transport.given import between, real
from dpmot.transport.noise import Plain
from dpmot.transport.problem import MEMORY, SemiDiscreteProblem
from dpmot.transport.race import winners
from dpmot.transport.workers import side_by_side

IN_MEMORY = MEMORY // 3  # bytes that the atoms of a potential may take


class BrenierPotential:
    """u_h for atoms y and heights h.

    Args:
        atoms: `Atoms`, or a tensor (N, d) or (N, *S).
        heights: (N,), kept as float64; every gauge gives the same cells.
        source_measure: "normal" or "uniform": what x is drawn from.
        memory: bytes that atoms as floats may take; what does not fit is computed once for all noises of a call.
        masses: (N,), in whose proportion atoms that are the same point share its draws; None shares them evenly.

    Raises:
        ValueError: a shape, a NaN, an unknown source measure.
    """

    @ordinary()
    def __init__(
        self,
        atoms: Atoms | Tensor | np.ndarray,
        heights: Tensor,
        source_measure: str = "normal",
        memory: int = IN_MEMORY,
        masses: Tensor | None = None,
    ) -> None:
        self.problem = SemiDiscreteProblem(atoms, masses, source_measure, memory)
        self.atoms, self.memory, self.copies = self.problem.atoms, memory, self.problem.copies
        self.heights = self.problem.checked(heights)
        highest = self.heights if self.copies is None else self.copies.highest(self.heights)
        self._centred_heights = self.problem.different.centred_heights(highest).to(self.problem.dtype)

    @cached_property
    def points(self) -> Atoms:
        """The centred points that differ, in memory if they fit."""
        return replace(self.problem.different.centred, dtype=self.problem.dtype).in_memory(self.memory)

    def _atoms(self, points: Tensor, x: Tensor) -> Tensor:
        """Numbers of atoms for those of points (B, ...) to which x is sent."""
        if self.copies is None:
            return points
        here = self.copies.highest(self.heights)[self.copies.names] == self.heights
        return self.copies.spread(points, real(x, "x").flatten(1).float(), here * self.problem.masses)

    def __call__(self, x: Tensor) -> Tensor:
        """u(x): (B, d) or (B, *S) -> (B,), float64."""
        cell = self.cell(x)
        return self.planes(x, cell[:, None])[:, 0]

    def planes(self, x: Tensor, index: Tensor) -> Tensor:
        """<x, y_j> + h_j of the planes named: x (B, d) or (B, *S), index (B, k) -> float64 (B, k)."""
        y = self.rows(index.flatten()).unflatten(0, index.shape).double()
        x = x if isinstance(x, Tensor) else real(x, "x")
        return (x.flatten(1).to(y)[:, None] * y).sum(2) + self.heights[index]

    @ordinary()
    def cell(self, x: Tensor) -> Tensor:
        """Index of the atom that x is sent to: (B, d) or (B, *S) -> int64 (B,)."""
        pieces, heights = [Plain(tile) for tile in self._tiles(x)], [self._centred_heights]
        with side_by_side(heights[0].device) as team:
            races = winners(pieces, self.points, heights, over=team.over, scratch=team.scratch)
        return self._atoms(torch.cat([race.cell for [[race]] in races])[: len(x)], x)

    @ordinary()
    def cells(self, x: Tensor, k: int) -> Tensor:
        """Indices of the k largest planes at x, best first: (B, d) or (B, *S) -> int64 (B, k).

        Raises:
            ValueError: k is not in 1..N.
        """
        if not (between(k, 0, len(self.points) + 1) and hasattr(k, "__index__")):
            allowed = f"1..{len(self.points)}, the number of points that differ"
            raise ValueError(f"k = {k} planes were asked for; choose {allowed}")
        pieces = self._tiles(x)
        best = [(z.new_empty(len(z), 0), z.new_empty(len(z), 0, dtype=torch.int64)) for z in pieces]
        for i, j, y in blocks(self.points):
            for place, (z, (scores, index)) in enumerate(zip(pieces, best, strict=True)):
                scores = torch.cat([scores, self._scored(z, i, j, y)], 1)
                index = torch.cat([index, torch.arange(i, j, device=z.device).expand(len(z), -1)], 1)
                order = torch.sort(scores, dim=1, descending=True, stable=True).indices[:, :k]
                best[place] = scores.gather(1, order), index.gather(1, order)
        return self._atoms(torch.cat([index for _, index in best])[: len(x)], x)

    def transport(self, x: Tensor) -> Tensor:
        """T(x) = y_cell(x), the atoms unchanged: (B, d) or (B, *S) -> float32 (B, d)."""
        return self.rows(self.cell(x))

    def rows(self, index: Tensor) -> Tensor:
        """The atoms of these numbers, unchanged: int64 (B,) -> float32 (B, d)."""
        return rows(self.atoms, index)

    def scores(self, z: Tensor) -> Iterator[tuple[int, int, Tensor, Tensor]]:
        """Blocks of atoms (i, j, y_i..y_{j-1} - mean y, their scores at z), scores up to one constant per row of z."""
        for i, j, y in blocks(self.points):
            yield i, j, y, self._scored(z, i, j, y)

    def _scored(self, z: Tensor, i: int, j: int, y: Tensor) -> Tensor:
        return product(z.to(y.dtype), y.T) + self._centred_heights[i:j]

    def tiled(self, x: Tensor, evaluate: Callable[[Tensor], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """``evaluate`` of z = x - centre, float32 (tile, d), in fixed tiles: tensors (tile, ...) -> (B, ...).

        Raises:
            ValueError: x has another shape, or is not finite.
        """
        return tuple(values[: len(x)] for values in in_tiles(evaluate, torch.cat(self._tiles(x))))

    def _tiles(self, x: Tensor) -> list[Tensor]:
        """z = x - centre in fixed tiles, all at once: atoms may be computed anew for every pass.

        An empty batch has one tile too, which gives results their types and shapes.
        """
        x = real(x, "x").to(self.problem.mean.device, torch.float32)
        if x.ndim < 2 or x[0:1].numel() not in (0, self.atoms.dim) or not torch.isfinite(x).all():
            raise ValueError(
                f"x has shape {tuple(x.shape)}; give finite numbers of shape (B, {self.atoms.dim}) or (B, *S)"
            )
        z = x.flatten(1) - self.problem.measure.centre
        return list(tiles(z if len(z) else z.new_zeros(1, self.atoms.dim)))
