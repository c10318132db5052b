r"""DEIS (Zhang & Chen 2023): the exact integral of an extrapolated eps, eps(x, sigma) = (x - D) / sigma.

    x_{i+1} = x_i + sum_j C_ij eps_j,    C_ij = integral from sigma_i to sigma_{i+1} of L_j(v(sigma)) d sigma,

L_j the Lagrange polynomials through the last ``order`` evaluations in the variable v (their eq. 14-15): "t", the time
of the linear-beta VP diffusion (tAB, the paper's best); "log_sigma", as diffusers has it; "sigma" (rho-AB). Order r + 1
here is their tAB r. The first steps have as many values as there are; the step to sigma = 0 is of order 1. One
evaluation a step.
"""

import numpy as np

from dpmot.diffusion.sigmas import UnattainableBudget, intervals, vp_time

GRID = "quadratic"
VARIABLES = {"t": vp_time, "log_sigma": np.log, "sigma": np.asarray}
NODES, WEIGHTS = np.polynomial.legendre.leggauss(32)  # exact to rounding for these smooth integrands


def check(*, order: int = 4, variable: str = "t") -> None:
    """Refuse options that the method does not have.

    Raises:
        ValueError: see :func:`sample`.
    """
    if order not in (1, 2, 3, 4):
        raise ValueError(f"DEIS's order must be 1, 2, 3 or 4, got {order}")
    if variable not in VARIABLES:
        raise ValueError(f"DEIS's variable must be one of {', '.join(VARIABLES)}, got {variable!r}")


def num_steps(nfe: int) -> int:
    """Most steps within ``nfe`` evaluations: one a step.

    Raises:
        UnattainableBudget: nfe < 1.
    """
    if nfe < 1:
        raise UnattainableBudget(f"DEIS needs at least 1 evaluation, NFE {nfe} was given")
    return nfe


def sample(denoiser, x, sigmas, *, noise=None, callback=None, order: int = 4, variable: str = "t"):
    """Run DEIS from x at sigmas[0] to sigma 0.

    Args:
        denoiser: D(x, sigma).
        x: start, (B, *S), at noise level sigmas[0].
        sigmas: (n + 1,), descending, last 0.
        noise: unused; the method is deterministic.
        callback: called with (i, x_i, D_i) before each step.
        order: evaluations that are interpolated, 1 to 4; 4 is tAB3.
        variable: of the polynomials, "t", "log_sigma" or "sigma".

    Returns:
        The sample at sigma 0, (B, *S).

    Raises:
        ValueError: another order or variable.
    """
    check(order=order, variable=variable)
    past: list[tuple] = []  # (sigma, eps), latest first
    for i, sigma, to in intervals(sigmas):  # i = 0, ..., n-1; sigma_n = 0
        denoised = denoiser(x, sigma)
        if callback:
            callback(i, x, denoised)
        past = [(float(sigma), (x - denoised) / sigma), *past][:order]
        used = past if to > 0 else past[:1]
        for weight, (_, eps) in zip(_weights([s for s, _ in used], float(to), variable), used, strict=True):
            x = x + weight * eps
    return x


def _weights(levels: list[float], to: float, variable: str) -> list[float]:
    """Integrals from levels[0] to ``to`` of the Lagrange polynomials through ``levels``, by Gauss-Legendre."""
    if len(levels) == 1:
        return [to - levels[0]]
    a, b = np.log(levels[0]), np.log(to)
    sigma = np.exp((a + b) / 2 + (b - a) / 2 * NODES)
    measure = (b - a) / 2 * WEIGHTS * sigma
    at, nodes = VARIABLES[variable](sigma), VARIABLES[variable](np.array(levels))
    weights = []
    for j, node in enumerate(nodes):
        others = np.delete(nodes, j)
        weights.append(float(measure @ np.prod((at[:, None] - others) / (node - others), axis=1)))
    return weights
