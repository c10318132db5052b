"""Atoms y_1, ..., y_N in R^d: the support of the target measure sum_i w_i delta(y_i).

A tensor in memory, or a recipe that computes rows on demand (`recipe.NoisyImages`: x0_i + sigma eps_i from uint8 images
and seeds) and never stores the (N, d) matrix. When all atoms move by one vector, the scores <x, y_i> + h_i of each x
change by one constant, and when all are scaled, so are the scores; the argmax is taken over `Centred` atoms in a unit
of their own, where float32 loses nothing to a common offset or to its range.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from dpmot.transport.given import real

BLOCK, BYTES = 4096, 2**25  # atoms read at a time: so many, and no more bytes of float32
CACHED = 2**16  # numbers that are worked on at a time
FAR = 16  # an offset of so many times the spread costs float32 four of its 24 bits
RANGE = 2.0**-40, 2.0**40  # sizes of atoms whose squares float32 sums without a unit
LARGEST = 1e100  # the largest number whose squares float64 sums
CANCELLED = 1e-6  # below this share of the mean square, a variance is summed anew


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

    Attributes:
        values: (N, d), float32, or float64 where that was given and float32 would lose what tells the atoms apart.
        eps: relative spacing of the numbers as they were given, 0 for integers.

    Raises:
        ValueError: fewer than two axes, no dimension, or no real numbers.
    """

    values: Tensor
    dtype: torch.dtype | None = None
    eps: float = field(init=False)

    def __post_init__(self) -> None:
        given = real(self.values, "Atoms")
        if given.ndim < 2 or given[:1].numel() == 0 < len(given):
            raise ValueError(f"Atoms have shape {tuple(given.shape)}; give (N, d) or (N, *S) with d >= 1")
        values = given.flatten(1).to(self.dtype or _fitting(given.flatten(1))).contiguous()
        object.__setattr__(self, "values", values)
        exact = not given.is_floating_point() and float(values.abs().max() if len(values) else 0) <= 2.0**53
        eps = 0.0 if exact else torch.finfo(given.dtype if given.is_floating_point() else torch.float64).eps
        object.__setattr__(self, "eps", eps)

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
    """(y_i - mean) / unit, computed in each pass; in float64, so that a large common offset costs no digits.

    Args:
        atoms: the atoms as given.
        mean: float64 (d,).
        unit: a power of two.
        dtype: of the differences.
    """

    atoms: Atoms
    mean: Tensor
    unit: float = 1.0
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
        out = torch.empty_like(y, dtype=torch.promote_types(self.dtype, torch.float32))
        step = max(1, CACHED // self.dim)
        for part, to in zip(y.split(step), out.split(step), strict=True):
            difference = part.double() - self.mean
            to.copy_(difference if self.unit == 1 else difference / self.unit)
        return out.to(self.dtype)

    def in_memory(self, most: int) -> Atoms:
        """All of them as one tensor if that takes at most so many bytes; else themselves, computed in each pass."""
        if len(self) * self.dim * self.dtype.itemsize > most:
            return self
        return TensorAtoms(by_rows(self, lambda y: y), self.dtype)


def _fitting(values: Tensor) -> torch.dtype:
    """The type that holds the atoms (N, d): float32, unless they were given in more digits, and need them."""
    if values.dtype not in (torch.float64, torch.int32, torch.int64, torch.uint32, torch.uint64) or not len(values):
        return torch.float32
    y = values.double()
    if not values.is_floating_point():
        return torch.float64 if float(y.abs().max()) > 2**24 else torch.float32
    variance, mean = torch.var_mean(y, 0, correction=0)
    offset, spread = float(mean.square().mean().sqrt()), float(variance.mean().sqrt())
    fits = unit_of(spread) == 1 and offset <= FAR * spread and spread < RANGE[1]
    return torch.float32 if fits else torch.float64


def unit_of(spread: float) -> float:
    """1, or a power of two near the spread where float32 would not sum its squares."""
    fits = spread == 0 or RANGE[0] < spread < RANGE[1]
    return 1.0 if fits or not math.isfinite(spread) else 2.0 ** round(math.log2(spread))


def as_atoms(atoms: Atoms | Tensor | np.ndarray) -> Atoms:
    """A tensor or array becomes `TensorAtoms`; what follows the protocol stays as it is; else a ValueError."""
    atoms = TensorAtoms(real(atoms, "Atoms")) if isinstance(atoms, Tensor | np.ndarray) else atoms
    if not all(hasattr(atoms, name) for name in ("block", "dim", "__len__")):
        raise ValueError(f"Atoms are a {type(atoms).__name__}; give a tensor (N, d) or an object with len, dim, block")
    if len(atoms) == 0:
        raise ValueError("There are 0 atoms; give at least one")
    return atoms


def spacing(atoms: Atoms) -> float:
    """Relative spacing of the numbers as they were given, or as a block of them comes."""
    dtype = atoms.block(0, 1).dtype
    return getattr(atoms, "eps", torch.finfo(dtype if dtype.is_floating_point else torch.float32).eps)


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


def moments(atoms: Atoms) -> tuple[Tensor, Tensor, float]:
    """Mean (d,), row sums sum_j y_ij (N,) and spread of the atoms, float64; a ValueError where a block is wrong."""
    total, sums, square = torch.zeros(0), torch.zeros(0), 0.0
    for i, j, y in blocks(atoms):
        if not isinstance(y, Tensor):
            raise ValueError(f"Atoms {i}..{j - 1} came as a {type(y).__name__}; hand out float32 tensors")
        if y.shape != (j - i, atoms.dim):
            raise ValueError(f"Atoms {i}..{j - 1} came as {tuple(y.shape)}; expected {(j - i, atoms.dim)}")
        if not torch.isfinite(y).all():
            bad = int((~torch.isfinite(y).all(1)).sum())
            raise ValueError(f"{bad} of the atoms {i}..{j - 1} hold NaN or infinite values; remove or repair them")
        y = y.double()
        if not i:
            total, sums = torch.zeros_like(y[0]), y.new_empty(len(atoms))
        total += y.sum(0)
        sums[i:j] = y.sum(1)
        square += float(y.square().sum())
    mean, square = total / len(atoms), square / len(atoms)
    if not square < LARGEST**2:
        raise ValueError(f"Atoms are larger than {LARGEST:g}; divide all by one number: heights scale with them")
    variance = square - float(mean.square().sum())
    if variance < CANCELLED * square:
        variance = sum(float((y.double() - mean).square().sum()) for _, _, y in blocks(atoms)) / len(atoms)
    return mean, sums, math.sqrt(max(variance, 0.0))
