"""Clumps of atoms that nearly coincide: stiff inside, one atom from afar.

Raising one height of a clump by far less than tau moves the mass of all its members, so a step that suits the clump
tears its cells apart, and one that suits the cells never moves the clump. The step has two parts,

    step_G + tau_i (p_i / w_i - P_G / W_G),    P_G = sum_{i in G} p_i,  W_G = sum_{i in G} w_i,

step_G that of the clump's centre among the centres (see `curvature`), tau_i of y_i - centre among the members (see
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
from dpmot.transport.closed_form import closed_form_start, newton_scale
from dpmot.transport.curvature import Survey, astray, excess
from dpmot.transport.measures import normal_density
from dpmot.transport.problem import SemiDiscreteProblem
from dpmot.transport.tally import Tally

NEAR = 0.25  # atoms of one clump lie within NEAR * (median of tau) of each other, linked by single linkage
PAIRS = 200  # mean neighbours of an atom along the principal directions
SAMPLED = 128  # atoms that are asked for their neighbours, so that a clump of a twentieth of all is seen
LOST = 0.3  # least share of the step of cells astray: what is known of their slope comes from few wins


@dataclass(frozen=True, eq=False)
class Clumps:
    """A partition of the atoms.

    Attributes:
        problem: the atoms themselves.
        labels: clump of each atom, int64 (N,).
        merged: the problem of the centres with masses W (G,); the problem itself where no two atoms are near.
        tau: tau_i inside the clump, float64 (N,); 0 for an atom alone.
        offset: heights inside the clump in closed form, float64 (N,).
        rounds: whether products of a fit may be rounded: that pays, and no two atoms are near each other.
    """

    problem: SemiDiscreteProblem
    labels: Tensor
    merged: SemiDiscreteProblem
    tau: Tensor
    offset: Tensor
    rounds: bool = False

    def total(self, values: Tensor) -> Tensor:
        """Sums over the clumps: (N,) -> (G,)."""
        return values.new_zeros(len(self.merged.atoms)).index_add(0, self.labels, values)

    def start(self) -> Tensor:
        """The closed form for the centres, then for the members, centred heights (N,)."""
        heights = closed_form_start(self.merged)[self.labels] + self.offset
        return heights - heights.mean()

    def step(self, seen: Tally, survey: Survey, trend_share: float, share: float, *, far: bool) -> Tensor:
        """Shares of the Newton step, to be subtracted from the heights, (N,).

        Args:
            seen: draws of the atoms.
            survey: of the centres.
            trend_share, share: see `Survey.step`.
            far: see `curvature.excess`.
        """
        due = seen.draws * self.problem.masses
        counts, dues = self.total(seen.counts), self.total(due)
        outer = excess(counts, dues, far=far)
        inner = excess(seen.counts, due, far=far) - outer[self.labels]
        wide, close = (
            torch.where(astray(c, d), max(share, LOST), share) for c, d in ((counts, dues), (seen.counts, due))
        )
        return survey.step(outer, trend_share, wide)[self.labels] + close * self.tau * inner

    def centres(self, heights: Tensor) -> Tensor:
        """Heights of the centres: the mean over the members, (N,) -> (G,)."""
        return self.total(self.problem.masses * heights) / self.merged.masses


def near_duplicates(problem: SemiDiscreteProblem) -> Clumps:
    """Clumps by single linkage at NEAR * (median of tau); a component wider than that stays apart."""
    number, zeros = len(problem.atoms), torch.zeros_like(problem.masses)
    labels, left = _components(problem, _radius(problem))
    labels = labels.to(problem.mean.device)
    if int(labels.max()) == number - 1:
        near = problem.rounds and (crowded(problem) if left is None else left)
        order = torch.arange(number, device=labels.device)
        return Clumps(problem, order, problem, zeros, zeros, rounds=problem.rounds and not near)
    several = torch.bincount(labels) > 1
    index = torch.nonzero(several[labels])[:, 0]
    clump, members = (torch.cumsum(several, 0) - 1)[labels[index]], rows(problem.points, index).double()
    weights = zeros.new_zeros(len(several)).index_add(0, labels, problem.masses)
    share = problem.masses[index] / weights[labels[index]]
    middle = members.new_zeros(int(several.sum()), members.shape[1]).index_add(0, clump, share[:, None] * members)
    inside = members - middle[clump]
    centres = torch.empty(len(several), problem.atoms.dim, dtype=problem.dtype, device=labels.device)
    for i, j, y in blocks(problem.points):
        centres[labels[i:j]] = y  # an atom alone is its own centre
    centres[several] = middle.to(centres.dtype)
    merged = SemiDiscreteProblem(centres, weights, problem.source_measure, problem.memory)
    quantile = torch.special.ndtri(share.clamp(max=0.999))
    spread = problem.measure.scale * inside.norm(dim=1)
    # the noise of cell G has its mean along the centre: scale phi(q_G) / W_G
    mean = problem.measure.scale * normal_density(torch.special.ndtri(merged.masses)) / merged.masses
    direction = middle / middle.norm(dim=1, keepdim=True).clamp(min=1e-12)
    shift = ((mean[several][:, None] * direction)[clump] * inside).sum(1)
    tau = zeros.index_copy(0, index, spread * share / normal_density(quantile))
    return Clumps(problem, labels, merged, tau, zeros.index_copy(0, index, spread * quantile - shift))


def crowded(problem: SemiDiscreteProblem) -> bool:
    """Whether any of a few atoms has another within the radius of a clump: rounding would hide their leads."""
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
    """The clump of each atom, int64 (N,), and whether near atoms were left apart (None: nobody looked).

    Only atoms that are near along the principal directions are compared. Where noise rules these directions, nearly all
    atoms are; then there are no duplicates, and nothing is compared.
    """
    places = problem.principal.cpu().numpy()
    number, tree = len(places), cKDTree(places)
    some = generator(0, "transport", "neighbours").choice(number, min(SAMPLED, number), replace=False)
    if tree.query_ball_point(places[some], radius, return_length=True).mean() > PAIRS:
        return torch.arange(number), None
    pairs = tree.query_pairs(radius, output_type="ndarray")
    parts = np.array_split(pairs, len(pairs) // 4096 + 1)
    near = np.concatenate([part[_apart(problem, *part.T) < radius] for part in parts])
    graph = coo_array((np.ones(len(near)), (near[:, 0], near[:, 1])), shape=(number, number))
    linked = connected_components(graph, directed=False)[1]
    labels = _wide_apart(problem, linked, radius)
    return torch.from_numpy(labels.astype(np.int64)), bool(labels.max() > linked.max())


def _wide_apart(problem: SemiDiscreteProblem, labels: np.ndarray, radius: float) -> np.ndarray:
    """The labels, but single atoms instead of components that reach farther than the radius from their first atom."""
    first = np.unique(labels, return_index=True)[1]
    inside = np.flatnonzero(first[labels] != np.arange(len(labels)))
    far = _apart(problem, inside, first[labels[inside]]) > radius
    wide = np.isin(labels, labels[inside[far]])
    fresh = np.where(wide, labels.max() + 1 + np.arange(len(labels)), labels)
    return np.unique(fresh, return_inverse=True)[1]


def _apart(problem: SemiDiscreteProblem, *pair: np.ndarray) -> np.ndarray:
    """Distances between atoms, by their numbers, each (P,)."""
    one, other = (rows(problem.points, torch.from_numpy(index).to(problem.mean.device)) for index in pair)
    return (one - other).norm(dim=1).cpu().numpy()
