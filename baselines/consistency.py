r"""Multistep consistency sampling (Song et al. 2023, algorithm 1): jump to an estimate of x0, then noise it anew.

    x_{i+1} = D(x_i, sigma_i) + sqrt(sigma_{i+1}^2 - sigma_min^2) z_i

made for consistency models, whose D(x, sigma) is a sample (of noise level sigma_min) and not a mean; it runs on any
denoiser. Its authors search the levels; equal angles stand in for that: in two steps the second is at sigma_data (0.5;
their search for CIFAR-10 gave 0.8). A grid that ends at sigma_min would waste its last step. One evaluation a step.
"""

from baselines._steps import evaluated
from dpmot.diffusion.protocols import Callback, Denoiser, Noise, Tensor
from dpmot.diffusion.sigmas import intervals, one_a_step

GRID = "aligned"
JUMPS = True  # made for networks whose D(x, sigma) is a sample
num_steps = one_a_step("Consistency sampling")


def sample(
    denoiser: Denoiser, x: Tensor, sigmas: Tensor, *, noise: Noise | None = None, callback: Callback | None = None
) -> Tensor:
    """Run multistep consistency sampling from x at sigmas[0] to sigma 0; see :mod:`baselines`.

    Args:
        noise: needed for every step but one to sigma 0.
    """
    if noise is None and any(sigmas[1:] > 0):
        raise ValueError("Consistency sampling in several steps is stochastic: pass noise(i)")
    for i, sigma, to in intervals(sigmas):
        denoised = evaluated(denoiser, x, sigma, i, callback)
        up = max(0.0, float(to**2) - denoiser.sigma_min**2) ** 0.5
        x = denoised + up * noise(i) if noise and to > 0 else denoised
    return x
