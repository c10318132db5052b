"""The cells of a plane, exactly: walls from a convex hull, masses in closed form. No lines, no random numbers.

The cells of u_h(x) = max_i <x, y_i> + h_i are the dual of the upper hull of the points (y_i, h_i) in space: a facet
with the outward normal (a, b, c), c > 0, is the vertex x = (a, b) / c in which its three cells meet, and an edge
between two facets is the wall between two cells; on the rim of the hull it is a ray (Aurenhammer 1987). Walls end at
the box [-bound, bound]^2 that holds the source.

A cell is the sum of the triangles from the origin to its walls, with signs. The mass of one with a right angle, whose
base is at the distance c from the origin and t long, is c t / 2 under the uniform law and

    arctan(t / c) / (2 pi) - T(c, t / c)

under the normal one, T Owen's function (Owen 1956). The mass that crosses a wall per unit of height difference,
W_ij = integral over the wall of the density / |y_i - y_j|, is an integral along a line; diag(W 1) - W is the Hessian of
the energy. From cells that all have mass, Newton's steps, halved until no cell loses too much of it, lead to the
solution (Kitagawa, Merigot, Thibert 2019).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_array, csc_array, diags_array
from scipy.sparse.linalg import splu
from scipy.spatial import ConvexHull, QhullError
from scipy.special import owens_t
from torch import Tensor

from dpmot.transport.ledger import Ledger
from dpmot.transport.lines import walk
from dpmot.transport.measures import NORMAL, Measure
from dpmot.transport.problem import SemiDiscreteProblem

See = Callable[[np.ndarray], "Cells"]  # heights (N,) -> their cells

UPWARDS = 1e-12  # the least of a facet's unit normal
KEEP = 0.1  # a step may take at most 1 - KEEP of a cell's mass,
FALL = 0.25  # and takes this part of what Newton's step promises of chi2
SHORTEST = 2.0**-30  # of Newton's step
PRECISION = 1e-6  # chi2 over the target
REACH, INSIDE = 3.5, 0.9  # the farthest site of the first cells: in deviations, and in bounds of the source


@dataclass(frozen=True, eq=False)
class Cells:
    """All cells under one set of heights.

    Attributes:
        masses: p (N,), float64, sums to 1; 0 where a cell is empty.
        walls: W (N, N), symmetric, zero diagonal.
    """

    masses: np.ndarray
    walls: csc_array

    def chi2(self, masses: np.ndarray) -> float:
        """sum_i (p_i - w_i)^2 / w_i."""
        return float(((self.masses - masses) ** 2 / masses).sum())

    def direction(self, masses: np.ndarray) -> np.ndarray:
        """Newton's step (N,), its last entry 0."""
        hessian = (diags_array(np.asarray(self.walls.sum(1)).ravel()) - self.walls).tocsc()
        return np.append(splu(hessian[:-1, :-1]).solve((masses - self.masses)[:-1]), 0.0)


def fit(
    problem: SemiDiscreteProblem, *, target: float, ledger: Ledger, start: Tensor | None
) -> tuple[Tensor, str | None] | None:
    """Centred heights (N,) float64, and the reason why the fit gave up, if it did; see `SemiDiscreteSolver`.

    A look at all cells counts as N noises.

    Args:
        problem: d = 2, not all atoms equal.
        start: centred heights to try beside the solver's own.

    Returns:
        None where the atoms lie on one line, or no start gives every cell a mass.
    """
    atoms, masses = problem.points.block(0, len(problem.atoms)).cpu().numpy(), problem.masses.cpu().numpy()

    def see(heights: np.ndarray) -> Cells:
        ledger.noises += len(atoms)
        return cells(atoms, heights, problem.measure)

    try:
        starts = [_voronoi(atoms, problem.measure), *([] if start is None else [start.cpu().numpy()])]
        views = [(heights, seen) for heights in starts if (seen := see(heights)).masses.min() > 0]
        if not views:
            return None
        heights, seen = min(views, key=lambda view: view[1].chi2(masses))
        heights, reason = _descend(heights, seen, masses, see, target=target, ledger=ledger)
    except (QhullError, RuntimeError):  # a flat hull; a singular matrix
        return None
    return torch.from_numpy(heights - heights.mean()), reason


def _descend(
    heights: np.ndarray, seen: Cells, masses: np.ndarray, see: See, *, target: float, ledger: Ledger
) -> tuple[np.ndarray, str | None]:
    chi2 = seen.chi2(masses)
    ledger.record(chi2)
    while chi2 > PRECISION * target:
        if reason := ledger.spent():
            return heights, reason
        step, length = seen.direction(masses), 1.0
        while True:
            after = see(heights + length * step)
            kept = (after.masses >= KEEP * np.minimum(seen.masses, masses)).all()
            if kept and after.chi2(masses) < (1 - FALL * length) * chi2:
                break
            length /= 2
            if length < SHORTEST or ledger.spent():
                return heights, ledger.spent() or f"Newton's step shrank below {SHORTEST:.0e} at chi2 {chi2:.3g}"
        heights, seen, chi2 = heights + length * step, after, after.chi2(masses)
        ledger.record(chi2)
    return heights, None


def _voronoi(atoms: np.ndarray, measure: Measure) -> np.ndarray:
    """Heights whose cells are the Voronoi cells of the atoms, shrunk into the source: every one holds its own site."""
    square = (atoms**2).sum(1)
    reach = min(REACH, INSIDE * measure.bound / measure.scale)
    spread = max(math.sqrt(square.mean() / 2), np.abs(atoms).max() / reach)
    return -measure.scale * (square - square.mean()) / (2 * spread)


