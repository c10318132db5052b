"""Groups of atoms that nearly coincide: stiff inside, one atom from afar.

Raising one height of a group by far less than tau moves the mass of all its members, so a step that suits the group
tears its cells apart, and one that suits the cells never moves the group. The step has two parts,

    step_G + tau_i (p_i / w_i - P_G / W_G),    P_G = sum_{i in G} p_i,  W_G = sum_{i in G} w_i,

step_G that of the group's centre among the centres (see `curvature`), tau_i of y_i - centre among the members (see
`closed_form`).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from torch import Tensor

from dpmot.seeds import generator
from dpmot.transport.atoms import blocks, rows
from dpmot.transport.closed_form import closed_form_start, newton_scale, normal_density
from dpmot.transport.curvature import Curvature, astray, excess
from dpmot.transport.problem import SemiDiscreteProblem
from dpmot.transport.tally import Tally

NEAR = 0.25  # atoms of one group lie within NEAR * (median of tau) of each other, linked by single linkage
PAIRS = 200  # mean neighbours of an atom along the principal directions
SAMPLED = 128  # atoms that are asked for their neighbours, so that a clump of a twentieth of all is seen
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
        rounds: whether products of a fit may be rounded: that pays, and no two atoms are near each other.
    """

    problem: SemiDiscreteProblem
    labels: Tensor
    merged: SemiDiscreteProblem
    tau: Tensor
    offset: Tensor
    rounds: bool = False

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
    labels, left = _components(problem, _radius(problem))
    labels = labels.to(problem.mean.device)
    if int(labels.max()) == number - 1:
        near = problem.rounds and (crowded(problem) if left is None else left)
        order = torch.arange(number, device=labels.device)
        return Groups(problem, order, problem, zeros, zeros, rounds=problem.rounds and not near)
    several = torch.bincount(labels) > 1
    index = torch.nonzero(several[labels])[:, 0]  # the others are their own centres
    group, members = (torch.cumsum(several, 0) - 1)[labels[index]], rows(problem.points, index).double()
    weights = zeros.new_zeros(len(several)).index_add(0, labels, problem.masses)
    share = problem.masses[index] / weights[labels[index]]
    middle = members.new_zeros(int(several.sum()), members.shape[1]).index_add(0, group, share[:, None] * members)
    inside = members - middle[group]
    merged = _merged(problem, labels, several, middle, weights)
    quantile = torch.special.ndtri(share.clamp(max=0.999))
    spread = problem.law.scale * inside.norm(dim=1)
    # the noise of cell G has its mean along the centre: scale phi(q_G) / W_G
    mean = problem.law.scale * normal_density(torch.special.ndtri(merged.masses)) / merged.masses
    direction = middle / middle.norm(dim=1, keepdim=True).clamp(min=1e-12)
    shift = ((mean[several][:, None] * direction)[group] * inside).sum(1)
    tau = zeros.index_copy(0, index, spread * share / normal_density(quantile))
    return Groups(problem, labels, merged, tau, zeros.index_copy(0, index, spread * quantile - shift))


def _merged(
    problem: SemiDiscreteProblem, labels: Tensor, several: Tensor, middle: Tensor, weights: Tensor
) -> SemiDiscreteProblem:
    """The centres with the masses of their groups: an atom alone, or a row of `middle` for each group of several."""
    centres = torch.empty(len(several), problem.atoms.dim, device=labels.device)
    for i, j, y in blocks(problem.points):
        centres[labels[i:j]] = y
    centres[several] = middle.float()
    return SemiDiscreteProblem(centres, weights, problem.source, problem.memory)


def crowded(problem: SemiDiscreteProblem) -> bool:
    """Whether some of a few atoms have another within the radius of a group, whose leads rounding would hide."""
    chosen = torch.linspace(0, len(problem.atoms) - 1, min(SAMPLED, len(problem.atoms))).long().to(problem.mean.device)
    some, least, radius = rows(problem.points, chosen), math.inf, _radius(problem)
    for i, j, y in blocks(problem.points):
        apart = torch.cdist(some, y)
        inside = (chosen >= i) & (chosen < j)
        apart[inside, chosen[inside] - i] = math.inf  # itself
        least = min(least, float(apart.min()))
    return least < radius


def _radius(problem: SemiDiscreteProblem) -> float:
    return NEAR * float(newton_scale(problem).median())


def _components(problem: SemiDiscreteProblem, radius: float) -> tuple[Tensor, bool | None]:
    """Label of each atom, int64 (N,), and whether some were left apart that are near each other; None: not looked at.

    Atoms that are not told apart by their principal directions, because noise rules them, have no duplicates.
    """
    places = problem.principal.cpu().numpy()
    number, tree = len(places), cKDTree(places)
    some = generator(0, "transport", "neighbours").choice(number, min(SAMPLED, number), replace=False)
    if tree.query_ball_point(places[some], radius, return_length=True).mean() > PAIRS:
        return torch.arange(number), None
    pairs = tree.query_pairs(radius, output_type="ndarray")
    near = np.concatenate([_close(problem, part, radius) for part in np.array_split(pairs, len(pairs) // 4096 + 1)])
    graph = coo_array((np.ones(len(near)), (near[:, 0], near[:, 1])), shape=(number, number))
    found = connected_components(graph, directed=False)[1]
    labels = _wide_apart(problem, found, radius)
    return torch.from_numpy(labels.astype(np.int64)), labels.max() > found.max()


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
