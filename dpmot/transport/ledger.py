"""What a fit has spent and seen: noises, chi2 along the way, the budget, the caller's callback."""

from collections.abc import Callable
from dataclasses import dataclass, field

Callback = Callable[[dict], None]


@dataclass
class Ledger:
    """Filled while fitting.

    Attributes:
        budget: rows that may be argmaxed.
        callback: called with dict(noises=, chi2=) after every look, or None.
        noises: rows argmaxed so far.
        history: (noises, chi2) of every look; chi2 is of the heights before that look's update.
    """

    budget: int
    callback: Callback | None = None
    noises: int = 0
    history: list[tuple[int, float]] = field(default_factory=list)

    def record(self, chi2: float) -> None:
        self.history.append((self.noises, chi2))
        if self.callback is not None:
            self.callback({"noises": self.noises, "chi2": chi2})

    def spent(self) -> str | None:
        """The reason to stop, once the budget is used up."""
        if self.noises < self.budget:
            return None
        return f"chi2 was about {self.history[-1][1]:.3g} when the budget of {self.budget} noises was spent"
