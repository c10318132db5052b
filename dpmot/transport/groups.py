"""Groups of atoms that nearly coincide: stiff inside, one atom from afar.

Raising one height of a group by far less than tau moves the mass of all its members, so a step that suits the group
tears its cells apart, and one that suits the cells never moves the group. The step has two parts,

    tau_G (P_G / W_G - 1) + tau_i (p_i / w_i - P_G / W_G),    P_G = sum_{i in G} p_i,  W_G = sum_{i in G} w_i,

with tau_G of the group's centre among the centres and tau_i of y_i - centre among the members (see `closed_form`).
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from torch import Tensor

from dpmot.seeds import generator
from dpmot.transport.atoms import blocks
from dpmot.transport.closed_form import closed_form_start, newton_scale, normal_density
from dpmot.transport.kernel import Tally, gaps
from dpmot.transport.problem import SemiDiscreteProblem

NEAR = 0.25  # atoms of one group lie within NEAR * (median of tau) of each other, linked by single linkage
PROJECTED = 8  # dimensions of the neighbour search
LEADS, LENT = 2, 4  # rows a centre that measure its slope; wins it borrows
SHORTEST = 0.05  # f is at least this


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

    def step(self, seen: Tally, slope: Tensor) -> Tensor:
        """The Newton step in p with tau = `slope` (G,), to be subtracted from the heights, (N,)."""
        share = seen.counts / seen.draws
        ratio = self.total(share) / self.merged.masses
        return (slope * (ratio - 1))[self.labels] + self.tau * (share / self.masses - ratio[self.labels])

    def log_step(self, seen: Tally, slope: Tensor) -> Tensor:
        """The Newton step in log p, with half a draw added to what was seen and what was expected, (N,)."""
        expected = seen.draws * self.masses
        coarse = torch.log((self.total(seen.counts) + 0.5) / (self.total(expected) + 0.5))
        fine = torch.log((seen.counts + 0.5) / (expected + 0.5))
        return (slope * coarse)[self.labels] + self.tau * (fine - coarse[self.labels])

    def slope(self, heights: Tensor, stream: np.random.Generator, *, noise: str) -> tuple[Tensor, int]:
        """tau of every centre (G,) from the mean lead of its wins, and the rows it took.

        A centre with few wins borrows LENT of them from the closed form times f, the mean ratio of the two.
        """
        scale, number = newton_scale(self.merged), len(self.merged.atoms)
        if number == 1:
            return scale, 0
        centres = self.total(self.masses * heights) / self.merged.masses
        cell, lead = gaps(self.merged, centres, LEADS * number, stream, noise=noise)
        common = min(max(float(lead.sum() / scale[cell].sum()), SHORTEST), 1.0)
        wins, total = torch.bincount(cell, minlength=number), torch.zeros_like(scale).index_add(0, cell, lead)
        return (total + LENT * common * scale) / (wins + LENT), len(cell)


def near_duplicates(problem: SemiDiscreteProblem) -> Groups:
    """Groups by single linkage at NEAR * (median of tau); a component wider than that stays apart."""
    number, zeros = len(problem.atoms), torch.zeros_like(problem.masses)
    radius = NEAR * float(newton_scale(problem).median())
    labels = _components(problem, radius).to(problem.mean.device)
    if int(labels.max()) == number - 1:
        return Groups(problem, labels, problem, zeros, zeros)
    rows = torch.cat([y for _, _, y in blocks(problem.points)]).double()
    weights = zeros.new_zeros(int(labels.max()) + 1).index_add(0, labels, problem.masses)
    centres = rows.new_zeros(len(weights), rows.shape[1]).index_add(0, labels, problem.masses[:, None] * rows)
    centres = centres / weights[:, None]
    inside, share = rows - centres[labels], problem.masses / weights[labels]
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


def projected(problem: SemiDiscreteProblem) -> np.ndarray:
    """The centred atoms in at most PROJECTED random orthonormal directions, float64 (N, k): distances only shorten."""
    dim, basis = problem.atoms.dim, torch.eye(min(problem.atoms.dim, PROJECTED))
    if dim > PROJECTED:
        gaussian = generator(0, "transport", "groups").standard_normal((dim, PROJECTED))
        basis = torch.linalg.qr(torch.from_numpy(gaussian))[0].float()
    basis = basis.to(problem.mean.device)
    return torch.cat([y @ basis for _, _, y in blocks(problem.points)]).double().cpu().numpy()


def _components(problem: SemiDiscreteProblem, radius: float) -> Tensor:
    """Label of each atom, int64 (N,), numbered by first appearance."""
    number, low = len(problem.atoms), projected(problem)
    pairs = cKDTree(low).query_pairs(radius, output_type="ndarray")
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
    rows = torch.empty(len(index), problem.atoms.dim, device=problem.mean.device)
    for i, j, y in blocks(problem.points):
        inside = (index >= i) & (index < j)
        rows[torch.from_numpy(inside)] = y[torch.from_numpy(index[inside] - i)]
    return rows
