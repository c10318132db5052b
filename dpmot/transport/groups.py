"""Groups of atoms that nearly coincide: stiff inside, one atom from afar.

Raising one height of a group by far less than tau moves the mass of all its members, so a step that suits the group
tears its cells apart, and one that suits the cells never moves the group. The step has two parts,

    step_G + tau_i (p_i / w_i - P_G / W_G),    P_G = sum_{i in G} p_i,  W_G = sum_{i in G} w_i,

step_G that of the group's centre among the centres (see `curvature`), tau_i of y_i - centre among the members (see
`closed_form`).
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from torch import Tensor

from dpmot.transport.atoms import by_rows, rows
from dpmot.transport.closed_form import closed_form_start, newton_scale, normal_density
from dpmot.transport.curvature import Curvature, astray, excess
from dpmot.transport.kernel import Tally
from dpmot.transport.problem import SemiDiscreteProblem

NEAR = 0.25  # atoms of one group lie within NEAR * (median of tau) of each other, linked by single linkage


PAIRS = 200  # neighbours of an atom along the principal directions
LOST = 0.3  # least share of the step of cells astray: what is known of their slope comes from few wins


@dataclass(frozen=True, eq=False)
class Groups:
    """A partition of the atoms.

    Attributes:
        problem: the atoms themselves.
        labels: group of each atom, int64 (N,).
        merged: the problem of the centres with masses W (G,); the problem itself where no two atoms are near.
        tau: tau_i inside the group, float64 (N,); 0 for an atom alone.
        offset: heights inside the group in closed form, float64 (N,).
    """

    problem: SemiDiscreteProblem
    labels: Tensor
    merged: SemiDiscreteProblem
    tau: Tensor
    offset: Tensor

    @property
    def masses(self) -> Tensor:
        """w (N,)."""
        return self.problem.masses

    def total(self, values: Tensor) -> Tensor:
        """Sums over the groups: (N,) -> (G,)."""
        return values.new_zeros(len(self.merged.atoms)).index_add(0, self.labels, values)

    def start(self) -> Tensor:
        """The closed form for the centres, then for the members, centred heights (N,)."""
        heights = closed_form_start(self.merged)[self.labels] + self.offset
        return heights - heights.mean()

    def step(self, seen: Tally, curvature: Curvature, trend_share: float, share: float, *, far: bool) -> Tensor:
        """Shares of the Newton step, to be subtracted from the heights, (N,).

        Args:
            seen: draws of the atoms.
            curvature: of the centres.
            trend_share, share: see `Curvature.step`.
            far: see `curvature.excess`.
        """
        due = seen.draws * self.masses
        counts, dues = self.total(seen.counts), self.total(due)
        outer = excess(counts, dues, far=far)
        inner = excess(seen.counts, due, far=far) - outer[self.labels]
        wide, close = (
            torch.where(astray(c, d), max(share, LOST), share) for c, d in ((counts, dues), (seen.counts, due))
        )
        return curvature.step(outer, trend_share, wide)[self.labels] + close * self.tau * inner

    def centres(self, heights: Tensor) -> Tensor:
        """Heights of the centres: the mean over the members, (N,) -> (G,)."""
        return self.total(self.masses * heights) / self.merged.masses


def near_duplicates(problem: SemiDiscreteProblem) -> Groups:
    """Groups by single linkage at NEAR * (median of tau); a component wider than that stays apart."""
    number, zeros = len(problem.atoms), torch.zeros_like(problem.masses)
    radius = NEAR * float(newton_scale(problem).median())
    labels = _components(problem, radius).to(problem.mean.device)
    if int(labels.max()) == number - 1:
        return Groups(problem, torch.arange(number, device=labels.device), problem, zeros, zeros)
    points = by_rows(problem.points, Tensor.double)
    weights = zeros.new_zeros(int(labels.max()) + 1).index_add(0, labels, problem.masses)
    centres = points.new_zeros(len(weights), points.shape[1])
    centres = centres.index_add(0, labels, problem.masses[:, None] * points)
    centres = centres / weights[:, None]
    inside, share = points - centres[labels], problem.masses / weights[labels]
    merged = SemiDiscreteProblem(centres.float(), masses=weights, source=problem.source)
    single = torch.bincount(labels)[labels] == 1
    quantile = torch.special.ndtri(share.clamp(max=0.999))
    spread = problem.law.scale * inside.norm(dim=1)
    tau = torch.where(single, 0.0, spread * share / normal_density(quantile))
    # the noise of cell G has its mean along the centre: scale phi(q_G) / W_G
    mean = problem.law.scale * normal_density(torch.special.ndtri(merged.masses)) / merged.masses
    direction = centres / centres.norm(dim=1, keepdim=True).clamp(min=1e-12)
    shift = ((mean[:, None] * direction)[labels] * inside).sum(1)
    return Groups(problem, labels, merged, tau, torch.where(single, 0.0, spread * quantile - shift))


def _components(problem: SemiDiscreteProblem, radius: float) -> Tensor:
    """Label of each atom, int64 (N,).

    Atoms that are not told apart by their principal directions, because noise rules them, have no duplicates.
    """
    number, tree = len(problem.atoms), cKDTree(problem.principal.cpu().numpy())
    if tree.count_neighbors(tree, radius) > PAIRS * number:
        return torch.arange(number)
    pairs = tree.query_pairs(radius, output_type="ndarray")
    near = np.concatenate([_close(problem, part, radius) for part in np.array_split(pairs, len(pairs) // 4096 + 1)])
    graph = coo_array((np.ones(len(near)), (near[:, 0], near[:, 1])), shape=(number, number))
    labels = connected_components(graph, directed=False)[1]
    return torch.from_numpy(_wide_apart(problem, labels, radius).astype(np.int64))


def _close(problem: SemiDiscreteProblem, pairs: np.ndarray, radius: float) -> np.ndarray:
    """The pairs (P, 2) whose distance in all dimensions is below the radius."""
    return pairs[((_rows(problem, pairs[:, 0]) - _rows(problem, pairs[:, 1])).norm(dim=1) < radius).cpu().numpy()]


def _wide_apart(problem: SemiDiscreteProblem, labels: np.ndarray, radius: float) -> np.ndarray:
    """Labels with every component that reaches further than the radius from its first atom taken apart."""
    first = np.unique(labels, return_index=True)[1]
    inside = np.flatnonzero(first[labels] != np.arange(len(labels)))
    far = (_rows(problem, inside) - _rows(problem, first[labels[inside]])).norm(dim=1) > radius
    wide = np.isin(labels, np.unique(labels[inside[far.cpu().numpy()]]))
    fresh = np.where(wide, labels.max() + 1 + np.arange(len(labels)), labels)
    return np.unique(fresh, return_inverse=True)[1]


def _rows(problem: SemiDiscreteProblem, index: np.ndarray) -> Tensor:
    return rows(problem.points, torch.from_numpy(index).to(problem.mean.device))
