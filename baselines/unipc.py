r"""UniPC (Zhao et al. 2023): a multistep predictor and, with the same evaluations, a corrector of one order more.

In data prediction with lambda = -ln sigma, h = lambda_{i+1} - lambda_i, D_m = D(x_i, sigma_i) - differences to it
over earlier steps at r_m = (lambda_m - lambda_i) / h, both solve (their eq. 10, algorithms 5 and 6)

    x_{i+1} = (sigma_{i+1} / sigma_i) x_i + (1 - e^-h) D_i - B(h) sum_m rho_m (D_m - D_i) / r_m,

with rho from the order conditions, B(h) = -h ("bh1") or e^-h - 1 ("bh2"). The corrector adds the point r = 1, the
evaluation at the predicted x_{i+1}, which the next predictor uses as well: one evaluation a step. Orders fall to 1 at
the end, the step to sigma = 0 is x = D. The predictor of order 2 uses rho = 1/2, as its authors do.
"""

import numpy as np

from baselines._steps import evaluated
from dpmot.diffusion.protocols import Callback, Denoiser, Noise, Tensor
from dpmot.diffusion.sigmas import intervals, one_a_step

GRID = "log_snr"
num_steps = one_a_step("UniPC")


def check(*, order: int = 3, variant: str = "bh2") -> None:
    """Refuse options that the method does not have."""
    if order not in (1, 2, 3):
        raise ValueError(f"UniPC's order must be 1, 2 or 3, got {order}")
    if variant not in ("bh1", "bh2"):
        raise ValueError(f'UniPC\'s variant must be "bh1" or "bh2", got {variant!r}')


def sample(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise | None = None,
    callback: Callback | None = None,
    order: int = 3,
    variant: str = "bh2",
    correct: bool = True,
) -> Tensor:
    """Run UniPC from x at sigmas[0] to sigma 0; see :mod:`baselines`.

    Args:
        callback: called with (i, x_i, D_i) before each step; x_i is the predicted point, where D was evaluated.
        order: of the predictor, 1, 2 or 3.
        variant: "bh1" or "bh2", the function B(h).
        correct: False leaves out the corrector: UniP.
    """
    check(order=order, variant=variant)
    past: list[tuple[float, Tensor]] = []  # (lambda, D) of the steps before, latest first
    start, most = x, 0  # of the step before: where it began, its order
    for i, sigma, to in intervals(sigmas):
        denoised, level = evaluated(denoiser, x, sigma, i, callback), -float(sigma.log())
        if correct and past:
            x = _update(start, past[:most], level, variant, there=denoised)
        past = [(level, denoised), *past][:order]
        if to == 0:
            return denoised
        start, most = x, min(order, len(past), len(sigmas) - 1 - i if sigmas[-1] == 0 else order)
        x = _update(start, past[:most], -float(to.log()), variant)
    return x


def _update(
    x: Tensor, past: list[tuple[float, Tensor]], target: float, variant: str, *, there: Tensor | None = None
) -> Tensor:
    """From x at past[0] to lambda ``target``; with ``there``, D at the predicted end, it is the corrector."""
    (level, denoised), *earlier = past
    h = target - level
    points = [((before - level) / h, value) for before, value in earlier]
    if there is not None:
        points.append((1.0, there))
    scale = -h if variant == "bh1" else np.expm1(-h)
    x = np.exp(-h) * x - np.expm1(-h) * denoised
    for weight, (r, value) in zip(_weights([r for r, _ in points], h, scale), points, strict=True):
        x = x - scale * weight / r * (value - denoised)
    return x


def _weights(r: list[float], h: float, scale: float) -> list[float]:
    """rho of the order conditions sum_m rho_m r_m^(k-1) = k! phi_{k+1}(-h) (-h) / B(h), k = 1, ..., len(r)."""
    if not r:
        return []
    if len(r) == 1:
        return [0.5]  # order 2 of the predictor, order 1 of the corrector: the authors' simplified choice
    phi, factorial, right = np.expm1(-h) / -h - 1, 1, []
    for k in range(1, len(r) + 1):  # phi = (-h)^k phi_{k+1}(-h) / (-h)^{k-1}
        right.append(phi * factorial / scale)
        factorial *= k + 1
        phi = phi / -h - 1 / factorial
    return np.linalg.solve(np.vander(r, increasing=True).T, right).tolist()
