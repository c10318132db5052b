"""What the steps of a sampler cost: budgets of network evaluations. Plans are made without torch."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from dpmot import plugins
from dpmot.diffusion import permitted
from dpmot.diffusion.sigmas import UnattainableBudget


@dataclass(frozen=True)
class Budgeted:
    """A sampler with the options that decide what its steps cost.

    Attributes:
        family: the grid family the sampler prefers; None for the network's own.
        num_steps: nfe -> most steps within it.
        cost: network evaluations that one of the sampler's takes, 2 where it is guided.
    """

    family: str | None
    num_steps: Callable[[int], int]
    cost: int = 1

    @classmethod
    def of(cls, sampler: str, options: Mapping[str, Any], cost: int = 1) -> "Budgeted | None":
        """The sampler of that name with its options; None for "none", where the start itself is the sample."""
        if sampler == "none":
            return None
        permitted.check(sampler)
        module = plugins.find("baselines", sampler)
        counted = inspect.signature(module.num_steps).parameters
        chosen = {key: value for key, value in options.items() if key in counted}
        return budgeted(module.GRID, partial(module.num_steps, **chosen), cost)

    def evaluations(self, steps: int) -> int:
        """Smallest number of evaluations with which the sampler takes ``steps`` steps."""
        nfe = 1  # which may be fewer than steps: some samplers skip
        while self._fitting(nfe) < steps:
            nfe += 1
        return nfe

    def _fitting(self, nfe: int) -> int:
        try:
            return self.num_steps(nfe)
        except UnattainableBudget:
            return 0


def budgeted(family: str | None, num_steps: Callable[[int], int], cost: int) -> Budgeted:
    """A sampler whose evaluations cost so many of the network."""
    return Budgeted(family, num_steps if cost == 1 else partial(_within, num_steps, cost), cost)


def cost_of(guidance: float | None) -> int:
    """Network evaluations of one that is guided by w: two, but for w = 1, the label alone, and w = 0, without it."""
    return 1 if guidance in (None, 0, 1) else 2


def _within(num_steps: Callable[[int], int], cost: int, nfe: int) -> int:
    """Most steps whose evaluations, at ``cost`` of the network each, fit into nfe."""
    if nfe < cost:
        raise UnattainableBudget(f"a guided evaluation costs {cost} of the network; give NFE {cost} or more")
    try:
        return num_steps(nfe // cost)
    except UnattainableBudget as error:
        told = f"guided evaluations cost {cost}, so that {nfe // cost} of them fit into NFE {nfe}"
        raise UnattainableBudget(f"{told}: {error}") from None
