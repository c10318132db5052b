r"""DPM-Solver++ (Lu et al. 2022b), multistep, orders 1 to 3 (2M, 3M) and the SDE version of orders 1 and 2.

With lambda = -ln sigma, h = lambda_{i+1} - lambda_i, and D and its differences over earlier steps (algorithm 2),

    x_{i+1} = (sigma_{i+1} / sigma_i) x_i + (1 - e^-h) (D + D1 / 2),    D1 = (D_i - D_{i-1}) h / h_{i-1}    (2M)

3M adds the second difference; its authors' coefficient, which diffusers and k-diffusion share, is half of that of the
Taylor expansion, so that 3M converges at order 2 (measured). ``taylor`` doubles it: order 3. SDE-2M replaces the
factors by (sigma_{i+1} / sigma_i)^2 and 1 - e^-2h and adds noise of deviation sigma_{i+1} sqrt(1 - e^-2h). The first
steps have as many earlier values as there are; the last, to sigma = 0, is x = D, and the one before it of order 2 at
most. One evaluation a step.
"""

from baselines._steps import evaluated
from dpmot.diffusion.protocols import Callback, Denoiser, Noise, Tensor
from dpmot.diffusion.sigmas import intervals, one_a_step

GRID = "log_snr"
num_steps = one_a_step("DPM-Solver++")


def check(*, order: int = 2, sde: bool = False, taylor: bool = False) -> None:
    """Refuse options that the method does not have."""
    if order not in ((1, 2) if sde else (1, 2, 3)):
        raise ValueError(f"DPM-Solver++ has orders 1, 2 and, as an ODE, 3; got {order}{' with sde' if sde else ''}")
    if taylor and order != 3:
        raise ValueError(f"DPM-Solver++'s taylor is an option of order 3, got order {order}")


def sample(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise | None = None,
    callback: Callback | None = None,
    order: int = 2,
    sde: bool = False,
    taylor: bool = False,
) -> Tensor:
    """Run DPM-Solver++ from x at sigmas[0] to sigma 0; see :mod:`baselines`.

    Args:
        noise: needed for the SDE.
        order: 1, 2 (2M) or 3 (3M).
        taylor: of order 3, the second difference as in the Taylor expansion instead of half of it.
        sde: solve the reverse SDE instead of the probability-flow ODE; orders 1 and 2.
    """
    check(order=order, sde=sde, taylor=taylor)
    if sde and noise is None:
        raise ValueError("DPM-Solver++ with sde is stochastic: pass noise(i)")
    past: list[tuple[Tensor, Tensor]] = []  # (sigma, D) of the steps before, latest first
    for i, sigma, to in intervals(sigmas):
        denoised = evaluated(denoiser, x, sigma, i, callback)
        if to == 0:
            x = denoised
            break
        h = (sigma / to).log()
        most = min(order, len(past) + 1, len(sigmas) - 1 - i if sigmas[-1] == 0 else order)
        first, second = _differences(denoised, sigma, h, past[: most - 1])
        if sde and noise:
            x = (to / sigma) ** 2 * x - (-2 * h).expm1() * (denoised + first / 2)
            x = x + to * (-(-2 * h).expm1()) ** 0.5 * noise(i)
        else:
            decay = (-h).expm1()  # e^-h - 1
            linear = decay / -2 if most < 3 else decay / h + 1
            curved = ((decay + h) / h**2 - 0.5) * (2 if taylor else 1)
            x = to / sigma * x - decay * denoised + linear * first - curved * second
        past = [(sigma, denoised), *past][: order - 1]
    return x


def _differences(
    denoised: Tensor, sigma: Tensor, h: Tensor, past: list[tuple[Tensor, Tensor]]
) -> tuple[Tensor | float, Tensor | float]:
    """First and second divided differences of D in units of the coming step h; 0 where there is no earlier value."""
    if not past:
        return 0.0, 0.0
    ratios = [(s / t).log() / h for (s, _), t in zip(past, [sigma, *(s for s, _ in past)], strict=False)]
    first = (denoised - past[0][1]) / ratios[0]
    if len(past) < 2:
        return first, 0.0
    before = (past[0][1] - past[1][1]) / ratios[1]
    total = ratios[0] + ratios[1]
    return first + ratios[0] / total * (first - before), (first - before) / total
