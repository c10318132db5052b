"""A sampler from anywhere behind one face: its name in ``baselines/``, or a function of the caller.

    sample(denoiser, x, sigmas, *, noise, ...)      x (B, *S) at sigmas[0] -> (B, *S) at sigma 0

Both are sold their evaluations one by one (:mod:`dpmot.diffusion.metering`), and a few samples are drawn again, alone.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from dpmot import plugins
from dpmot.diffusion import metering
from dpmot.diffusion.budget import Budgeted, budgeted
from dpmot.transport.given import whole

GIVEN = ("denoiser", "x", "sigmas", "noise", "callback")  # arguments of sample that are no options
CONTRACT = "sample(denoiser, x, sigmas, *, noise=None, ...) -> x0"


@dataclass(frozen=True)
class Sampler:
    """A sampler with its options.

    Attributes:
        run: what :func:`dpmot.diffusion.metering.run` takes.
        budgeted: what its steps cost.
        law: of its prior, "normal" or "uniform".
        own: it is the caller's function.
    """

    run: str | Callable[..., Tensor]
    budgeted: Budgeted
    law: str
    own: bool

    @classmethod
    def of(
        cls, sampler: Any, num_steps: Callable[..., int] | None, options: Mapping[str, Any], cost: int = 1
    ) -> "Sampler":
        """The sampler that a caller means; ``cost`` network evaluations are one of its own.

        Raises:
            ValueError: there is none, it is no sampler, or it has no such option; one line.
        """
        if isinstance(sampler, str):
            if num_steps is not None:
                raise ValueError(f"num_steps is of a sampler that is a function; {sampler} says its own: leave it out")
            return cls._of_file(sampler, options, cost)
        if not callable(sampler) or isinstance(sampler, type):
            told = f"give a name (dpmot list samplers), or a function {CONTRACT}"
            raise ValueError(f"sampler is {sampler!r:.60}; {told}")
        _check_function(sampler, options)
        if num_steps is not None and not callable(num_steps):
            raise ValueError(f"num_steps is {num_steps!r:.60}; give a function: nfe -> most steps within it")
        return cls(sampler, budgeted(None, _steps(num_steps, options), cost), "normal", own=True)

    @classmethod
    def _of_file(cls, name: str, options: Mapping[str, Any], cost: int) -> "Sampler":
        known = set(plugins.arguments("baselines", name, "sample")) - set(GIVEN)
        for option in options.keys() - known:
            raise ValueError(f"Sampler {name} has no option {option}; it has {', '.join(sorted(known)) or 'none'}")
        _check_learned(name, options)
        with metering.LOCK:
            module, budgeted = plugins.find("baselines", name), Budgeted.of(name, options, cost)
        if hasattr(module, "check"):
            module.check(**options)
        assert budgeted is not None
        return cls(name, budgeted, str(plugins.constant("baselines", name, "PRIOR") or "normal"), own=False)

    def check_spent(self, nfe: int | None, spent: int) -> None:
        """Refuse a function that spent more than it was given.

        Raises:
            ValueError: it did; says what would let it keep the budget.
        """
        if self.own and nfe is not None and spent > nfe:
            told = f"Your sampler spent {spent} evaluations a sample, {nfe} were asked for"
            raise ValueError(
                f"{told}: say num_steps, a function: nfe -> most steps within it (Heun's is (nfe + 1) // 2)"
            )


def _check_learned(name: str, options: Mapping[str, Any]) -> None:
    """Refuse a sampler whose options are learned, and were not: without them it is another method.

    Raises:
        ValueError: none of what its file LEARNS is given; says what learns it.
    """
    learned: Any = plugins.constant("baselines", name, "LEARNS") or ()
    if learned and not any(options.get(option) for option in learned):
        told = f"Sampler {name} has {' and '.join(learned)} that are learned for one network, start and budget"
        do = f"`dpmot learn METHOD`, of a method with sampler: {name}, writes them to results/<experiment>/learned/"
        raise ValueError(f"{told}, and none were given: {do}; give them in options")


def _check_function(sampler: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Refuse a function that cannot be called as a sampler is."""
    try:
        signature = inspect.signature(sampler)
    except (TypeError, ValueError):  # of a function in C
        return
    named = metering.accepted(sampler, {"noise": None}) | dict(options)
    try:
        signature.bind(*GIVEN[:3], **named)
    except TypeError as error:
        told = f"the function given as sampler takes {signature}, and cannot be called as {CONTRACT}"
        raise ValueError(f"{told} with options {sorted(options) or 'none'}: {error}") from None


def _steps(num_steps: Callable[..., int] | None, options: Mapping[str, Any]) -> Callable[[int], int]:
    """Steps within a budget; without a word each costs one evaluation."""
    if num_steps is None:
        return lambda nfe: nfe
    bound = partial(num_steps, **metering.accepted(num_steps, options))
    return lambda nfe: whole(bound(nfe), "num_steps(nfe)", 1)
