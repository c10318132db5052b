"""Exact duplicates: atoms that are one point in float32 share one cell, and its draws are spread over them.

To which of them a draw x goes is a function of x: a hash of its bits is as good as a uniform number.
"""

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

from dpmot.transport.atoms import BLOCK, Atoms, rows, spacing

TOLD_APART = 2.0**-22  # sums of two rows that are the same in float32 differ by less, over the spread of the atoms


@dataclass(frozen=True, eq=False)
class ChosenAtoms:
    """Some of the atoms, by their numbers, int64 (n,)."""

    atoms: Atoms
    index: Tensor

    @property
    def dim(self) -> int:
        return self.atoms.dim

    @property
    def eps(self) -> float:
        return spacing(self.atoms)

    def __len__(self) -> int:
        return len(self.index)

    def block(self, i: int, j: int) -> Tensor:
        return self.rows(slice(i, j))

    def rows(self, index: Tensor | slice) -> Tensor:
        return rows(self.atoms, self.index[index])


@dataclass(frozen=True, eq=False)
class Copies:
    """Which atoms are the same point.

    Attributes:
        names: the point of each atom, int64 (N,), 0..G-1.
        first: the first atom of each point, int64 (G,).
    """

    names: Tensor
    first: Tensor

    def total(self, values: Tensor) -> Tensor:
        """Sums over the atoms of each point: (N, ...) -> (G, ...)."""
        return values.new_zeros(len(self.first), *values.shape[1:]).index_add(0, self.names, values)

    def highest(self, heights: Tensor) -> Tensor:
        """The largest height of each point: (N,) -> (G,)."""
        return heights[self.first].scatter_reduce(0, self.names, heights, "amax")

    def spread(self, points: Tensor, x: Tensor, weights: Tensor) -> Tensor:
        """An atom for each point that is named, drawn by the weights of its atoms: int64 (B, ...) -> (B, ...).

        Args:
            x: what is sent there, float32 (B, d).
            weights: (N,), at least one positive for every point.
        """
        hashes = [blake2b(row.tobytes(), digest_size=8).digest() for row in x.cpu().numpy()]
        u = torch.from_numpy(np.frombuffer(b"".join(hashes), dtype="<u4")[::2] / 2.0**32).to(weights)
        order = self.names.argsort(stable=True)
        share, last = weights[order].cumsum(0), self.names.bincount().cumsum(0) - 1
        top, own = share[last], self.total(weights)
        reached = top[points] - (1 - u.view(-1, *[1] * (points.ndim - 1))) * own[points]
        return order[torch.searchsorted(share, reached, right=True).minimum(last[points])]


def copies(points: Atoms, sums: Tensor, spread: float) -> Copies | None:
    """The atoms that are the same to the bit; None where all differ. Only those with nearly the same sum are compared.

    Args:
        points: centred, float32.
        sums: of their rows, up to a constant, float64 (N,).
        spread: root mean square of their norms, in the unit of the sums.
    """
    order = sums.argsort()
    least = TOLD_APART * spread + 4 * torch.finfo(sums.dtype).eps * float(sums.abs().max())
    close = torch.nn.functional.pad(sums[order].diff() <= least, (1, 1))
    names, found = np.arange(len(sums)), dict[bytes, int]()
    for part in order[close[1:] | close[:-1]].sort().values.split(BLOCK):
        y = (rows(points, part) + 0.0).cpu().numpy()  # -0 becomes 0
        for i, row in zip(part.tolist(), y, strict=True):
            names[i] = found.setdefault(blake2b(row.tobytes(), digest_size=16).digest(), i)
    first, numbers = np.unique(names, return_inverse=True)
    if len(first) == len(names):
        return None
    return Copies(torch.from_numpy(numbers).to(sums.device), torch.from_numpy(first).to(sums.device))
