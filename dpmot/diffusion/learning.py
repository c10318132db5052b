"""Learning the options of a sampler from runs of a network, every evaluation counted.

A file of baselines/ whose options are learned names them, ``LEARNS = ("coefficients",)``, and how many starts it learns
from, ``STARTS``. Its ``learn(denoiser, x, sigmas, **options)`` returns their values: plain numbers, or lists of these;
``learning(steps)`` says beforehand how many evaluations that takes of each start, about. ``denoiser(x, sigma, rows)``
is D of the starts that ``rows`` names, of all without it; it lets gradients through where x or sigma has one. The file
is read as that of any sampler is (:mod:`dpmot.diffusion.permitted`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dpmot import plugins
from dpmot.diffusion import metering
from dpmot.diffusion.audit import Audit
from dpmot.diffusion.denoiser import NonFiniteOutput, TiledDenoiser, per_sample


@dataclass(frozen=True)
class Learned:
    """Values of options, and what they cost.

    Attributes:
        options: name -> number, or list of numbers.
        evaluations: network evaluations, of all starts together.
        differentiated: those of them through which a gradient was taken.
    """

    options: Mapping[str, Any]
    evaluations: int
    differentiated: int


class Teacher:
    """D of a set of starts, counted; see the module.

    Args:
        denoiser: D(x, sigma), or D(x, sigma, labels).
        labels: (B,) of the starts, where it takes them.
    """

    def __init__(self, denoiser: Any, labels: Tensor | None) -> None:
        self.denoiser, self.labels, self.audit = denoiser, labels, Audit()
        self.sigma_min, self.sigma_max = denoiser.sigma_min, denoiser.sigma_max
        self.cost = getattr(denoiser, "evaluations_each", 1)
        self.evaluations, self.differentiated = 0, 0

    def __call__(self, x: Tensor, sigma: Tensor | float, rows: Tensor | None = None) -> Tensor:
        """D, in x's dtype.

        Raises:
            NonFiniteOutput: NaN or infinity.
            ValueError: a gradient is asked for, and the network lets none through.
        """
        labels = None if self.labels is None else self.labels if rows is None else self.labels[rows]
        asked = torch.is_grad_enabled() and (x.requires_grad or getattr(sigma, "requires_grad", False))
        self.evaluations += self.cost * len(x)
        with self.audit.paid():
            if not asked:
                return TiledDenoiser(self.denoiser, labels=labels)(x, sigma)  # type: ignore[arg-type]
            self.differentiated += self.cost * len(x)
            answer = self.denoiser(x, per_sample(sigma, x), *([] if labels is None else [labels]))
        if not answer.requires_grad:
            raise ValueError("the network lets no gradient through, by which this sampler is learned")
        if not torch.isfinite(answer).all():
            raise NonFiniteOutput(float(per_sample(sigma, x)[0]))
        return answer


def learn(sampler: str, teacher: Teacher, x: Tensor, sigmas: Tensor, options: Mapping[str, Any]) -> Learned:
    """What the file of a sampler learns for starts like x, (B, *S) at sigmas[0], on a grid (n + 1,).

    Raises:
        ValueError: it returns other options than it names, or what is no finite number.
        Uncounted: it evaluates a network beside D.
    """
    names: Any = plugins.constant("baselines", sampler, "LEARNS")
    taken = plugins.arguments("baselines", sampler, "learn")
    given = {name: value for name, value in options.items() if name in taken}
    with teacher.audit.running():
        found = metering.fresh(sampler).learn(teacher, x.clone(), sigmas.clone(), **given)
    if teacher.audit.fault:
        raise metering.Uncounted(f"baselines/{sampler}.py: {teacher.audit.fault}")
    if sorted(found) != sorted(names):
        raise ValueError(f"baselines/{sampler}.py: learn gives {sorted(found)}; it must give {sorted(names)}")
    for name, value in found.items():
        numbers = value if isinstance(value, list) else [value]
        if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
            raise ValueError(f"baselines/{sampler}.py: learn gives {name} = {value!r:.80}; it must be finite numbers")
    return Learned(found, teacher.evaluations, teacher.differentiated)
