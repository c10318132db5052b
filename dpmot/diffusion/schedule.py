"""The schedule of a training, and its defaults; numbers only: plans are made without torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: ``steps`` batches of ``batch`` images, peak rate ``lr``, average decay ``ema``.

    An interruption costs no more than ``checkpoint_seconds`` of training. Each number in ``snapshots`` asks for the
    averages after that many steps, beside the last ones.
    """

    steps: int
    batch: int = 128
    lr: float = 2e-3
    ema: float = 0.999
    warmup: int = 100
    checkpoint_seconds: float = 20.0
    snapshots: Sequence[int] = ()

    def rate(self, step: int) -> float:
        """Learning rate of step 0, ..., steps - 1."""
        ramp = min(1.0, (step + 1) / self.warmup)
        return self.lr * ramp * 0.5 * (1 + math.cos(math.pi * step / self.steps))

    def decay(self, step: int) -> float:
        """Decay of the moving average, smaller at first so that the start is forgotten."""
        return min(self.ema, (1 + step) / (10 + step))
