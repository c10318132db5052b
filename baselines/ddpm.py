r"""DDPM ancestral sampling (Ho et al. 2020, algorithm 2), on any descending grid, in sigma units.

The posterior q(x_{i+1} | x_i, x0 = D) has mean D + (sigma_{i+1} / sigma_i)^2 (x_i - D) and variance
sigma_{i+1}^2 (sigma_i^2 - sigma_{i+1}^2) / sigma_i^2 ("small", their beta-tilde); "large" is their beta_t, which in
sigma units is (1 + sigma_{i+1}^2) (sigma_i^2 - sigma_{i+1}^2) / (1 + sigma_i^2). No noise is added in the last step.
"""

from dpmot.diffusion.sigmas import UnattainableBudget, intervals

GRID = None  # the network's own levels


def check(*, variance: str = "small") -> None:
    """Refuse options that the method does not have.

    Raises:
        ValueError: see :func:`sample`.
    """
    if variance not in ("small", "large"):
        raise ValueError(f'DDPM\'s variance must be "small" or "large", got {variance!r}')


def num_steps(nfe: int) -> int:
    """Most steps within ``nfe`` evaluations: one a step.

    Raises:
        UnattainableBudget: nfe < 1.
    """
    if nfe < 1:
        raise UnattainableBudget(f"DDPM needs at least 1 evaluation, NFE {nfe} was given")
    return nfe


def sample(denoiser, x, sigmas, *, noise=None, callback=None, variance: str = "small"):
    """Run ancestral sampling from x at sigmas[0] to sigma 0.

    Args:
        denoiser: D(x, sigma).
        x: start, (B, *S), at noise level sigmas[0].
        sigmas: (n + 1,), descending, last 0.
        noise: step i -> N(0, 1) noise (B, *S).
        callback: called with (i, x_i, D_i) before each step.
        variance: "small" (beta-tilde) or "large" (beta).

    Returns:
        The sample at sigma 0, (B, *S).

    Raises:
        ValueError: unknown variance, or no noise given.
    """
    check(variance=variance)
    if noise is None:
        raise ValueError("DDPM is stochastic: pass noise(i)")
    for i, sigma, to in intervals(sigmas):  # i = 0, ..., n-1; sigma_n = 0
        denoised = denoiser(x, sigma)
        if callback:
            callback(i, x, denoised)
        x = denoised + (to / sigma) ** 2 * (x - denoised)
        if to > 0:
            ratio = to**2 / sigma**2 if variance == "small" else (1 + to**2) / (1 + sigma**2)
            x = x + (ratio * (sigma**2 - to**2)) ** 0.5 * noise(i)
    return x
