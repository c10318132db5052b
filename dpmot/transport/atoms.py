"""Atoms y_1, ..., y_N in R^d: the support of the target measure sum_i w_i delta(y_i).

A tensor in memory, or a recipe that computes rows on demand (`recipe.NoisyImages`: x0_i + sigma eps_i from uint8 images
and seeds) and never stores the (N, d) matrix. When all atoms move by one vector, the scores <x, y_i> + h_i of each x
change by one constant; so the argmax is taken over `Centred` atoms, where float32 loses nothing to a common offset.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

BLOCK, BYTES = 4096, 2**25  # atoms read at a time: so many, and no more bytes of float32
CACHED = 2**16  # numbers that are worked on at a time


class Atoms(Protocol):
    """What the solver needs to know about N points of R^d."""

    @property
    def dim(self) -> int:
        """d."""

    def __len__(self) -> int:
        """N."""

    def block(self, i: int, j: int) -> Tensor:
        """Rows i, ..., j-1: float32 (j-i, d)."""


@dataclass(frozen=True, eq=False)
class TensorAtoms:
    """Atoms in memory: the rows of one tensor (N, d) or (N, *S); the latter is flattened.

    Raises:
        ValueError: fewer than two axes, or no dimension.
    """

    values: Tensor
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        if self.values.ndim < 2 or self.values[:1].numel() == 0 < len(self.values):
            raise ValueError(f"Atoms have shape {tuple(self.values.shape)}; give (N, d) or (N, *S) with d >= 1")
        object.__setattr__(self, "values", self.values.detach().flatten(1).to(self.dtype))

    @property
    def dim(self) -> int:
        return self.values.shape[1]

    def __len__(self) -> int:
        return len(self.values)

    def block(self, i: int, j: int) -> Tensor:
        return self.values[i:j]

    def rows(self, index: Tensor) -> Tensor:
        return self.values[index]


@dataclass(frozen=True, eq=False)
class Centred:
    """y_i - mean, computed in each pass; in float64, so that a large common offset costs no digits.

    Args:
        atoms: the atoms as given.
        mean: float64 (d,).
        dtype: of the differences.
    """

    atoms: Atoms
    mean: Tensor
    dtype: torch.dtype = torch.float32

    @property
    def dim(self) -> int:
        return self.atoms.dim

    def __len__(self) -> int:
        return len(self.atoms)

    def block(self, i: int, j: int) -> Tensor:
        return self._minus(self.atoms.block(i, j))

    def rows(self, index: Tensor) -> Tensor:
        return self._minus(rows(self.atoms, index))

    def _minus(self, y: Tensor) -> Tensor:
        out = torch.empty_like(y)
        step = max(1, CACHED // self.dim)
        for part, to in zip(y.split(step), out.split(step), strict=True):
            to.copy_(part.double() - self.mean)
        return out.to(self.dtype)

    def in_memory(self, most: int) -> Atoms:
        """All of them as one tensor if that takes at most so many bytes; else themselves, computed in each pass."""
        if len(self) * self.dim * self.dtype.itemsize > most:
            return self
        return TensorAtoms(by_rows(self, lambda y: y), self.dtype)


def as_atoms(atoms: Atoms | Tensor) -> Atoms:
    """A tensor becomes `TensorAtoms`; anything that follows the protocol stays as it is; else a ValueError."""
    atoms = TensorAtoms(atoms) if isinstance(atoms, Tensor) else atoms
    if not all(hasattr(atoms, name) for name in ("block", "dim", "__len__")):
        raise ValueError(f"Atoms are a {type(atoms).__name__}; give a tensor (N, d) or an object with len, dim, block")
    if len(atoms) == 0:
        raise ValueError("There are 0 atoms; give at least one")
    return atoms


def blocks(atoms: Atoms, size: int = BLOCK) -> Iterator[tuple[int, int, Tensor]]:
    """Yield (i, j, rows i..j-1) over all atoms, at most `size`, and at most BYTES unless they are in a GPU's memory."""
    if not (isinstance(atoms, TensorAtoms) and atoms.values.is_cuda):
        size = max(1, min(size, BYTES // (4 * atoms.dim)))
    for i in range(0, len(atoms), size):
        j = min(i + size, len(atoms))
        yield i, j, atoms.block(i, j)


def by_rows(atoms: Atoms, function: Callable[[Tensor], Tensor]) -> Tensor:
    """``function`` of all atoms, (B, d) -> (B, ...) block by block, in one tensor (N, ...).

    A list of the results would pin the memory between them: up to a block each was lost (measured).
    """
    result = torch.empty(0)
    for i, j, y in blocks(atoms):
        part = function(y)
        result = result if i else part.new_empty(len(atoms), *part.shape[1:])
        result[i:j] = part
    return result


def rows(atoms: Atoms, index: Tensor) -> Tensor:
    """Atoms of any indices, int64 (B,) -> (B, d): by the method `rows` where atoms have it, else from their blocks."""
    if hasattr(atoms, "rows"):
        return atoms.rows(index)
    chosen = atoms.block(0, 1).new_empty(len(index), atoms.dim)
    for i, j, y in blocks(atoms):
        inside = (index >= i) & (index < j)
        chosen[inside] = y[index[inside] - i]
    return chosen
