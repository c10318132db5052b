r"""DDIM (Song et al. 2021), in sigma units: with D = D(x_i, sigma_i) and x = x0 + sigma eps,

    x_{i+1} = D + sqrt(sigma_{i+1}^2 - up^2) / sigma_i (x_i - D) + up z_i,
    up = eta sigma_{i+1} / sigma_i sqrt(sigma_i^2 - sigma_{i+1}^2)          (their eq. 12 and 16).

eta = 0 is Euler's method on the probability-flow ODE dx/dsigma = (x - D) / sigma; eta = 1 is DDPM. One evaluation a
step.
"""

from dpmot.diffusion.sigmas import UnattainableBudget, intervals

GRID = None  # the network's own levels


def check(*, eta: float = 0.0) -> None:
    """Refuse options that the method does not have.

    Raises:
        ValueError: see :func:`sample`.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"DDIM's eta must lie in [0, 1], got {eta}")


def num_steps(nfe: int) -> int:
    """Most steps within ``nfe`` evaluations: one a step.

    Raises:
        UnattainableBudget: nfe < 1.
    """
    if nfe < 1:
        raise UnattainableBudget(f"DDIM needs at least 1 evaluation, NFE {nfe} was given")
    return nfe


def sample(denoiser, x, sigmas, *, noise=None, callback=None, eta: float = 0.0):
    """Run DDIM from x at sigmas[0] to sigma 0.

    Args:
        denoiser: D(x, sigma).
        x: start, (B, *S), at noise level sigmas[0].
        sigmas: (n + 1,), descending, last 0.
        noise: step i -> N(0, 1) noise (B, *S); needed when eta > 0.
        callback: called with (i, x_i, D_i) before each step.
        eta: 0 deterministic, 1 the DDPM posterior.

    Returns:
        The sample at sigma 0, (B, *S).

    Raises:
        ValueError: eta outside [0, 1], or eta > 0 without noise.
    """
    check(eta=eta)
    if eta and noise is None:
        raise ValueError(f"DDIM with eta = {eta} is stochastic: pass noise(i)")
    for i, sigma, to in intervals(sigmas):  # i = 0, ..., n-1; sigma_n = 0
        denoised = denoiser(x, sigma)
        if callback:
            callback(i, x, denoised)
        up = eta * to / sigma * (sigma**2 - to**2) ** 0.5
        x = denoised + (to**2 - up**2) ** 0.5 / sigma * (x - denoised)
        if up > 0:
            x = x + up * noise(i)
    return x
