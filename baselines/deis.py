r"""DEIS (Zhang & Chen 2023): the exact integral of an extrapolated eps, eps(x, sigma) = (x - D) / sigma.

    x_{i+1} = x_i + sum_j C_ij eps_j,    C_ij = integral from sigma_i to sigma_{i+1} of L_j(v(sigma)) d sigma,

L_j the Lagrange polynomials through the last ``order`` evaluations in the variable v (their eq. 14-15): "t", the time
of the linear-beta VP diffusion (tAB, the paper's best); "log_sigma", as diffusers has it; "sigma" (rho-AB). Order r + 1
here is their tAB r. The first steps have as many values as there are; the step to sigma = 0 is of order 1. One
evaluation a step.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from baselines._steps import evaluated
from dpmot.diffusion.protocols import Callback, Denoiser, Noise, Tensor
from dpmot.diffusion.sigmas import intervals, one_a_step, vp_time

GRID = "quadratic"
num_steps = one_a_step("DEIS")
VARIABLES: dict[str, Callable[[NDArray], NDArray]] = {"t": vp_time, "log_sigma": np.log, "sigma": np.asarray}
NODES, WEIGHTS = np.polynomial.legendre.leggauss(32)  # exact to rounding for these smooth integrands


def check(*, order: int = 4, variable: str = "t") -> None:
    """Refuse options that the method does not have."""
    if order not in (1, 2, 3, 4):
        raise ValueError(f"DEIS's order must be 1, 2, 3 or 4, got {order}")
    if variable not in VARIABLES:
        raise ValueError(f"DEIS's variable must be one of {', '.join(VARIABLES)}, got {variable!r}")


def sample(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise | None = None,
    callback: Callback | None = None,
    order: int = 4,
    variable: str = "t",
) -> Tensor:
    """Run DEIS from x at sigmas[0] to sigma 0; see :mod:`baselines`.

    Args:
        order: evaluations that are interpolated, 1 to 4; 4 is tAB3.
        variable: of the polynomials, "t", "log_sigma" or "sigma".
    """
    check(order=order, variable=variable)
    past: list[tuple[float, Tensor]] = []  # (sigma, eps), latest first
    for i, sigma, to in intervals(sigmas):
        denoised = evaluated(denoiser, x, sigma, i, callback)
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
