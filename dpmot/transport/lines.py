"""Cell masses in few dimensions, without random numbers: exact along lines, a quadrature across them.

On a line x = u + t e_a parallel to axis a the scores <x, y_i> + h_i are linear in t, so the cells cut it into
intervals with closed-form mass (the upper envelope of N lines). The other d - 1 coordinates u run over a lattice
of quantiles of the source, and the d axes are averaged. The mass that crosses the wall between cells i and j per
unit of height difference, W_ij = integral over the wall of density / |y_i - y_j|, comes from the same crossings:
a line of axis a counts with the square n_a^2 of the wall's normal (sum_a n_a^2 = 1), which removes the singularity
of walls parallel to it. The Laplacian diag(W 1) - W is the Hessian of the energy, hence Newton's method
(Kitagawa, Merigot, Thibert 2019).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dpmot.transport.measures import Measure

MAX_ATOMS = 2000  # the Hessian is dense


@dataclass(frozen=True)
class Slice:
    """What the lines see of all cells under one set of heights.

    Attributes:
        masses: p (N,), sums to 1.
        walls: W (N, N), symmetric, zero diagonal.
        energy: integral of u_h.
        rows: argmaxes taken.
    """

    masses: Tensor
    walls: Tensor
    energy: float
    rows: int


def lattice(number: int, dim: int) -> Tensor:
    """`number` points of [0, 1]^dim: midpoints for dim = 1, Roberts' additive recurrence above; float64."""
    k = torch.arange(number, dtype=torch.float64)[:, None]
    if dim < 2:
        return ((k + 0.5) / number).expand(-1, dim)
    root = 1.5
    for _ in range(50):  # root^(dim + 1) = root + 1, a contraction
        root = (1 + root) ** (1 / (dim + 1))
    return (0.5 + k * root ** -torch.arange(1, dim + 1, dtype=torch.float64)) % 1


def cut(atoms: Tensor, heights: Tensor, measure: Measure, *, lines: int) -> Slice:
    """Masses, walls and energy of all cells.

    Args:
        atoms: centred, float64 (N, d), d <= 3.
        heights: centred, float64 (N,).
        lines: per axis; one suffices for d = 1.
    """
    number, dim = atoms.shape
    lines = 1 if dim == 1 else lines
    across = measure.quantile(lattice(lines, dim - 1))
    masses, walls = torch.zeros(number, dtype=torch.float64), torch.zeros(number * number, dtype=torch.float64)
    energy, rows, share = 0.0, 0, 1 / (lines * dim)
    for axis in range(dim):
        slopes = atoms[:, axis]
        offsets = heights + across @ torch.cat([atoms[:, :axis], atoms[:, axis + 1 :]], 1).T
        for line, cell, after, start, end in walk(offsets, slopes, measure):
            rows += len(cell)
            mass = measure.cdf(end) - measure.cdf(start)
            masses.index_add_(0, cell, share * mass)
            moment = measure.moment(end) - measure.moment(start)
            energy += share * float((offsets[line, cell] * mass + slopes[cell] * moment).sum())
            inner = end < measure.bound
            i, j = cell[inner], after[inner]
            step = atoms[j] - atoms[i]
            flux = measure.density(end[inner]) * step[:, axis] / (step * step).sum(1)  # n_a^2 / |slope difference|
            walls.index_add_(0, i * number + j, share * dim * flux)
    walls = walls.view(number, number)
    return Slice(masses, walls + walls.T, energy, rows)


def walk(offsets: Tensor, slopes: Tensor, measure: Measure) -> Iterator[tuple[Tensor, ...]]:
    """Follow the upper envelopes of all lines from -bound to bound, one interval of each at a time.

    Yields:
        line, cell, next cell, interval start, interval end; all (A,), A lines still under way.
    """
    line = torch.arange(len(offsets))
    start = torch.full((len(offsets),), -measure.bound, dtype=torch.float64)
    cell = (offsets - measure.bound * slopes).argmax(1)
    while len(line):
        rise = slopes - slopes[cell][:, None]
        drop = offsets.gather(1, cell[:, None]) - offsets
        end, after = torch.where(rise > 0, drop / rise, torch.inf).min(1)
        end = end.clamp(max=measure.bound).maximum(start)
        yield line, cell, after, start, end
        on = end < measure.bound
        line, cell, start, offsets = line[on], after[on], end[on], offsets[on]
