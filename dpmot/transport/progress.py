"""Where a fit by averaging stands: heights, what the survey has summed up, chi2 as expected, the last look."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

POOR = 0.1  # heights with chi2 above this are far from the solution
SURPRISE = 2.0  # chi2 of a look over the expected one, from which on it is a surprise


@dataclass
class Progress:
    """The state of a fit; `tensors` and `restore` carry it over an interruption.

    Attributes:
        heights: centred, float64 (N,).
        wins, leads, flow: see `curvature.Survey`.
        trend, rest: chi2 of the heights as expected, in the trends and beside them.
        before, last: heights and chi2 of the look before.
        looks: how many so far. noises: what they cost. seen: draws of the last one.
        due: chi2 that the last one was expected to see.
        then: chi2 when the survey began.
    """

    heights: Tensor
    wins: Tensor
    leads: Tensor
    flow: Tensor
    trend: float
    rest: float
    before: Tensor
    last: float = math.inf
    looks: int = 0
    noises: int = 0
    seen: int = 0
    due: float = math.inf
    then: float = math.inf

    @property
    def chi2(self) -> float:
        """As expected."""
        return self.trend + self.rest

    @property
    def settled(self) -> bool:
        """Whether the last look saw about the chi2 that was expected: then the next expectation can be believed too."""
        error = math.sqrt(2 * len(self.heights)) / self.seen if self.seen else math.inf
        return self.last < min(POOR, SURPRISE * self.due + 2 * error)

    def tensors(self) -> dict[str, Tensor]:
        """The state as float64 tensors."""
        return {name: torch.as_tensor(value, dtype=torch.float64).clone() for name, value in vars(self).items()}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], like: Tensor) -> "Progress":
        """The inverse of `tensors`, for the device and the number of atoms of `like` (N,).

        Raises:
            ValueError: a field is missing, unknown, or of another number of atoms.
        """
        fields = cls.__dataclass_fields__
        if set(tensors) != set(fields) or tensors["heights"].shape != like.shape:
            shape = tuple(tensors["heights"].shape) if "heights" in tensors else None
            raise ValueError(
                f"The state has the fields {sorted(tensors)} and heights {shape}; give one that this solver handed out "
                f"for {len(like)} atoms"
            )

        def restored(name: str, value: Tensor) -> Any:
            kind = fields[name].type
            return value.to(like.device, copy=True) if kind is Tensor else (int if kind is int else float)(value)

        return cls(**{name: restored(name, value) for name, value in tensors.items()})
