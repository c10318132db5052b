"""What samplers are made of: an evaluation that is told, a step of Euler's and of Heun's method.

The last step, to sigma = 0, is always Euler's.
"""

from dpmot.diffusion.protocols import Callback, OfBatch, Tensor


def evaluated(denoiser: OfBatch, x: Tensor, sigma: Tensor, i: int, callback: Callback | None) -> Tensor:
    """D(x, sigma) at the start of step i, which the callback is told."""
    denoised = denoiser(x, sigma)
    if callback:
        callback(i, x, denoised)
    return denoised


def euler(x: Tensor, denoised: Tensor, sigma: Tensor, to: Tensor) -> Tensor:
    """One Euler step sigma -> to; ``denoised`` is D(x, sigma)."""
    return x + (to - sigma) * ((x - denoised) / sigma)


def heun(denoiser: OfBatch, x: Tensor, denoised: Tensor, sigma: Tensor, to: Tensor) -> Tensor:
    """One Heun step sigma -> to > 0; ``denoised`` is D(x, sigma)."""
    there = euler(x, denoised, sigma, to)
    slope, corrected = (x - denoised) / sigma, (there - denoiser(there, to)) / to
    return x + (to - sigma) * (slope + corrected) / 2
