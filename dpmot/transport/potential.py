"""The Brenier potential u(x) = max_i <x, y_i> + h_i; its gradient T(x) = y_i*, i* the argmax, is the transport map.

x is a draw of the source measure itself (N(0, I) or U[0, 1]^d), the atoms are as given. Products are taken between
x - centre and y_i - mean y in float32, in fixed tiles (:mod:`dpmot.tiles`): the bits of one row do not depend on its
batch. Ties go to the lowest index.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dpmot.tiles import in_tiles, tiles
from dpmot.transport.atoms import Atoms, blocks, rows
from dpmot.transport.kernel import winners
from dpmot.transport.noise import Plain
from dpmot.transport.problem import SemiDiscreteProblem, checked_heights


@dataclass(frozen=True, eq=False)
class BrenierPotential:
    """u_h for atoms y and heights h.

    Args:
        atoms: `Atoms`, or a tensor (N, d) or (N, *S).
        heights: (N,), kept as float64; every gauge gives the same cells.
        source: "normal" or "uniform": what x is drawn from.

    Raises:
        ValueError: a shape, a NaN, an unknown source.
    """

    atoms: Atoms | Tensor
    heights: Tensor
    source: str = "normal"
    problem: SemiDiscreteProblem = field(init=False, repr=False)
    _centred_heights: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        problem = SemiDiscreteProblem(self.atoms, source=self.source)
        heights = checked_heights(self.heights, len(problem.atoms)).to(problem.mean.device)
        centred = problem.centred_heights(heights)
        values = {"atoms": problem.atoms, "heights": heights, "problem": problem}
        for name, value in (values | {"_centred_heights": (centred - centred.mean()).float()}).items():
            object.__setattr__(self, name, value)

    def __call__(self, x: Tensor) -> Tensor:
        """u(x): (B, d) or (B, *S) -> (B,), float64."""
        cell = self.cell(x)
        return (x.flatten(1).double() * rows(self.atoms, cell).double()).sum(1) + self.heights[cell]

    def cell(self, x: Tensor) -> Tensor:
        """Index of the atom that x is sent to: (B, d) or (B, *S) -> int64 (B,)."""
        z = self._centred(x)
        pieces = [Plain(tile) for tile in tiles(z)]  # all at once: atoms may be computed anew for every pass
        races = winners(pieces, self.problem.points, [self._centred_heights]) if pieces else []
        none = torch.empty(0, dtype=torch.int64, device=z.device)
        return torch.cat([none] + [race.cell for [[race]] in races])[: len(z)]

    def cells(self, x: Tensor, k: int) -> Tensor:
        """Indices of the k largest planes at x, best first: (B, d) or (B, *S) -> int64 (B, k).

        Raises:
            ValueError: k is not in 1..N.
        """
        if not 1 <= k <= len(self.atoms):
            raise ValueError(f"k = {k} planes were asked for; choose 1..{len(self.atoms)}, the number of atoms")
        return self._tiled(x, lambda z: self._ranked(z, k))

    def transport(self, x: Tensor) -> Tensor:
        """T(x) = y_cell(x), the atoms unchanged: (B, d) or (B, *S) -> float32 (B, d)."""
        return rows(self.atoms, self.cell(x))

    def _ranked(self, z: Tensor, k: int) -> Tensor:
        scores, index = z.new_empty(len(z), 0), torch.empty(len(z), 0, dtype=torch.int64, device=z.device)
        for i, j, y in blocks(self.problem.points):
            scores = torch.cat([scores, z @ y.T + self._centred_heights[i:j]], 1)
            index = torch.cat([index, torch.arange(i, j, device=z.device).expand(len(z), -1)], 1)
            order = torch.sort(scores, dim=1, descending=True, stable=True).indices[:, :k]
            scores, index = scores.gather(1, order), index.gather(1, order)
        return index

    def _tiled(self, x: Tensor, evaluate: Callable[[Tensor], Tensor]) -> Tensor:
        z = self._centred(x)
        # An empty batch still passes one tile, which gives the result its type and shape.
        return in_tiles(evaluate, z) if len(z) else in_tiles(evaluate, z.new_zeros(1, z.shape[1]))[:0]

    def _centred(self, x: Tensor) -> Tensor:
        if x.ndim < 2 or x[0:1].numel() not in (0, self.atoms.dim) or not torch.isfinite(x).all():
            raise ValueError(
                f"x has shape {tuple(x.shape)}; give finite numbers of shape (B, {self.atoms.dim}) or (B, *S)"
            )
        return x.detach().flatten(1).float() - self.problem.law.centre
