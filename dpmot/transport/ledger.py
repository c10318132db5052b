"""What a fit has spent and seen: noises, chi2 along the way, and the budget. After every look it tells the caller."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypedDict

from torch import Tensor

State = Mapping[str, Tensor]


class Report(TypedDict):
    """What a callback is told after every look of a fit.

    Attributes:
        noises: rows of noise argmaxed so far.
        chi2: what the look saw.
        seconds: so far.
        left: seconds until the fit will probably end, or None.
        heights: those that would be returned now, (N,); None with "newton".
        state: returns what `resume` takes; None where the method cannot be resumed.
    """

    noises: int
    chi2: float
    seconds: float
    left: float | None
    heights: Tensor | None
    state: Callable[[], State] | None


@dataclass
class Ledger:
    """Filled while fitting.

    Attributes:
        budget: rows that may be argmaxed.
        watch: called with every look, or None.
        started: the time of `time.perf_counter` at which the fit began.
        noises: rows argmaxed so far; `resumed`, by the fit that this one continues.
        history: (noises, chi2) of every look; chi2 is of the heights before that look's update.
    """

    budget: int
    watch: Callable[[Report], None] | None = None
    started: float = field(default_factory=time.perf_counter)
    noises: int = 0
    resumed: int = 0
    history: list[tuple[int, float]] = field(default_factory=list)

    def record(
        self,
        chi2: float,
        heights: Tensor | None = None,
        state: Callable[[], State] | None = None,
        expected: float = math.inf,
    ) -> None:
        """Note one look; ``expected`` are the noises at which the fit will probably end."""
        self.history.append((self.noises, chi2))
        if self.watch is not None:
            seconds, left = time.perf_counter() - self.started, None
            if math.isfinite(expected):
                left = seconds * (expected - self.noises) / (self.noises - self.resumed)
            self.watch(Report(noises=self.noises, chi2=chi2, seconds=seconds, left=left, heights=heights, state=state))

    def spent(self) -> str | None:
        """The reason to stop, once the budget is used up."""
        if self.noises < self.budget:
            return None
        return f"chi2 was about {self.history[-1][1]:.3g} when the budget of {self.budget} noises was spent"
