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
    """

    family: str | None
    num_steps: Callable[[int], int]

    @classmethod
    def of(cls, sampler: str, options: Mapping[str, Any]) -> "Budgeted | None":
        """The sampler of that name with its options; None for "none", where the start itself is the sample."""
        if sampler == "none":
            return None
        permitted.check(sampler)
        module = plugins.find("baselines", sampler)
        counted = inspect.signature(module.num_steps).parameters
        chosen = {key: value for key, value in options.items() if key in counted}
        return cls(module.GRID, partial(module.num_steps, **chosen))

    def evaluations(self, steps: int) -> int:
        """Smallest number of evaluations with which the sampler takes ``steps`` steps."""
        nfe = steps
        while self._fitting(nfe) < steps:
            nfe += 1
        return nfe

    def _fitting(self, nfe: int) -> int:
        try:
            return self.num_steps(nfe)
        except UnattainableBudget:
            return 0
