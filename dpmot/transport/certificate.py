"""How far are the cell masses from their targets? chi2 = sum_i (p_i - w_i)^2 / w_i, measured on fresh noise.

For w = 1/N it is N sum p_i^2 - 1; plain counting of n noises would leave N/n. From the counts c_i of B independent
draws, sum_i c_i (c_i - 1) / (w_i B (B - 1)) - 1 is unbiased: a U-statistic with kernel 1[cell(x) = cell(x')] / w,
whose variance gives the interval (Hoeffding 1948). One look of a size fixed beforehand: looking until it passes
would be optional stopping.
"""

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from dpmot.seeds import generator
from dpmot.transport.kernel import count_cells
from dpmot.transport.problem import SemiDiscreteProblem, checked_heights

Z95 = 1.959964  # two-sided 95 % of the normal law
PRECISION = 0.2  # half-width of the interval over the target, for a solution that just meets the target


@dataclass(frozen=True)
class Certificate:
    """One look at a solution.

    Attributes:
        chi2: unbiased estimate; may be slightly negative.
        low, high: 95 % interval of chi2; low >= 0.
        total_variation: bound sqrt(high) / 2 >= sum |p_i - w_i| / 2 (Cauchy-Schwarz), at most 1: it holds with the
            interval's confidence. The sampler's output law differs from a random atom's by no more than this.
        empty_cells: cells that caught none of the noises. Evidence of emptiness only where noises >> N.
        noises: independent draws counted.
        seconds: wall time of the look.
        group_chi2: the same estimate over groups of atoms, or None: slow modes between far clusters show here.
    """

    chi2: float
    low: float
    high: float
    total_variation: float
    empty_cells: int
    noises: int
    seconds: float
    group_chi2: float | None = None


def chi2_estimate(counts: Tensor, masses: Tensor, twins: Tensor | None = None) -> tuple[float, float]:
    """Unbiased chi2 and its standard error from the counts of B draws.

    Args:
        counts: (N,).
        masses: targets w (N,), summing to 1.
        twins: (N,) pairs (z, -z) inside one cell, if the draws came in mirrored pairs. The two of a pair depend on
            each other, so only the B (B - 2) ordered pairs across are counted.

    Returns:
        (chi2, standard error).
    """
    c, w, total = counts.double(), masses.double(), float(counts.sum())
    pairs = c * (c - 1) if twins is None else c * (c - 1) - 2 * twins
    number = total * (total - (1 if twins is None else 2))
    second = float((pairs / w).sum()) / number  # E 1[same cell] / w = 1 + chi2
    third = float((c * (c - 1) * (c - 2) / w**2).sum()) / (total * (total - 1) * (total - 2))
    first_order = max(third - second**2, second - 1, 0.0)  # Var of p/w: about chi2; noisy, so never below it
    full = max(float((pairs / w**2).sum()) / number - second**2, 0.0)  # Var of the kernel: about N - 1
    return second - 1, math.sqrt((4 * (total - 2) * first_order + 2 * full) / (total * (total - 1)))


def look_size(number: int, target: float) -> int:
    """Draws that give a solution with chi2 = target an interval of half-width PRECISION * target.

    Solves (z95 / (PRECISION target))^2 (4 target / B + 2 N / B^2) = 1 for B.
    """
    k = (Z95 / (PRECISION * target)) ** 2
    return math.ceil((4 * k * target + math.sqrt((4 * k * target) ** 2 + 8 * k * number)) / 2)


def certify(
    problem: SemiDiscreteProblem,
    heights: Tensor,
    *,
    seed: int,
    target: float = 0.01,
    groups: Tensor | None = None,
) -> Certificate:
    """Measure chi2 of heights on `look_size` independent draws from a stream that no fit uses.

    Args:
        problem: source, atoms, masses.
        heights: (N,), any gauge.
        seed: of the stream.
        target: sets the number of draws.
        groups: int64 (N,), 0..G-1: also report chi2 of the group masses.

    Raises:
        ValueError: heights or groups of the wrong shape.
    """
    started, number = time.perf_counter(), len(problem.atoms)
    heights = problem.centred_heights(checked_heights(heights, number).to(problem.mean.device))
    if number == 1:  # the only cell is everything
        return Certificate(0.0, 0.0, 0.0, 0.0, 0, 0, time.perf_counter() - started)
    noises = look_size(number, target)
    stream = generator(seed, "transport", "certificate")
    counts, _ = count_cells(problem, heights - heights.mean(), noises, stream)
    chi2, error = chi2_estimate(counts, problem.masses)
    high = max(chi2 + Z95 * error, 0.0)
    return Certificate(
        chi2=chi2,
        low=max(chi2 - Z95 * error, 0.0),
        high=high,
        total_variation=min(math.sqrt(high) / 2, 1.0),
        empty_cells=int((counts == 0).sum()),
        noises=noises,
        seconds=time.perf_counter() - started,
        group_chi2=None if groups is None else _group_chi2(counts, problem.masses, groups),
    )


def _group_chi2(counts: Tensor, masses: Tensor, groups: Tensor) -> float:
    if groups.shape != counts.shape:
        raise ValueError(f"Groups have shape {tuple(groups.shape)}; give one label per atom, {tuple(counts.shape)}")
    _, groups = torch.unique(groups.to(counts.device), return_inverse=True)
    zeros = counts.new_zeros(int(groups.max()) + 1)
    return chi2_estimate(zeros.index_add(0, groups, counts), zeros.index_add(0, groups, masses))[0]
