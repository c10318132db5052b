"""What a fit has spent and seen: noises, chi2 along the way, the budget, the caller's callback."""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

Callback = Callable[[dict], None]


@dataclass
class Ledger:
    """Filled while fitting.

    Attributes:
        budget: rows that may be argmaxed.
        callback: called after every look, or None: see `record`.
        noises: rows argmaxed so far.
        history: (noises, chi2) of every look; chi2 is of the heights before that look's update.
    """

    budget: int
    callback: Callback | None = None
    noises: int = 0
    history: list[tuple[int, float]] = field(default_factory=list)

    def record(
        self,
        chi2: float,
        heights: Tensor | None = None,
        state: Callable[[], dict] | None = None,
        expected: float | None = None,
    ) -> None:
        """Note one look.

        Args:
            chi2: of the heights seen.
            heights: centred heights after it.
            state: returns what a resumed fit needs.
            expected: noises at which the fit will probably end.
        """
        self.history.append((self.noises, chi2))
        if self.callback is not None:
            seen = {"noises": self.noises, "chi2": chi2, "heights": heights, "state": state, "expected": expected}
            self.callback(seen)

    def spent(self) -> str | None:
        """The reason to stop, once the budget is used up."""
        if self.noises < self.budget:
            return None
        return f"chi2 was about {self.history[-1][1]:.3g} when the budget of {self.budget} noises was spent"
