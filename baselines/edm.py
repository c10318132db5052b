r"""EDM's deterministic sampler (Karras et al. 2022, algorithm 1): Heun's method on dx/dsigma = (x - D) / sigma.

    d_i = (x_i - D_i) / sigma_i,  x' = x_i + (sigma_{i+1} - sigma_i) d_i,
    x_{i+1} = x_i + (sigma_{i+1} - sigma_i) (d_i + d') / 2, and x' itself in the last step to sigma = 0.

Two evaluations a step, one in the last: n steps cost 2 n - 1.
"""

from dpmot.diffusion.sigmas import UnattainableBudget

GRID = "karras"


def num_steps(nfe: int) -> int:
    """Most steps within ``nfe`` evaluations: n steps spend 2 n - 1.

    Raises:
        UnattainableBudget: nfe < 1.
    """
    if nfe < 1:
        raise UnattainableBudget(f"Heun needs at least 1 evaluation, NFE {nfe} was given")
    return (nfe + 1) // 2


def sample(denoiser, x, sigmas, *, noise=None, callback=None):
    """Run Heun's method from x at sigmas[0] to sigma 0.

    Args:
        denoiser: D(x, sigma).
        x: start, (B, *S), at noise level sigmas[0].
        sigmas: (n + 1,), descending, last 0.
        noise: unused; the method is deterministic.
        callback: called with (i, x_i, D_i) before each step.

    Returns:
        The sample at sigma 0, (B, *S).
    """
    for i in range(len(sigmas) - 1):  # i = 0, ..., n-1; sigma_n = 0
        sigma, to = sigmas[i], sigmas[i + 1]
        denoised = denoiser(x, sigma)
        if callback:
            callback(i, x, denoised)
        slope = (x - denoised) / sigma
        euler = x + (to - sigma) * slope
        x = euler if to == 0 else x + (to - sigma) * (slope + (euler - denoiser(euler, to)) / to) / 2
    return x
