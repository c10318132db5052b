r"""Restart (Xu et al. 2023, algorithm 1): Heun's method, with a stretch of the trajectory run again from fresh noise.

At the level sigma_j of the grid nearest to ``low`` the trajectory is thrown back ``restarts`` times,

    x <- x + sqrt(high^2 - sigma_j^2) z_k,    then ``inner`` Heun steps on a Karras grid from high to sigma_j,

which contracts the errors made so far; then it goes on to 0. n steps cost 2 n - 1 + 2 inner restarts.
"""

from itertools import pairwise

from baselines._steps import euler, evaluated, heun
from dpmot.diffusion.protocols import Callback, Denoiser, Noise, Tensor
from dpmot.diffusion.sigmas import check_budget, intervals, karras

GRID = "karras"


def check(*, restarts: int = 1, inner: int = 2, low: float = 0.06, high: float = 0.3) -> None:
    """Refuse options that the method does not have."""
    if restarts < 1 or inner < 1:
        raise ValueError(f"Restart needs at least 1 restart of 1 inner step, got restarts {restarts}, inner {inner}")
    if not (low > 0 and high > 0):
        raise ValueError(f"Restart needs low and high above 0, got low {low}, high {high}")


def num_steps(nfe: int, *, restarts: int = 1, inner: int = 2) -> int:
    """Most steps of the main trajectory within ``nfe`` evaluations, at least 2: n of them spend 2 n - 1."""
    check(restarts=restarts, inner=inner)
    spent = 2 * inner * restarts
    check_budget(nfe, 3 + spent, f"Restart with {restarts} times {inner} inner steps")
    return (nfe - spent + 1) // 2


def sample(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise | None = None,
    callback: Callback | None = None,
    restarts: int = 1,
    inner: int = 2,
    low: float = 0.06,
    high: float = 0.3,
) -> Tensor:
    """Run Restart from x at sigmas[0] to sigma 0; see :mod:`baselines`.

    Args:
        noise: k -> N(0, 1) noise (B, *S) of restart k.
        callback: called with (i, x_i, D_i) before each step of the main trajectory.
        restarts: how often, K in the paper.
        inner: Heun steps of each.
        low: t_min in sigma; the nearest level after the first, above 0, is taken.
        high: t_max in sigma; cut to the start's sigma, and raised to the level before ``low``'s if it is not above it.

    Raises:
        ValueError: a grid of fewer than 2 steps.
    """
    check(restarts=restarts, inner=inner, low=low, high=high)
    if len(sigmas) < 3:
        raise ValueError("Restart needs a grid of at least 2 steps: with one there is nothing to repeat")
    if noise is None:
        raise ValueError("Restart is stochastic: pass noise(k)")
    steps = intervals(sigmas)
    levels = [float(sigma) for sigma in sigmas[1:-1]]
    back = 1 + min(range(len(levels)), key=lambda j: abs(levels[j] - low))  # sigma_j of the restarts
    bottom = float(sigmas[back])
    top = min(high if high > bottom else float(sigmas[back - 1]), float(sigmas[0]))
    again = sigmas.new_tensor(karras(inner + 1, top, bottom)[:-1])
    for i, sigma, to in steps:
        if i == back:
            for k in range(restarts):
                x = x + (top**2 - bottom**2) ** 0.5 * noise(k)
                for high_sigma, low_sigma in pairwise(again):
                    x = heun(denoiser, x, denoiser(x, high_sigma), high_sigma, low_sigma)
        denoised = evaluated(denoiser, x, sigma, i, callback)
        x = heun(denoiser, x, denoised, sigma, to) if to > 0 else euler(x, denoised, sigma, to)
    return x
