r"""ER-SDE (Cui et al. 2023, extended reverse-time SDEs), Taylor solvers of orders 1 to 3.

Every phi with phi(0) = 0 and phi(s) / s not decreasing gives an SDE with the right marginals. With r = phi(t) / phi(s)
for a step from sigma s to t, and divided differences D', D'' of D over earlier steps,

    x <- r x + (1 - r) D + (t - s + phi(t) I_0) D' + ((t - s)^2 / 2 + phi(t) I_1) D'' + sqrt(t^2 - s^2 r^2) z,
    I_k = integral from t to s of (u - s)^k / phi(u) du.

phi(s) = s is the ODE, s^2 the usual reverse SDE; their default, "er_sde_5", is s (e^(s^0.3) + 10). They take I_k as a
sum of 100 rectangles; here it is exact. The first steps have as many values as there are, the step to sigma = 0 is
x = D. One evaluation a step.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from baselines._steps import evaluated
from dpmot.diffusion.protocols import Callback, Denoiser, Noise, Tensor
from dpmot.diffusion.sigmas import intervals, one_a_step

GRID = "karras"
num_steps = one_a_step("ER-SDE")
SCALES: dict[str, Callable[[NDArray], NDArray]] = {
    "ode": lambda s: s,
    "sde": lambda s: s**2,
    "er_sde_1": lambda s: s * (np.exp(-1 / s) + 10),
    "er_sde_2": lambda s: s**1.5,
    "er_sde_3": lambda s: s**2.5,
    "er_sde_4": lambda s: s**0.9 * np.log10(1 + 100 * s**1.5),
    "er_sde_5": lambda s: s * (np.exp(s**0.3) + 10),
}
_GAUSS = np.polynomial.legendre.leggauss(64)
NODES, WEIGHTS = (1 + _GAUSS[0]) / 2, _GAUSS[1] / 2  # on [0, 1], in ln u: exact to rounding for these integrands


def check(*, order: int = 3, scale: str = "er_sde_5") -> None:
    """Refuse options that the method does not have."""
    if order not in (1, 2, 3):
        raise ValueError(f"ER-SDE's order must be 1, 2 or 3, got {order}")
    if scale not in SCALES:
        raise ValueError(f"ER-SDE's scale must be one of {', '.join(SCALES)}, got {scale!r}")


def sample(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise | None = None,
    callback: Callback | None = None,
    order: int = 3,
    scale: str = "er_sde_5",
) -> Tensor:
    """Run ER-SDE from x at sigmas[0] to sigma 0; see :mod:`baselines`.

    Args:
        noise: needed unless scale is "ode".
        order: of the Taylor expansion, 1 to 3.
        scale: phi, the noise scale function, by its name in ``SCALES``.
    """
    check(order=order, scale=scale)
    if scale != "ode" and noise is None:
        raise ValueError(f"ER-SDE with scale = {scale} is stochastic: pass noise(i)")
    past: list[tuple[float, Tensor]] = []  # (sigma, D), latest first
    slope: Tensor | None = None  # D' of the step before
    for i, sigma, to in intervals(sigmas):
        denoised, s, t = evaluated(denoiser, x, sigma, i, callback), float(sigma), float(to)
        if t == 0:
            return denoised
        ratio, linear, square = _weights(s, t, scale)
        x = ratio * x + (1 - ratio) * denoised
        if order > 1 and past:
            first = (denoised - past[0][1]) / (s - past[0][0])
            x = x + linear * first
            if order > 2 and slope is not None:
                x = x + square * 2 * (first - slope) / (s - past[1][0])
            slope = first
        deviation = max(0.0, t**2 - (s * ratio) ** 2) ** 0.5
        if noise and scale != "ode":
            x = x + deviation * noise(i)
        past = [(s, denoised), *past][:2]
    return x


def _weights(s: float, t: float, scale: str) -> tuple[float, float, float]:
    """r, and what D' and D'' are multiplied by, for a step from sigma s to t > 0."""
    phi = SCALES[scale]
    levels, measure = _quadrature(s, t)
    start, end = (float(phi(np.array(level))) for level in (s, t))
    zeroth = float(np.sum(measure / phi(levels)))
    first = float(np.sum(measure * (levels - s) / phi(levels)))
    return end / start, t - s + end * zeroth, (t - s) ** 2 / 2 + end * first


def _quadrature(s: float, t: float) -> tuple[NDArray, NDArray]:
    """Levels u between t and s and weights of the integral over u: Gauss-Legendre in ln u."""
    levels = t * (s / t) ** NODES
    return levels, np.log(s / t) * levels * WEIGHTS
