"""Is a loaded network told its noise level as it was in training? The error of each way that there is, on real images.

A network that sees another number than it was trained with still gives images; its denoising error says so. See
``alternatives`` of a parametrisation (dpmot/diffusion/networks/onnx.py).
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dpmot.device import ordinary
from dpmot.diffusion import network

SHARES = (0.3, 0.5, 0.7)  # of the chain's levels, where a denoiser has something to do
FEW = 16  # images
LARGEST = 2**15  # numbers in them
CLEARLY = 0.5  # of the stated way's error: the same images and noise, so little chance is in it


@ordinary(grad=False)
def compare(card: Mapping, model: Any, images: Tensor, labels: Tensor | None, where: object) -> str | None:
    """The conditioning under which the network denoises far better than under its own, in one line; None if none does.

    Args:
        card: of the network.
        model: F.
        images: clean ones, (n, *S) in [-1, 1]; few are taken.
        labels: (n,) of a network with classes, else None.
        where: what the line calls the network.
    """
    own: Any = network.parametrisation(card)
    others = list(getattr(own, "alternatives", list)())
    x0 = images[: max(1, min(FEW, LARGEST // images[0].numel()))].float()
    given = None if labels is None else labels[: len(x0)]
    errors = {other: _error(other, model, x0, given) for other in (own, *others)}
    best = min(others, key=lambda other: errors[other], default=own)
    if not errors[best] < CLEARLY * errors[own]:
        return None
    left = f"it leaves {errors[own]:.3g} of the noise's power, with {best.conditioned} {errors[best]:.3g}"
    return f"{where}: with options {own.conditioned} {left}: which is it told?"


def _error(parametrisation: Any, model: Any, x0: Tensor, labels: Tensor | None) -> float:
    """Mean of |D(x0 + sigma eps) - x0|^2 / sigma^2 over a few levels; infinite where the network fails."""
    denoiser, levels = network.NetworkDenoiser(parametrisation, model), parametrisation.chain.levels
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
    total = 0.0
    for share in SHARES:
        sigma = torch.tensor(levels[int(share * (len(levels) - 1))]).float()
        try:
            denoised = denoiser(x0 + sigma * noise, sigma, labels)
        except ValueError:
            return float("inf")
        total += float(((denoised - x0) / sigma).square().mean())
    return total / len(SHARES) if total == total else float("inf")
