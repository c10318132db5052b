"""The Hessian of the energy as draws see it, and the Newton step: for the trends of the heights, and atom by atom.

The lead of a draw is its best score minus its second best. P(lead > t | i wins) = p_i(h_i - t) / p_i(h_i): the mean
lead tau_i of atom i is 1 over the slope of log p_i in its own height, a diagonal Newton step. Measured on digits and
Fashion-MNIST, the Hessian so scaled has its eigenvalues between .2 and 1.5, 90 % of them between .7 and 1.2; the small
ones belong to smooth trends.

Trends F (N, k) are smooth functions of an atom: powers of the logarithm of its norm, the cosines of its principal
directions and their squares, its cluster, its mass; orthonormal under w. Measured, they hold nine tenths of what a
start in closed form gets wrong, and to see them takes k draws where the rest takes N. So they have their own step,

    F (F^T L F)^-1 F^T (p - w),    F^T L F = E[(F_i - F_j) (F_i - F_j)^T / 2 tau_i],  i the winner, j its runner-up,

and the diagonal step tau_i e_i takes what they leave, e = p / w - 1 - F F^T (p - w).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from dpmot.transport.closed_form import newton_scale
from dpmot.transport.problem import SemiDiscreteProblem
from dpmot.transport.race import Race
from dpmot.transport.tally import Tally

CLUSTERS = 40
SCARCE = 10  # atoms a trend, at least
LENT = 4  # wins that an atom borrows from the closed form times f, the ratio of the two
CLASSES, SHARED = 16, 0.02  # f is common to so many classes of norms, each with this share of all atoms' leads
SHORTEST = 0.01  # f is at least this
MOST = 2.0  # |p / w - 1| is cut at this
FAR, OFTEN = 3.0, 0.9  # a trend moves at most FAR tau for this share of the atoms
STARVED, BLOATED = 4.0, 6.0  # standard deviations of a Poisson count; it is skew
SLOWEST = 0.02  # least flow along a trend, over 1 / tau
WIDE = 2.5  # standard deviations of the logarithm of the norm that a trend tells apart


def trends(problem: SemiDiscreteProblem) -> Tensor:
    """F, float64 (N, k): F^T diag(w) F = 1 and F^T w = 0."""
    w = problem.masses
    quantile, size = torch.special.ndtri(problem.masses), problem.norms.clamp(min=1e-3 * float(problem.norms.max()))
    radius = size.log() - size.log().median()
    radius = (radius / radius.std().clamp(min=1e-6)).clamp(-WIDE, WIDE)  # else outliers rule its powers
    along = problem.principal / size[:, None]
    radial = torch.stack([radius, radius**2, radius**3, quantile, quantile**2, radius * quantile], 1)
    inside = torch.nn.functional.one_hot(problem.clusters(CLUSTERS)).double()
    inside = inside[:, inside.sum(0) >= SCARCE]  # the step of a single atom is better than that of its trend
    columns = torch.cat([radial, along, along**2, inside], 1)[:, : max(len(w) // SCARCE, 1)]
    columns = columns - w @ columns
    spread = (w @ columns**2).sqrt()
    columns = columns[:, spread > 1e-6 * columns.abs().amax(0).clamp(min=1e-300)]
    columns = columns / (w @ columns**2).sqrt()
    values, vectors = torch.linalg.eigh((w[:, None] * columns).T @ columns)
    apart = values > 1e-8 * values.max() if values.numel() else values > 0
    return columns @ (vectors[:, apart] / values[apart].sqrt())


@dataclass(eq=False)
class Survey:
    """Sums over all draws whose runners-up are known.

    Attributes:
        trends: F (N, k).
        wins: draws by cell, float64 (N,).
        leads: sum of their leads, float64 (N,).
        flow: sum of (F_i - F_j) (F_i - F_j)^T / 2 tau_i with tau_i in closed form, float64 (k, k).
    """

    problem: SemiDiscreteProblem
    trends: Tensor
    wins: Tensor
    leads: Tensor
    flow: Tensor

    @classmethod
    def empty(cls, problem: SemiDiscreteProblem, trends: Tensor) -> "Survey":
        """No draws yet."""
        zeros = torch.zeros_like(problem.masses)
        return cls(problem, trends, zeros, zeros.clone(), trends.new_zeros(trends.shape[1], trends.shape[1]))

    @property
    def sums(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.wins, self.leads, self.flow

    @cached_property
    def scale(self) -> Tensor:
        """tau in closed form, (N,)."""
        return newton_scale(self.problem)

    def add(self, races: Sequence[Race]) -> None:
        """Add draws under heights close to those of the earlier ones."""
        cell, second = torch.cat([race.cell for race in races]), torch.cat([race.second for race in races])
        self.wins += torch.bincount(cell, minlength=len(self.wins))
        self.leads.index_add_(0, cell, torch.cat([race.lead for race in races]).double())
        weight, number = 1 / (2 * self.scale[cell]), len(self.wins)
        at_atom = torch.zeros_like(self.wins).index_add_(0, cell, weight).index_add_(0, second, weight)
        between = torch.sparse_coo_tensor(torch.stack([cell, second]), weight, (number, number), check_invariants=False)
        across = self.trends.T @ (between @ self.trends)
        self.flow += self.trends.T @ (at_atom[:, None] * self.trends) - across - across.T

    def step(self, excess: Tensor, trend_share: float, share: Tensor | float) -> Tensor:
        """Shares of the Newton step, to be subtracted from the heights, (N,).

        Without draws, tau is the closed form and no trend moves.

        Args:
            excess: p / w - 1, or its like (N,).
            trend_share, share: of the step in the trends, and of that in the rest, one for all or (N,).
        """
        draws, masses = float(self.wins.sum()), self.problem.masses
        expected, inverse = self.scale, torch.zeros_like(self.flow)
        if draws:
            expected = self.scale * self._ratios
            common = float(self.leads.sum() / (self.wins @ self.scale))
            least = torch.eye(len(self.flow), dtype=expected.dtype, device=expected.device)
            least *= SLOWEST / float(masses @ expected)  # what no draw has seen to flow still moves
            inverse = torch.linalg.inv(self.flow / (common * draws) + least)
        tau = (self.leads + LENT * expected) / (self.wins + LENT)
        trend = self.trends.T @ (masses * excess)
        smooth = self.trends @ (inverse @ trend)
        rest = tau * (excess - self.trends @ trend).clamp(-MOST, MOST)
        smooth = smooth - smooth.median()
        reach = float(torch.quantile((smooth.abs() / tau)[:: -(-len(smooth) // 10**6)], OFTEN))
        return trend_share * min(1.0, FAR / max(reach, 1e-9)) * smooth + share * rest

    @property
    def _ratios(self) -> Tensor:
        """f, the ratio of measured to closed-form leads, common to atoms of about the same norm, (N,)."""
        classes = max(1, min(CLASSES, len(self.wins) // SCARCE))
        order = self.problem.norms.argsort(stable=True).argsort()
        labels = order * classes // len(order)
        total = torch.zeros(2, classes, dtype=torch.float64, device=order.device)
        seen = total.index_add(1, labels, torch.stack([self.leads, self.wins * self.scale]))
        least = SHARED * seen.mean(1, keepdim=True)  # what a class borrows from all
        leads, expected = seen + least
        return (leads / expected.clamp(min=1e-300)).clamp(SHORTEST, 1.0)[labels]


def astray(counts: Tensor, expected: Tensor) -> Tensor:
    """Cells whose counts are too low or too high to be chance: small steps would be lost on them, bool (N,)."""
    deviation = expected.sqrt()
    return (expected - counts > STARVED * deviation) | (counts - expected > BLOATED * deviation)


def excess(counts: Tensor, expected: Tensor, *, far: bool) -> Tensor:
    """p / w - 1, cut; log p / w far from the solution and for cells astray, half a draw added to both counts."""
    logarithm = torch.log((counts + 0.5) / (expected + 0.5))
    if far:
        return logarithm
    return torch.where(astray(counts, expected), logarithm, (counts / expected - 1).clamp(max=MOST))


def misfit(counts: Tensor, expected: Tensor) -> float:
    """Jeffreys' divergence sum (p - w) log(p / w), which overlooks neither empty cells nor one that has it all."""
    ratio = torch.log((counts + 0.5) / (expected + 0.5))
    return float((counts - expected) @ ratio) / float(expected.sum())


def trend_chi2(seen: Tally, masses: Tensor, trends: Tensor, inflation: float) -> float:
    """The part of chi2 that lies in the trends: |F^T (p - w)|^2 less what counting adds, k I / B for their own I."""
    share, added = seen.counts / seen.draws, inflation / seen.draws
    return float((trends.T @ (share - masses)).square().sum()) - trends.shape[1] * added
