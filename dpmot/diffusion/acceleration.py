"""What makes training faster and changes its bits: bfloat16 products, channels-last images, a compiled network."""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from dpmot.device import cpu_multiplies_bfloat16


@dataclass(frozen=True)
class Acceleration:
    """Options of a network's ``training`` beside its schedule.

    Args:
        precision: "float32", or "bfloat16" for products under autocast; weights and losses stay float32.
        channels_last: the memory format of images.
        compile: by torch.compile.
    """

    precision: str = "float32"
    channels_last: bool = False
    compile: bool = False

    def __call__(self, model: nn.Module) -> nn.Module:
        """The network to train with, which shares its parameters with ``model``; ``model`` itself if nothing is on."""
        return model if self == Acceleration() else _Accelerated(model, self)

    def slowed(self, device: torch.device) -> str | None:
        """One line where bfloat16 is many times slower than float32 on this device, else None."""
        if self.precision != "bfloat16" or device.type != "cpu" or cpu_multiplies_bfloat16():
            return None
        slow = "this processor has no instructions for it, and a step may take ten times as long as in float32"
        return f"training.precision bfloat16: {slow}; leave it out here"


class _Accelerated(nn.Module):
    def __init__(self, model: nn.Module, options: Acceleration) -> None:
        super().__init__()
        if options.channels_last:
            cast(Any, model).to(memory_format=torch.channels_last)  # torch's overloads leave the layout out
        self.model, self.options = torch.compile(model) if options.compile else model, options
        self.plain = [model]  # in a list, or its parameters would be listed twice

    def forward(self, x: Tensor, condition: Tensor, **labels: Tensor) -> Tensor:
        if torch.autograd.forward_ad.unpack_dual(x).tangent is not None:  # which neither autocast nor a compiler takes
            if self.options.channels_last:
                raise ValueError("training.channels_last: this kind's forward derivatives do not take it; leave it out")
            return self.plain[0](x, condition, **labels)
        if self.options.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        rounded = self.options.precision == "bfloat16"
        with torch.autocast(x.device.type, torch.bfloat16, enabled=rounded):
            return self.model(x, condition, **labels).float()
