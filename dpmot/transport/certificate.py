"""How far are the cell masses from their targets? chi2 = sum_i (p_i - w_i)^2 / w_i, measured on fresh noise.

For w = 1/N it is N sum p_i^2 - 1; plain counting of n noises would leave N/n. The mean of 1[cell(x) = cell(x')] / w
over the pairs of *independent* draws, minus 1, is unbiased: a U-statistic, whose variance gives the interval (Hoeffding
1948). Draws may come in bundles of M that depend on each other (mirrored, recycled). Pairs inside a bundle are left
out of the mean; they tell by how much the counts vary more than independent draws would,

    I = 1 + (M - 1) (E[1[cell = cell'] / w | same bundle] - E[the same | independent]) / (N - 1).

With bundles of more than two draws the bundles themselves are the units of the U-statistic, and its variance is read
off the products of their counts: dependence is stronger for some modes than for others, and I is only its mean.

One look of a size fixed beforehand: looking until it passes would be optional stopping.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from scipy.special import stdtrit
from torch import Tensor

from dpmot.device import ordinary
from dpmot.seeds import generator
from dpmot.transport.given import between, real, whole
from dpmot.transport.noise import FEW, bundle_size, kind_for
from dpmot.transport.problem import COLUMNS, SemiDiscreteProblem
from dpmot.transport.processes import Processes
from dpmot.transport.tally import Tally, tally

LEVEL, Z95 = 0.975, 1.959964  # two-sided 95 %, of the normal law
PRECISION = 0.2  # half-width of the interval over the target, for a solution that just meets the target
MANY = 1000  # atoms from which the noise of a look may be mirrored or recycled: the interval is tested for those
LEAST_INFLATION = 0.25  # of I: mirrored draws of two atoms would have none
FEWEST, FEWEST_BUNDLES = 100, 20  # draws of a look, and bundles
GROUPS = 20  # k-means clusters over which a certificate reports chi2


@dataclass(frozen=True)
class Certificate:
    """One look at a solution.

    Attributes:
        chi2: unbiased estimate; may be slightly negative.
        low, high: 95 % interval of chi2; low >= 0.
        total_variation: bound sqrt(high) / 2 >= sum |p_i - w_i| / 2 (Cauchy-Schwarz), at most 1: it holds with the
            interval's confidence. The sampler's output law differs from a random atom's by no more than this.
        empty_cells: cells that caught none of the noises.
        empty_expected: how many would catch none if every mass were right, sum_i (1 - w_i)^B: fewer are no evidence.
        primal_dual_gap: estimate of <p - w, h>, h for the centred source: the value of the dual at h minus the
            correlation E <z, T_h(z)> that the map attains, over scale * rms |y - mean|. T_h moves the masses p, not w:
            its sign is free, and it is 0 where p = w.
        noises: draws counted.
        seconds: wall time of the look.
        group_chi2: the same over groups of atoms (those given, or k-means clusters), or None for few atoms: slow
            modes between far clusters show here.
        group_high: upper end of its 95 % interval, or None.
    """

    chi2: float
    low: float
    high: float
    total_variation: float
    empty_cells: int
    noises: int
    seconds: float
    group_chi2: float | None = None
    group_high: float | None = None
    empty_expected: float = 0.0
    primal_dual_gap: float = 0.0


def chi2_estimate(seen: Tally, masses: Tensor) -> tuple[float, float]:
    """Unbiased chi2 and its standard error, for targets w (N,) that sum to 1."""
    chi2, linear, constant = _moments(seen, masses)
    return chi2, math.sqrt(linear + constant)


def _moments(seen: Tally, masses: Tensor) -> tuple[float, float, float]:
    """Unbiased chi2, and the two parts of its variance: that which grows with chi2, and that which does not."""
    c, w, total, pairs = seen.counts.double(), masses.double(), float(seen.draws), seen.pairs
    if seen.bundles is not None:
        return seen.chi2(w), *_between(seen.bundles, w)
    apart = c * (c - 1) - seen.together
    second = float((apart / w).sum()) / pairs  # E 1[same cell] / w = 1 + chi2
    within, inflation = total * (total - 1) - pairs, max(seen.inflation(w), LEAST_INFLATION)
    together = float((seen.together / w).sum()) / within if within else second
    third = float((c * (c - 1) * (c - 2) / w**2).sum()) / (total * (total - 1) * (total - 2))
    third -= 3 * within / (total * (total - 1)) * (together - second) * second  # triples with a dependent pair
    first_order = max(third - second**2, second - 1, 0.0)  # Var p/w under p: chi2 unless few cells make it
    full = max(float((apart / w**2).sum()) / pairs - second**2, 0.0)  # Var of the kernel: about N - 1
    return second - 1, 4 * inflation * first_order / total, 2 * inflation**2 * full / pairs


def joined(looks: Mapping[int, Certificate], shares: Mapping[int, float]) -> Certificate:
    """The certificate of maps onto parts of the atoms, each drawn in its share s_c = N_c / N, sum s_c = 1.

    An atom of part c has the mass s_c p_i|c and the target 1 / N, so that chi2 = sum_c s_c chi2_c. The ends of the
    interval are the same sums, and so on the safe side.
    """
    chi2, low, high = (
        sum(shares[c] * getattr(look, end) for c, look in looks.items()) for end in ("chi2", "low", "high")
    )
    return Certificate(
        chi2=chi2,
        low=low,
        high=high,
        total_variation=min(math.sqrt(high) / 2, 1.0),
        empty_cells=sum(look.empty_cells for look in looks.values()),
        noises=sum(look.noises for look in looks.values()),
        seconds=sum(look.seconds for look in looks.values()),
        empty_expected=sum(look.empty_expected for look in looks.values()),
        primal_dual_gap=sum(shares[c] * look.primal_dual_gap for c, look in looks.items()),
    )


def _between(bundles: Tensor, masses: Tensor) -> tuple[float, float]:
    """Variance, in two parts, of the mean product <p_g, p_h>_w over pairs of G bundles, p_g from their counts (G, N).

    Var = (4 (G - 2) zeta_1 + 2 zeta_2) / (G (G - 1)); zeta_2 is the variance of a product, zeta_1 the covariance of two
    that have a block in common (Hoeffding 1948).
    """
    count, size = len(bundles), float(bundles[0].sum())
    products = masses.new_zeros(count, count)
    for counts, w in zip(bundles.split(COLUMNS, dim=1), masses.split(COLUMNS), strict=True):
        shares = counts.double() / size
        products += (shares / w) @ shares.T
    products.fill_diagonal_(0)
    rows, pairs = products.sum(1) / (count - 1), count * (count - 1)
    mean = float(rows.mean())
    second = max(float(products.square().sum()) / pairs - mean**2, 0.0)
    first = max(float(rows.var()) - second / (count - 1), 0.0)
    return 4 * (count - 2) * first / pairs, 2 * second / pairs


def interval(seen: Tally, masses: Tensor) -> tuple[float, float, float]:
    """chi2, low and high; from few bundles by Student's law.

    The ends are the values of chi2 that a test would just not refuse, with the variance that a look has there (Wilson
    1927): the variance at the estimate is small where the estimate is, and the upper end was missed too often.
    """
    chi2, linear, constant = _moments(seen, masses)
    z = Z95 if seen.bundles is None else float(stdtrit(len(seen.bundles) - 1, LEVEL))
    slope = max(linear / max(chi2, math.sqrt(linear + constant), 1e-300), 4 / seen.draws)
    # |u - chi2| = z sqrt(slope u + constant), solved for u
    middle = chi2 + z**2 * slope / 2
    half = z * math.sqrt(max((z * slope / 2) ** 2 + slope * chi2 + constant, 0.0))
    return chi2, max(middle - half, 0.0), max(middle + half, 0.0)


def look_size(number: int, target: float) -> int:
    """Draws that give a solution with chi2 = target an interval of half-width PRECISION * target.

    Solves (z95 / (PRECISION target))^2 (4 target / B + 2 N / B^2) = 1 for B.
    """
    k = (Z95 / (PRECISION * target)) ** 2
    return max(FEWEST, math.ceil((4 * k * target + math.sqrt((4 * k * target) ** 2 + 8 * k * number)) / 2))


@ordinary()
def certify(
    problem: SemiDiscreteProblem,
    heights: Tensor,
    *,
    seed: int,
    target: float = 0.01,
    groups: Tensor | None = None,
    name: str = "",
    processes: Processes | None = None,
) -> Certificate:
    """Measure chi2 of heights on `look_size` draws from a stream that no fit uses.

    Atoms that are the same point and have the same height count as one with all their masses.

    Args:
        heights: (N,), any gauge.
        target: sets the number of draws.
        groups: int64 (N,), any labels: also report chi2 of their masses; None takes k-means clusters.
        name: of the problem. Looks at several problems with one seed are independent where their names differ.
        processes: that share the draws, and all call this; each gets the certificate that one alone would get.

    Raises:
        ValueError: heights or groups of the wrong shape, a target that is not positive.
        RuntimeError: one of the processes is lost, or looks at something else.
    """
    started, heights, copies, seed = time.perf_counter(), problem.checked(heights), problem.copies, whole(seed, "seed")
    if not between(target, 0, math.inf):
        raise ValueError(f"target = {target} sets no number of draws; give a positive number, e.g. 0.01")
    groups = None if groups is None else real(groups, "Groups").to(heights.device)
    if groups is not None and groups.shape != heights.shape:
        raise ValueError(f"Groups have shape {tuple(groups.shape)}; give one label per atom, {tuple(heights.shape)}")
    if copies is not None and torch.equal(copies.highest(heights)[copies.names], heights):
        problem, heights = problem.different, heights[copies.first]
        groups = None if groups is None else groups[copies.first]
    number, heights = len(problem.atoms), problem.centred_heights(heights)
    if number == 1:  # the only cell is everything
        return Certificate(0.0, 0.0, 0.0, 0.0, 0, 0, time.perf_counter() - started)
    stream = generator(seed, "transport", "certificate", *([name] if name else []))
    noise = kind_for("auto", problem.measure, problem.atoms.dim) if number >= MANY else "plain"
    labels = problem.clusters(GROUPS) if groups is None else torch.unique(groups, return_inverse=True)[1]
    labels = labels.to(heights.device)
    grouped = labels if groups is not None or int(labels.max()) else None
    size = bundle_size(noise, problem.atoms.dim, number, FEW)  # more turns save time, but widen the interval
    draws = max(look_size(number, target), FEWEST_BUNDLES * size if size > 2 else 0)
    seen, *of_groups = tally(
        problem, [heights], draws, stream, noise=noise, labels=grouped, most=FEW, processes=processes
    )
    chi2, low, high = interval(seen, problem.masses)
    group_chi2 = group_high = None
    if of_groups:
        weights = torch.zeros_like(of_groups[0].counts).index_add(0, labels, problem.masses)
        group_chi2, _, group_high = interval(of_groups[0], weights)
    spread = problem.measure.scale * float(problem.norms.square().mean().sqrt())
    return Certificate(
        chi2=chi2,
        low=low,
        high=high,
        total_variation=min(math.sqrt(high) / 2, 1.0),
        empty_cells=int((seen.counts == 0).sum()),
        noises=seen.draws,
        seconds=time.perf_counter() - started,
        group_chi2=group_chi2,
        group_high=group_high,
        empty_expected=float(torch.exp(seen.draws * torch.log1p(-problem.masses)).sum()),
        primal_dual_gap=float((seen.counts / seen.draws - problem.masses) @ heights) / max(spread, 1e-300),
    )
