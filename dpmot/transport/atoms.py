"""Atoms y_1, ..., y_N in R^d: the support of the target measure sum_i w_i delta(y_i).

A tensor or a recipe: whoever computes rows on demand (`recipe.NoisyImages`: x0_i + sigma eps_i from uint8 images and
seeds) need never hold the (N, d) matrix. Scores <x, y_i> + h_i change by one constant per x when all atoms move by the
same vector, so the argmax is computed on `Centred` atoms, where float32 loses nothing to a common offset.
"""

from collections.abc import Callable
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
    """The rows of one tensor (N, d) or (N, *S); the latter is flattened.

    Raises:
        ValueError: fewer than two axes, or no dimension.
    """

    values: Tensor

    def __post_init__(self) -> None:
        if self.values.ndim < 2 or self.values[:1].numel() == 0 < len(self.values):
            raise ValueError(f"Atoms have shape {tuple(self.values.shape)}; give (N, d) or (N, *S) with d >= 1")
        object.__setattr__(self, "values", self.values.detach().flatten(1).to(torch.float32))

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
    """y_i - mean, float32: differences are taken in float64, so that a large common offset costs no digits.

    Args:
        atoms: the atoms as given.
        mean: float64 (d,).
    """

    atoms: Atoms
    mean: Tensor

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
        return out


@dataclass(frozen=True, eq=False)
class Held:
    """Rows that were computed once and kept: (N, d)."""

    values: Tensor

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
class Rounded:
    """Rows in another type, computed anew in each pass as `Held` keeps them."""

    atoms: Atoms
    dtype: torch.dtype

    @property
    def dim(self) -> int:
        return self.atoms.dim

    def __len__(self) -> int:
        return len(self.atoms)

    def block(self, i: int, j: int) -> Tensor:
        return self.atoms.block(i, j).to(self.dtype)


def as_atoms(atoms: Atoms | Tensor) -> Atoms:
    """A tensor becomes `TensorAtoms`; anything that follows the protocol stays as it is.

    Raises:
        ValueError: neither, or there is no atom.
    """
    atoms = TensorAtoms(atoms) if isinstance(atoms, Tensor) else atoms
    if not all(hasattr(atoms, name) for name in ("block", "dim", "__len__")):
        raise ValueError(f"Atoms are a {type(atoms).__name__}; give a tensor (N, d) or an object with len, dim, block")
    if len(atoms) == 0:
        raise ValueError("There are 0 atoms; give at least one")
    return atoms


def blocks(atoms: Atoms, size: int = BLOCK):
    """Yield (i, j, rows i..j-1) over all atoms, at most `size` of them, and BYTES unless they are held on a GPU."""
    if not (isinstance(atoms, Held) and atoms.values.is_cuda):
        size = max(1, min(size, BYTES // (4 * atoms.dim)))
    for i in range(0, len(atoms), size):
        j = min(i + size, len(atoms))
        yield i, j, atoms.block(i, j)


def by_rows(atoms: Atoms, function: Callable[[Tensor], Tensor]) -> Tensor:
    """``function`` of all atoms, (B, d) -> (B, ...) block by block, in one tensor (N, ...).

    Results that are kept one by one pin the memory between them: up to a block each was lost (measured).
    """
    result = None
    for i, j, y in blocks(atoms):
        part = function(y)
        result = part.new_empty(len(atoms), *part.shape[1:]) if result is None else result
        result[i:j] = part
    return result


def rows(atoms: Atoms, index: Tensor) -> Tensor:
    """Atoms of any indices, int64 (B,) -> (B, d): by the method `rows` where atoms have it, else from their blocks."""
    if hasattr(atoms, "rows"):
        return atoms.rows(index)
    first = atoms.block(0, 1)
    found = first.new_empty(len(index), atoms.dim)
    for i, j, y in blocks(atoms):
        inside = (index >= i) & (index < j)
        found[inside] = y[index[inside] - i]
    return found


def held(atoms: Atoms, dtype: torch.dtype, most: int) -> Atoms:
    """The atoms in that type, kept if they fit so many bytes; else the same values, computed on demand."""
    if isinstance(atoms, Held):
        return atoms
    if len(atoms) * atoms.dim * dtype.itemsize > most:
        return atoms if dtype == torch.float32 else Rounded(atoms, dtype)
    values = torch.empty(len(atoms), atoms.dim, dtype=dtype, device=atoms.block(0, 1).device)
    for i, j, y in blocks(atoms):
        values[i:j] = y
    return Held(values)
