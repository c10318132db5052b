r"""The midpoint method on the probability-flow ODE dx/dsigma = (x - D) / sigma.

The slope is taken once more half-way (Karras et al. 2022, algorithm 3, alpha = 1/2). n steps cost 2 n - 1: the step to
sigma = 0 is Euler's.
"""

from typing import TYPE_CHECKING

from dpmot.diffusion.sigmas import check_budget, intervals

if TYPE_CHECKING:  # samplers are imported where torch is not
    from torch import Tensor

    from dpmot.diffusion.denoiser import Callback, Denoiser, Noise

GRID = "karras"  # the grid family it is made for; None: the network's own


def num_steps(nfe: int) -> int:
    """Most steps within ``nfe`` evaluations: n steps spend 2 n - 1.

    Raises:
        UnattainableBudget: nfe < 1.
    """
    check_budget(nfe, 1, "The midpoint method")
    return (nfe + 1) // 2


def sample(
    denoiser: "Denoiser",
    x: "Tensor",
    sigmas: "Tensor",
    *,
    noise: "Noise | None" = None,
    callback: "Callback | None" = None,
) -> "Tensor":
    """Run the midpoint method from x at sigmas[0] to sigma 0.

    Args:
        denoiser: D(x, sigma).
        x: start, (B, *S), at noise level sigmas[0].
        sigmas: (n + 1,), descending, last 0.
        noise: unused; the method is deterministic.
        callback: called with (i, x_i, D_i) before each step.

    Returns:
        The sample at sigma 0, (B, *S).
    """
    for i, sigma, to in intervals(sigmas):  # i = 0, ..., n-1; sigma_n = 0
        denoised = denoiser(x, sigma)
        if callback:
            callback(i, x, denoised)
        slope = (x - denoised) / sigma
        if to > 0:
            half = (sigma + to) / 2
            there = x + (half - sigma) * slope
            slope = (there - denoiser(there, half)) / half
        x = x + (to - sigma) * slope
    return x
