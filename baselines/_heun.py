"""One step of Euler's and of Heun's method, for what is made of them; the last, to sigma = 0, is always Euler's."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from dpmot.diffusion.network import OfBatch


def euler(x: "Tensor", denoised: "Tensor", sigma: "Tensor", to: "Tensor") -> "Tensor":
    """One Euler step sigma -> to; ``denoised`` is D(x, sigma)."""
    return x + (to - sigma) * ((x - denoised) / sigma)


def heun(denoiser: "OfBatch", x: "Tensor", denoised: "Tensor", sigma: "Tensor", to: "Tensor") -> "Tensor":
    """One Heun step sigma -> to > 0; ``denoised`` is D(x, sigma)."""
    there = euler(x, denoised, sigma, to)
    slope, corrected = (x - denoised) / sigma, (there - denoiser(there, to)) / to
    return x + (to - sigma) * (slope + corrected) / 2
