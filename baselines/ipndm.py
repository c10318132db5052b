r"""iPNDM (Zhang & Chen 2023, the improved PNDM of Liu et al. 2022): Adams-Bashforth on eps(x, sigma) = (x - D) / sigma.

    x_{i+1} = x_i + (sigma_{i+1} - sigma_i) sum_j b_j eps_{i-j},    b of the classical methods for equal steps,

used on any grid: of order p where the steps in sigma are equal, of order 1 elsewhere, and good at few steps. The first
steps have as many values as there are; the step to sigma = 0 is of order 1. One evaluation a step.
"""

from dpmot.diffusion.sigmas import UnattainableBudget, intervals

GRID = "karras"
ADAMS_BASHFORTH = {
    1: (1.0,),
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}


def check(*, order: int = 4) -> None:
    """Refuse options that the method does not have.

    Raises:
        ValueError: see :func:`sample`.
    """
    if order not in ADAMS_BASHFORTH:
        raise ValueError(f"iPNDM's order must be 1, 2, 3 or 4, got {order}")


def num_steps(nfe: int) -> int:
    """Most steps within ``nfe`` evaluations: one a step.

    Raises:
        UnattainableBudget: nfe < 1.
    """
    if nfe < 1:
        raise UnattainableBudget(f"iPNDM needs at least 1 evaluation, NFE {nfe} was given")
    return nfe


def sample(denoiser, x, sigmas, *, noise=None, callback=None, order: int = 4):
    """Run iPNDM from x at sigmas[0] to sigma 0.

    Args:
        denoiser: D(x, sigma).
        x: start, (B, *S), at noise level sigmas[0].
        sigmas: (n + 1,), descending, last 0.
        noise: unused; the method is deterministic.
        callback: called with (i, x_i, D_i) before each step.
        order: evaluations that are combined, 1 to 4.

    Returns:
        The sample at sigma 0, (B, *S).

    Raises:
        ValueError: another order.
    """
    check(order=order)
    past: list = []  # eps, latest first
    for i, sigma, to in intervals(sigmas):  # i = 0, ..., n-1; sigma_n = 0
        denoised = denoiser(x, sigma)
        if callback:
            callback(i, x, denoised)
        past = [(x - denoised) / sigma, *past][:order]
        used = past if to > 0 else past[:1]
        x = x + (to - sigma) * sum(b * eps for b, eps in zip(ADAMS_BASHFORTH[len(used)], used, strict=True))
    return x
