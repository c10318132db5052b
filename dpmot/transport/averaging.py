"""Heights in many dimensions: a closed-form start, then averaged diagonal Newton steps on fresh noise.

The score <z, y_i> of noise is close to Gaussian with standard deviation s_i = scale |y_i|, and a cell is where it
wins against an almost constant maximum of the others. So P(s_i g + h_i > 0) = w_i gives the start

    h_i = -s_i q_i,    q_i = Phi^-1(1 - w_i),

and d log p_i / d h_i = 1 / tau_i with tau_i = s_i w_i / phi(q_i), about s_i / sqrt(2 ln N): a Newton step that costs
nothing. Phase 1 takes it in log p with a factor c, cut while chi2 fails to fall. Phase 2 takes it in p with gain
1 / n, which averages the Newton steps over all noises n, the start counting as n_0 = N / chi2_0 noises of its own.
Rows come in mirrored pairs z, -z: one product serves both.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dpmot.seeds import generator
from dpmot.transport.certificate import chi2_estimate
from dpmot.transport.kernel import count_cells
from dpmot.transport.ledger import Ledger
from dpmot.transport.problem import SemiDiscreteProblem

NEAR = 0.5  # a start with chi2 below this needs no phase 1
CUT, LEAST = 0.6, 0.5  # phase 1 shortens its step by CUT; phase 2 never goes below LEAST
GROWTH = 8  # phase 2: a batch is at least 1/GROWTH of all noises so far
LEAST_ROWS = 512  # mirrored pairs in the smallest batch
FIRST_LOOK = 8  # noises per atom in the look that compares the starts
ENOUGH = 0.55  # the fit ends when its own estimate of chi2 is below this share of the target,
SHARP = 0.15  # pooled over so many of the latest looks that its standard error is below this one


def closed_form_start(problem: SemiDiscreteProblem) -> Tensor:
    """h_i = -s_i Phi^-1(1 - w_i), centred heights, float64 (N,)."""
    return problem.law.scale * problem.norms * torch.special.ndtri(problem.masses)


def quadratic_start(problem: SemiDiscreteProblem) -> Tensor:
    """h_i = -scale |y_i|^2 / (2 r): the Brenier conjugate of isotropic Gaussian atoms, r their standard deviation."""
    square = problem.norms.square()
    spread = (square.mean() / problem.atoms.dim).sqrt()
    return -problem.law.scale * square / (2 * spread)


def newton_scale(problem: SemiDiscreteProblem) -> Tensor:
    """tau_i = s_i w_i / phi(q_i), float64 (N,); atoms near the mean borrow a tenth of the typical norm."""
    quantile = torch.special.ndtri(problem.masses)
    density = torch.exp(-0.5 * quantile.square()) / math.sqrt(2 * math.pi)
    norms = problem.norms.clamp(min=0.1 * float(problem.norms.square().mean().sqrt()))
    return problem.law.scale * norms * problem.masses / density


@dataclass(frozen=True)
class Look:
    """Fresh noise seen under some heights: relative masses p/w (N,), unbiased chi2, its standard error."""

    draws: int
    ratio: Tensor
    chi2: float
    error: float


def fit(
    problem: SemiDiscreteProblem,
    *,
    target: float,
    seed: int,
    ledger: Ledger,
    start: Tensor | None = None,
    tile: int,
    block: int,
) -> tuple[Tensor, str | None]:
    """Centred heights (N,) float64, and the reason why the fit gave up, if it did.

    Args:
        problem: source, atoms, masses; N >= 2 and not all atoms equal.
        target: chi2 to reach.
        seed: of the noise.
        ledger: records what is spent.
        start: centred heights to try beside the two closed forms.
        tile, block: see `count_cells`.
    """
    number, masses, tau = len(problem.atoms), problem.masses, newton_scale(problem)
    look = _looker(problem, seed, ledger, tile, block)
    starts = [closed_form_start(problem), quadratic_start(problem)] + ([] if start is None else [start])
    heights, last = _best_start(starts, look, max(FIRST_LOOK * number // 2, LEAST_ROWS))
    ledger.record(last.chi2)

    factor, averaging, prior = 1.0, last.chi2 < NEAR, _worth(last, number)
    trail: list[Look] = []  # phase 2
    reason = None
    for batch in itertools.count():
        spent = sum(seen.draws for seen in trail)
        rows = max(number, LEAST_ROWS, math.ceil((prior + spent) / (2 * GROWTH)) if averaging else 0)
        seen = look(heights, rows, batch)
        ledger.record(seen.chi2)
        if averaging:
            trail.append(seen)
            gain = max(factor, LEAST) * seen.draws / (prior + spent + seen.draws)
            heights = heights - gain * tau * (seen.ratio - 1)
        else:
            factor *= CUT if seen.chi2 > last.chi2 + seen.error else 1.0
            expected = seen.draws * masses
            heights = heights - factor * tau * torch.log((seen.ratio * expected + 0.5) / (expected + 0.5))
            averaging, prior, last = seen.chi2 < number / seen.draws, _worth(seen, number), seen
        heights = heights - heights.mean()
        if _pooled(trail, SHARP * target) <= ENOUGH * target or (reason := ledger.spent()):
            return heights, reason


def _looker(
    problem: SemiDiscreteProblem, seed: int, ledger: Ledger, tile: int, block: int
) -> Callable[[Tensor, int, int | str], Look]:
    """look(heights, rows, key): count `rows` mirrored pairs of the stream (seed, key)."""

    def look(heights: Tensor, rows: int, key: int | str) -> Look:
        stream = generator(seed, "transport", "fit", key)
        counts, twins = count_cells(problem, heights, rows, stream, mirror=True, tile=tile, block=block)
        ledger.noises += 2 * rows
        return Look(2 * rows, counts / (2 * rows * problem.masses), *chi2_estimate(counts, problem.masses, twins))

    return look


def _best_start(starts: list[Tensor], look: Callable, rows: int) -> tuple[Tensor, Look]:
    """The start with the least chi2 on common noise."""
    looks = [look(heights, rows, "start") for heights in starts]
    best = min(range(len(starts)), key=lambda k: looks[k].chi2)
    return starts[best], looks[best]


def _worth(seen: Look, number: int) -> float:
    """n_0 = N / chi2: how many counted noises would give heights as good as these; chi2 read on the high side."""
    return number / (max(seen.chi2, 0.0) + seen.error)


def _pooled(trail: list[Look], wanted: float) -> float:
    """Mean chi2 of the latest looks, as many as bring the standard error to `wanted`; inf while there are too few.

    chi2 falls along the fit, so the mean over the latest looks errs on the high side.
    """
    draws, chi2, variance = 0, 0.0, 0.0
    for seen in reversed(trail):
        draws, chi2 = draws + seen.draws, chi2 + seen.draws * seen.chi2
        variance += (seen.draws * seen.error) ** 2
        if math.sqrt(variance) <= wanted * draws:
            return chi2 / draws
    return math.inf
