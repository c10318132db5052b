"""The DPM-OT authors' solver, for the reproduction: Adam on the heights with Monte-Carlo masses.

Each iteration draws fresh noise for g = p - w and sets m = .9 m + .1 g, v = .999 v + .001 g^2, without bias correction,
and h -= lr m / (sqrt v + 1e-8). A stall doubles the noises and multiplies lr by .8, three times at most. The fit stops
when |g| < 8e-4 and no cell is empty. |g| of n noises is at least about 1 / sqrt(n), so with 10 N noises this rule can
fire only for N > 150,000, or N > 20,000 after three doublings: elsewhere the budget ends the fit.

The schedule is that of the authors' code (Li et al. 2023), which does not define a stall; here it is `patience`
iterations without a new least |g|.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dpmot.seeds import generator
from dpmot.transport.given import between
from dpmot.transport.ledger import Ledger
from dpmot.transport.problem import SemiDiscreteProblem
from dpmot.transport.processes import Processes
from dpmot.transport.tally import tally

FIRST, SECOND, TINY = 0.9, 0.999, 1e-8  # Adam


@dataclass(frozen=True)
class AuthorsSchedule:
    """Their settings for CIFAR-10 and CelebA; FFHQ has learning_rate=20.

    Args:
        learning_rate: lr.
        noises_per_atom: noises of one iteration over N.
        iterations: the most iterations of a fit.
        stalls, shrink: how often at most a stall doubles the noises and multiplies lr by `shrink`.
        patience: iterations without a new least |g| that make a stall.
        gradient: |g| at which the fit stops, if no cell is empty.

    Raises:
        ValueError: a value that is not positive.
    """

    learning_rate: float = 0.1
    noises_per_atom: int = 10
    iterations: int = 10_000
    stalls: int = 3
    shrink: float = 0.8
    patience: int = 30
    gradient: float = 8e-4

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            counts = name in ("noises_per_atom", "iterations", "stalls", "patience")
            least = -1 if name == "stalls" else 0
            if not between(value, least, math.inf) or (counts and not hasattr(value, "__index__")):
                kind = "whole" if counts else "positive"
                raise ValueError(f"{name} = {value} in the authors' schedule; give a {kind} number")


def fit(
    problem: SemiDiscreteProblem,
    *,
    seed: int,
    ledger: Ledger,
    start: Tensor | None = None,
    schedule: AuthorsSchedule | None = None,
    processes: Processes | None = None,
) -> tuple[Tensor, str | None]:
    """Centred heights (N,) float64, and the reason why the fit gave up, if it did; see `SemiDiscreteSolver`.

    Args:
        start: centred heights; zero as theirs if None.
        schedule: `AuthorsSchedule()` if None.
        processes: that share the draws.
    """
    plan = schedule or AuthorsSchedule()
    rate, noises = plan.learning_rate, plan.noises_per_atom * len(problem.atoms)
    heights = torch.zeros_like(problem.masses) if start is None else start.clone()
    first, second = torch.zeros_like(heights), torch.zeros_like(heights)
    least, since, stalls = math.inf, 0, 0
    for iteration in range(plan.iterations):
        stream = generator(seed, "transport", "authors", iteration)
        seen = tally(problem, [heights], noises, stream, noise="plain", processes=processes)[0]
        ledger.noises += seen.draws
        gradient = seen.counts / seen.draws - problem.masses
        first = FIRST * first + (1 - FIRST) * gradient
        second = SECOND * second + (1 - SECOND) * gradient.square()
        norm, empty = float(gradient.norm()), int((seen.counts == 0).sum())
        if norm < plan.gradient and not empty:
            ledger.record(seen.chi2(problem.masses), problem.original_heights(heights))
            return heights, None
        heights = heights - rate * first / (second.sqrt() + TINY)
        heights = heights - heights.mean()
        ledger.record(seen.chi2(problem.masses), problem.original_heights(heights))
        since = 0 if norm < least else since + 1
        least = min(least, norm)
        if since >= plan.patience and stalls < plan.stalls:
            noises, rate, since, stalls = 2 * noises, plan.shrink * rate, 0, stalls + 1
        if reason := ledger.spent():
            return heights, reason
    reason = f"|g| was {least:.2g} at best in {plan.iterations} iterations, their rule asks for {plan.gradient:g}"
    return heights, reason
