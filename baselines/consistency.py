r"""Multistep consistency sampling (Song et al. 2023, algorithm 1): jump to an estimate of x0, then noise it anew.

    x_{i+1} = D(x_i, sigma_i) + sqrt(sigma_{i+1}^2 - sigma_min^2) z_i

made for consistency models, whose D(x, sigma) is a sample (of noise level sigma_min) and not a mean; it runs on any
denoiser. Its authors search the levels; equal angles stand in for that: in two steps the second is at sigma_data (0.5;
their search for CIFAR-10 gave 0.8). A grid that ends at sigma_min would waste its last step. One evaluation a step.
"""

from dpmot.diffusion.sigmas import UnattainableBudget, intervals

GRID = "aligned"


def num_steps(nfe: int) -> int:
    """Most steps within ``nfe`` evaluations: one a step.

    Raises:
        UnattainableBudget: nfe < 1.
    """
    if nfe < 1:
        raise UnattainableBudget(f"Consistency sampling needs at least 1 evaluation, NFE {nfe} was given")
    return nfe


def sample(denoiser, x, sigmas, *, noise=None, callback=None):
    """Run multistep consistency sampling from x at sigmas[0] to sigma 0.

    Args:
        denoiser: D(x, sigma).
        x: start, (B, *S), at noise level sigmas[0].
        sigmas: (n + 1,), descending, last 0.
        noise: step i -> N(0, 1) noise (B, *S); needed for more than one step.
        callback: called with (i, x_i, D_i) before each step.

    Returns:
        The sample at sigma 0, (B, *S).

    Raises:
        ValueError: several steps without noise.
    """
    if noise is None and len(sigmas) > 2:
        raise ValueError("Consistency sampling in several steps is stochastic: pass noise(i)")
    for i, sigma, to in intervals(sigmas):  # i = 0, ..., n-1; sigma_n = 0
        denoised = denoiser(x, sigma)
        if callback:
            callback(i, x, denoised)
        up = max(0.0, float(to**2) - denoiser.sigma_min**2) ** 0.5
        x = denoised + up * noise(i) if to > 0 else denoised
    return x
