r"""The singular set of u(x) = max_i <x, y_i> + h_i: where two planes or more are largest, and the map T = grad u jumps.

The crease between the planes of atoms i and j is as sharp as the angle between their normals (y_i, -1), (y_j, -1),

    angle_ij = arccos (<y_i, y_j> + 1) / sqrt((|y_i|^2 + 1) (|y_j|^2 + 1))    in radians, between 0 and pi,

a number of the two atoms alone: it does not depend on which other draws are looked at. A draw lies near the singular
set where the best plane makes a large angle with one of the next (An et al. 2020, AE-OT, discard above 0.7).

The smoothed potential u_tau(x) = tau log sum_i exp((<x, y_i> + h_i) / tau) has no crease. u <= u_tau <= u + tau log N;
its gradient is the barycentre sum_i p_i y_i with p = softmax((<x, y_i> + h_i) / tau), which tends to T(x) as tau -> 0
wherever T does not jump.
"""

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from dpmot.device import ordinary
from dpmot.tiles import in_tiles, product
from dpmot.transport.given import between, real
from dpmot.transport.potential import BrenierPotential


@ordinary()
def angles(potential: BrenierPotential, x: Tensor, k: int = 2) -> Tensor:
    """Angles between the best plane and each of the next k - 1 at x (B, d) or (B, *S): radians, float64 (B, k - 1).

    Raises:
        ValueError: k is not in 2..N, or x is refused.
    """
    number = len(potential.points)
    if not (between(k, 1, number + 1) and hasattr(k, "__index__")):
        raise ValueError(f"An angle is between two planes or more: k = {k} was given, choose 2..{number}")
    cells = potential.cells(x, k)
    if not len(cells):
        return cells[:, 1:].double()

    def measured(cells: Tensor) -> Tensor:
        y = potential.rows(cells.flatten()).unflatten(0, cells.shape).double()
        normals = torch.cat([y, y.new_full((*cells.shape, 1), -1)], 2)
        unit = normals / normals.norm(dim=2, keepdim=True)
        first, others = unit[:, :1], unit[:, 1:]
        # arccos would lose half of the digits where the planes are nearly parallel (Kahan 2006)
        return 2 * torch.atan2((first - others).norm(dim=2), (first + others).norm(dim=2))

    return in_tiles(measured, cells)


@dataclass(frozen=True, eq=False)
class SmoothedPotential:
    """u_tau, over all planes or the k largest at x.

    Over all planes one block of atoms is read at a time with a running maximum (the online softmax of Milakov &
    Gimelshein 2018): the B x N matrix of scores never exists. In fixed tiles: the bits of a row do not depend on its
    batch.

    Args:
        tau: in units of <x, y>, positive. The gap between the best and the next plane of N scattered atoms is about
            |y - mean y| / sqrt(2 ln N); far below it the map is T almost everywhere.
        k: planes that take part; None for all of them.

    Raises:
        ValueError: tau is not positive and finite, or k is not in 1..N.
    """

    potential: BrenierPotential
    tau: float
    k: int | None = None

    def __post_init__(self) -> None:
        number = len(self.potential.points)
        if not between(self.tau, 0, math.inf):
            raise ValueError(f"tau = {self.tau} smooths nothing; choose a positive number, in units of <x, y>")
        if self.k is not None and not (between(self.k, 0, number + 1) and hasattr(self.k, "__index__")):
            raise ValueError(f"k = {self.k} planes were asked for; choose 1..{number}, or None for all")

    @property
    def _mean(self) -> Tensor:
        return self.potential.problem.different.mean

    @ordinary()
    def __call__(self, x: Tensor) -> Tensor:
        """u_tau(x): (B, d) or (B, *S) -> float64 (B,)."""
        return self.potential(x) + self.tau * self._sums(x)[1].log()

    @ordinary()
    def transport(self, x: Tensor) -> Tensor:
        """The gradient, the barycentre sum_i p_i y_i: (B, d) or (B, *S) -> float32 (B, d)."""
        return (self._sums(x)[0] + self._mean).to(self.potential.rows(torch.zeros(1).long()).dtype)

    @ordinary()
    def average(self, x: Tensor, values: Tensor) -> Tensor:
        """sum_i p_i v_i of one row v_i for each atom: x (B, d) or (B, *S), values (N, e) -> float32 (B, e).

        Raises:
            ValueError: values of another shape.
        """
        values, number = real(values, "Values"), len(self.potential.atoms)
        if values.ndim != 2 or len(values) != number:
            raise ValueError(f"Values have shape {tuple(values.shape)}; give one row for each atom, ({number}, e)")
        return self._sums(x, values)[0].float()

    def _sums(self, x: Tensor, values: Tensor | None = None) -> tuple[Tensor, ...]:
        """sum p_i (y_i - mean y) or sum p_i v_i, and sum_i exp((score_i - best score) / tau)."""
        copies, masses = self.potential.copies, self.potential.problem.masses
        if values is not None and copies is not None:  # the mean over the atoms that are one point
            shares = (masses / copies.total(masses)[copies.names])[:, None]
            values = copies.total(shares * values).to(values.dtype)
        sums = self._of_all if self.k is None else partial(self._of_best, k=self.k)
        return self.potential.tiled(x, lambda z: sums(z, values))

    def _of_all(self, z: Tensor, values: Tensor | None) -> tuple[Tensor, Tensor]:
        best = z.new_full((len(z),), -torch.inf, dtype=torch.float64)
        total, mean = torch.zeros_like(best), torch.zeros_like(best)[:, None]
        unit = self.potential.problem.different.unit
        for i, j, y, scores in self.potential.scores(z):
            rows = y if values is None else values[i:j].to(y.dtype)
            scores = scores.double() * unit
            ahead = torch.maximum(best, scores.amax(1))
            shrink = torch.exp((best - ahead) / self.tau)  # 0 in the first block
            weights = torch.exp((scores - ahead[:, None]) / self.tau)
            total = total * shrink + weights.sum(1)
            mean = mean * shrink[:, None] + product(weights.to(y.dtype), rows).double()
            best = ahead
        return mean / total[:, None] * (unit if values is None else 1), total

    def _of_best(self, z: Tensor, values: Tensor | None, k: int) -> tuple[Tensor, Tensor]:
        x = z + self.potential.problem.measure.centre
        cells = self.potential.cells(x, k)
        scores = self.potential.planes(x, cells)
        weights = torch.exp((scores - scores.amax(1, keepdim=True)) / self.tau)
        total = weights.sum(1)
        if values is None:
            rows = self.potential.rows(cells.flatten()).unflatten(0, cells.shape).double() - self._mean
        else:
            rows = values[cells if self.potential.copies is None else self.potential.copies.names[cells]].double()
        return ((weights / total[:, None])[:, :, None] * rows).sum(1), total
