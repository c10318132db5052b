r"""Annealed Langevin dynamics (NCSNv2, Song & Ermon 2020, algorithm 1), in sigma units.

At each level, ``steps_per_level`` times,    x <- x + a_i (D - x) / sigma_i^2 + sqrt(2 a_i) z,   a_i = step sigma_i^2,

and at the end x <- D(x, sigma_L), their final denoising. ``step`` is their epsilon / sigma_L^2 and free of units:
images in [0, 1] or [-1, 1] take the same. Left open, it is their technique 4: for the grid's ratio it keeps the
variance of x at sigma_i^2 as well as it can; on a single level, where x is already there, it hardly moves. n levels of
T steps cost n T + 1.
"""

import numpy as np

from dpmot.diffusion.protocols import Callback, Denoiser, Noise, Tensor
from dpmot.diffusion.sigmas import check_budget, intervals

GRID = "geometric"
STEPS_PER_LEVEL = 5  # the authors' T
PRIOR = "uniform"  # the authors' chains start from uniform noise in the images' range


def check(*, steps_per_level: int = STEPS_PER_LEVEL, step: float | None = None) -> None:
    """Refuse options that the method does not have."""
    if steps_per_level < 1:
        raise ValueError(f"Langevin dynamics needs at least 1 step a level, got steps_per_level {steps_per_level}")
    if step is not None and not 0 < step <= 1:
        raise ValueError(f"Langevin's step (epsilon / sigma_L^2) must lie in (0, 1], got {step}")


def num_steps(nfe: int, *, steps_per_level: int = STEPS_PER_LEVEL, denoise: bool = True) -> int:
    """Most levels within ``nfe`` evaluations: n levels spend n T, and one for the final denoising."""
    check(steps_per_level=steps_per_level)
    check_budget(nfe, steps_per_level + denoise, f"Langevin dynamics with {steps_per_level} steps a level")
    return (nfe - denoise) // steps_per_level


def sample(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise | None = None,
    callback: Callback | None = None,
    steps_per_level: int = STEPS_PER_LEVEL,
    step: float | None = None,
    denoise: bool = True,
) -> Tensor:
    """Run annealed Langevin dynamics from x through the levels sigmas[0], ..., sigmas[n-1]; see :mod:`baselines`.

    Args:
        noise: k -> N(0, 1) noise (B, *S) of Langevin step k = 0, ..., n T - 1.
        callback: called with (i, x_i, D_i) before the first step on each level.
        steps_per_level: T.
        step: epsilon / sigma_L^2, in (0, 1]; None chooses by their technique 4.
        denoise: end with one evaluation at the finest level.
    """
    check(steps_per_level=steps_per_level, step=step)
    if noise is None:
        raise ValueError("Langevin dynamics is stochastic: pass noise(k)")
    steps = intervals(sigmas)
    levels = sigmas[:-1] if sigmas[-1] == 0 else sigmas
    if step is None:
        step = best_step(float(levels[0] / levels[-1]) ** (1 / max(1, len(levels) - 1)), steps_per_level)
    for i, sigma, to in steps:
        for t in range(steps_per_level):
            denoised = denoiser(x, sigma)
            if callback and not t:
                callback(i, x, denoised)
            x = x + step * (denoised - x) + (2 * step) ** 0.5 * sigma * noise(i * steps_per_level + t)
        if denoise and to == 0:
            x = denoiser(x, sigma)
    return x


@np.errstate(under="ignore")  # a power of a small number is 0
def best_step(ratio: float, steps_per_level: int) -> float:
    """epsilon / sigma_L^2 of technique 4 for levels that fall by ``ratio``, in (0, 1].

    For data at one point, x ~ N(0, (ratio sigma_i)^2) has after T steps on level i the variance
    (1 - e)^2T (ratio^2 - 2 / (2 - e)) + 2 / (2 - e) in units of sigma_i^2 (their proposition 2); e brings it next to 1.
    """
    e = np.geomspace(1e-4, 1, 4001)
    variance = (1 - e) ** (2 * steps_per_level) * (ratio**2 - 2 / (2 - e)) + 2 / (2 - e)
    return float(e[np.abs(variance - 1).argmin()])
