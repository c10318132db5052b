"""Cells and transport problems: the plain data that one stage hands to the next."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Cell:
    """One budget, level and seed of a method.

    Attributes:
        key: its name within the method.
        nfe_budget: network evaluations that may be spent on a sample, or "full".
        steps: of the sampler; 0 where the start itself is the sample.
        sigma_start: level at which the sampler begins; None where it is sigma_M*, found at run time.
        sigma_atoms: noise level of the atoms; None where there are none, or with sigma_M*.
        family: of the sampler's grid; "tail" is the end of the network's full chain.
        nfe: evaluations that are predicted.
        reason: why the cell is skipped; None where it is not.
        nfe_counted: evaluations that were spent; None before sampling.
        unsolved: why the transport problem of the cell did not converge; None where it did, or before sampling.
    """

    key: str
    nfe_budget: int | str
    sample_seed: int
    steps: int = 0
    sigma_start: float | None = None
    sigma_atoms: float | None = None
    family: str | None = None
    nfe: int = 0
    reason: str | None = None
    nfe_counted: int | None = None
    unsolved: str | None = None


@dataclass(frozen=True)
class Problem:
    """One transport problem; no network is part of it, because the map does not depend on any.

    Attributes:
        split: of the images behind the atoms.
        law: of the noise that is transported, "normal" or "uniform".
        sigma: noise level of the atoms.
        noises: atoms of each image.
        per_class: one map a class: as many problems as there are classes among the images.
    """

    split: str
    law: str
    sigma: float
    noises: int = 1
    per_class: bool = False

    @property
    def name(self) -> str:
        """Under which heights are stored."""
        several = f"-{self.noises}-noises" if self.noises > 1 else ""
        return f"{self.split}-{self.law}-{self.sigma:.8g}{several}{'-per-class' if self.per_class else ''}"

    def plain(self) -> dict[str, Any]:
        """As JSON has it; ``per_class`` is said where it is true, so that other problems are planned as ever."""
        return {key: value for key, value in asdict(self).items() if key != "per_class" or value}
