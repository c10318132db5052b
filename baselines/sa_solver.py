r"""SA-Solver (Xue et al. 2023): stochastic Adams methods, a predictor and, with the same evaluations, a corrector.

For the SDEs whose noise is tau times that of the reverse SDE; lambda = -ln sigma, h = lambda' - lambda, c = 1 + tau^2:

    x' = (sigma' / sigma) e^(-tau^2 h) x + sum_j w_j D_j + sigma' sqrt(1 - e^(-2 tau^2 h)) z,

w the exact integrals of the interpolated D (:mod:`baselines._exponential`): of the predictor through the last values,
of the corrector also through D at the predicted x', with the z of its predictor. tau holds between ``low`` and
``high``; elsewhere it is 0: the ODE. Methods of two points have the authors' term of order h^3 more. The first steps
have as many values as there are, and orders fall to 1 at the end: the step to sigma = 0 is
x = D. One evaluation a step.
"""

import numpy as np

from baselines._exponential import adams
from baselines._steps import evaluated
from dpmot.diffusion.protocols import Callback, Denoiser, Noise, Tensor
from dpmot.diffusion.sigmas import intervals, one_a_step

GRID = "karras"
num_steps = one_a_step("SA-Solver")


def check(*, predictor: int = 3, corrector: int = 4, tau: float = 1.0, low: float = 0.72, high: float = 25.0) -> None:
    """Refuse options that the method does not have."""
    if predictor not in (1, 2, 3, 4) or corrector not in (0, 1, 2, 3, 4):
        told = f"got {predictor} and {corrector}"
        raise ValueError(f"SA-Solver's predictor has 1 to 4 points, its corrector 1 to 4, 0 for none; {told}")
    if not 0 <= tau <= 3:
        raise ValueError(f"SA-Solver's tau must lie in [0, 3], got {tau}")
    if not 0 <= low <= high:
        raise ValueError(f"SA-Solver needs 0 <= low <= high, got {low} and {high}")


def sample(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise | None = None,
    callback: Callback | None = None,
    predictor: int = 3,
    corrector: int = 4,
    tau: float = 1.0,
    low: float = 0.72,
    high: float = 25.0,
) -> Tensor:
    """Run SA-Solver from x at sigmas[0] to sigma 0; see :mod:`baselines`.

    Args:
        noise: needed when tau > 0.
        callback: called with (i, x_i, D_i) before each step; x_i is the predicted point, where D was evaluated.
        predictor: evaluations that the predictor interpolates.
        corrector: those of the corrector, the newest among them; 0 leaves it out.
        tau: size of the noise; 0 is the ODE.
        low: no noise is added in steps from a sigma below this one; the authors' default, t in [0.2, 0.8] of the VP
            diffusion, is sigma in [0.72, 25].
        high: nor from above this one.
    """
    check(predictor=predictor, corrector=corrector, tau=tau, low=low, high=high)
    if tau and noise is None:
        raise ValueError(f"SA-Solver with tau = {tau} is stochastic: pass noise(i)")
    past: list[tuple[float, Tensor]] = []  # (sigma, D), latest first
    begun, added, before, total = x, x, 0.0, len(sigmas) - 1  # of the step before: x, its noise, its tau
    for i, sigma, to in intervals(sigmas):
        s, t, left = float(sigma), float(to), total - i
        denoised = evaluated(denoiser, x, sigma, i, callback)
        past = [(s, denoised), *past]
        if corrector and i:
            x = _step(begun, past[: min(corrector, left + 2)], past[1][0], s, before, added, corrects=True)
        if t == 0:
            return denoised
        before = tau if low <= s <= high else 0.0
        begun, added = x, noise(i) if before and noise else 0 * x
        most = min(predictor, left)
        x = _step(begun, past[:most], s, t, before, added, corrects=False)
        past = past[: max(predictor, corrector)]
    return x


def _step(
    x: Tensor,
    known: list[tuple[float, Tensor]],
    start: float,
    to: float,
    tau: float,
    noise: Tensor,
    *,
    corrects: bool,
) -> Tensor:
    """From x at sigma ``start`` to ``to`` with the known values of D, (sigma, D)."""
    h, rate = float(np.log(start / to)), 1 + tau**2
    weights = adams([level for level, _ in known], start, to, rate=rate)
    if len(known) == 2:
        linear = (rate * h - 1 + np.exp(-rate * h)) / rate**2  # the exact integral; theirs is h^2 / 2
        apart = float(np.log(known[1][0] / known[0][0]))
        extra = float(rate * (h**2 / 2 - linear) / apart)
        weights = [weights[0] + extra, weights[1] - extra]
    x = to / start * float(np.exp(-(tau**2) * h)) * x
    for weight, (_, value) in zip(weights, known, strict=True):
        x = x + weight * value
    return x + to * float(-np.expm1(-2 * tau**2 * h)) ** 0.5 * noise