def cells(atoms: np.ndarray, heights: np.ndarray, measure: Measure) -> Cells:
    """Masses and walls of all cells, exact but for rounding.

    Args:
        atoms: centred, float64 (N, 2).
        heights: centred, float64 (N,).

    Raises:
        QhullError: the atoms lie on one line.
    """
    i, j, ends = _walls(atoms, heights, measure.bound)
    across = atoms[j] - atoms[i]
    length = np.hypot(*across.T)
    normal = across / length[:, None]
    distance = (heights[i] - heights[j]) / length  # of the origin, positive on the side of i
    tangent = np.stack([-normal[:, 1], normal[:, 0]], 1)
    span = np.sort((ends * tangent[:, None]).sum(2), axis=1)  # (M, 2), from the foot of the origin
    swept = np.sign(distance) * _triangles(np.abs(distance), span, measure)
    flux = _along(distance, span, measure) / length
    number = len(atoms)
    masses = np.bincount(i, swept, number) - np.bincount(j, swept, number)
    half = coo_array((flux, (i, j)), shape=(number, number))
    return Cells((masses + _rim(atoms, heights, measure)).clip(min=0), (half + half.T).tocsc())


def _walls(atoms: np.ndarray, heights: np.ndarray, bound: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cells i and j (M,) on both sides of each wall that reaches the box, and its two ends (M, 2, 2) there."""
    wide, high = np.abs(atoms).max(), np.ptp(heights) or 1.0
    lifted = np.column_stack([atoms / wide, (heights - heights.min()) / high])
    below = [[*lifted[:, :2].mean(0), -1.0]]  # no cell of its own; else three atoms, or equal heights, were flat
    hull = ConvexHull(np.concatenate([lifted, below]))
    normals = hull.equations[:, :3]
    upper = normals[:, 2] > UPWARDS
    vertex = np.zeros((len(normals), 2))
    vertex[upper] = normals[upper, :2] / normals[upper, 2:] * (high / wide)
    corner, facet = np.tile(np.arange(3), len(normals)), np.repeat(np.arange(len(normals)), 3)
    beyond, (k, i, j) = hull.neighbors[facet, corner], (hull.simplices[facet, (corner + turn) % 3] for turn in range(3))
    once = upper[facet] & (~upper[beyond] | (facet < beyond))
    facet, beyond, i, j, k = (column[once] for column in (facet, beyond, i, j, k))
    edge = atoms[j] - atoms[i]
    outwards = np.stack([-edge[:, 1], edge[:, 0]], 1) / np.hypot(*edge.T)[:, None]
    outwards *= np.sign(((atoms[i] - atoms[k]) * outwards).sum(1))[:, None]
    first = vertex[facet]
    ray = first + (4 * bound + np.abs(first).sum(1))[:, None] * outwards
    ends = np.stack([first, np.where(upper[beyond][:, None], vertex[beyond], ray)], 1)
    ends, inside = _clipped(ends, bound)
    return i[inside], j[inside], ends[inside]


def _clipped(ends: np.ndarray, bound: float) -> tuple[np.ndarray, np.ndarray]:
    """Segments (M, 2, 2) cut off at the box, and which of them reach it (Liang, Barsky 1984)."""
    first, way = ends[:, 0], ends[:, 1] - ends[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        at = np.sort((np.array([-bound, bound]) - first[:, :, None]) / way[:, :, None], axis=2)
    still = way == 0
    at[still] = np.where(np.abs(first[still]) <= bound, [[-np.inf], [np.inf]], [[np.inf], [-np.inf]]).T
    enter, leave = at[:, :, 0].max(1).clip(min=0), at[:, :, 1].min(1).clip(max=1)
    share = np.stack([enter, leave], 1)
    inside = enter < leave
    share[~inside] = 0
    return first[:, None] + share[:, :, None] * way[:, None], inside


def _rim(atoms: np.ndarray, heights: np.ndarray, measure: Measure) -> np.ndarray:
    """The triangles from the origin to the sides of the box, by cell (N,)."""
    masses, bound = np.zeros(len(atoms)), measure.bound
    for axis, side in ((0, -1), (0, 1), (1, -1), (1, 1)):
        offsets = torch.from_numpy(heights + side * bound * atoms[:, axis])[None]
        for _, cell, _, start, end in walk(offsets, torch.from_numpy(atoms[:, 1 - axis].copy()), measure):
            masses[int(cell)] += _triangles(np.array([bound]), np.array([[float(start), float(end)]]), measure)[0]
    return masses


def _triangles(distance: np.ndarray, span: np.ndarray, measure: Measure) -> np.ndarray:
    """Masses of the triangles from the origin to pieces of lines: distances (M,), from and to along them (M, 2)."""
    if measure is not NORMAL:
        return distance * (span[:, 1] - span[:, 0]) / 2
    distance = distance[:, None].clip(min=np.finfo(float).tiny)
    with np.errstate(over="ignore"):
        slope = span / distance
    return np.diff(np.arctan(slope) / (2 * math.pi) - owens_t(distance, slope), axis=1)[:, 0]


def _along(distance: np.ndarray, span: np.ndarray, measure: Measure) -> np.ndarray:
    """Integrals of the density along the same pieces (M,)."""
    if measure is not NORMAL:
        return span[:, 1] - span[:, 0]
    start, end = torch.from_numpy(span).T
    return (measure.density(torch.from_numpy(distance)) * (measure.cdf(end) - measure.cdf(start))).numpy()
