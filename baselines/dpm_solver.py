r"""DPM-Solver (Lu et al. 2022a), single-step, orders 1 to 3, in sigma units.

With lambda = -ln sigma, h = lambda_{i+1} - lambda_i and eps(x, sigma) = (x - D) / sigma, the exact solution is
x_{i+1} = x_i + integral of eps over sigma. The levels within a step lie at r1 h (and r2 h) in lambda:

    order 1:  x + (to - sigma) eps                                                    (DDIM; their eq. 3.7)
    order 2:  x + (to - sigma) eps_{r1},  r1 = 1/2                                    (algorithm 1)
    order 3:  x + (to - sigma) eps - (to / r2) ((e^h - 1) / h - 1) (eps_{r2} - eps),  r1 = 1/3, r2 = 2/3  (algorithm 2)

The step to sigma = 0, where lambda ends, is of order 1. n steps of order p cost p (n - 1) + 1; what is left of a budget
is not spent (its authors' "fast" variant fills it with steps of lower order), which the counted NFE shows.
"""

from baselines._steps import evaluated
from dpmot.diffusion.protocols import Callback, Denoiser, Noise, Tensor
from dpmot.diffusion.sigmas import check_budget, intervals

GRID = "log_snr"


def check(*, order: int = 2) -> None:
    """Refuse options that the method does not have."""
    if order not in (1, 2, 3):
        raise ValueError(f"DPM-Solver's order must be 1, 2 or 3, got {order}")


def num_steps(nfe: int, *, order: int = 2) -> int:
    """Most steps within ``nfe`` evaluations: n steps of order p spend p (n - 1) + 1."""
    check(order=order)
    check_budget(nfe, 1, "DPM-Solver")
    return (nfe - 1) // order + 1


def sample(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise | None = None,
    callback: Callback | None = None,
    order: int = 2,
) -> Tensor:
    """Run DPM-Solver from x at sigmas[0] to sigma 0; see :mod:`baselines`.

    Args:
        order: 1, 2 or 3 evaluations a step.
    """
    check(order=order)
    for i, sigma, to in intervals(sigmas):
        denoised = evaluated(denoiser, x, sigma, i, callback)
        x = _step(denoiser, x, denoised, sigma, to, order if to > 0 else 1)
    return x


def _step(denoiser: Denoiser, x: Tensor, denoised: Tensor, sigma: Tensor, to: Tensor, order: int) -> Tensor:
    eps = (x - denoised) / sigma
    if order == 1:
        return x + (to - sigma) * eps
    first = sigma * (to / sigma) ** (1 / order)  # r1 = 1/2 or 1/3 of the way in lambda
    u = x + (first - sigma) * eps
    change = (u - denoiser(u, first)) / first - eps
    if order == 2:
        return x + (to - sigma) * (eps + change)
    second, h = sigma * (to / sigma) ** (2 / 3), (sigma / to).log()
    u = x + (second - sigma) * eps - 2 * second * _phi(2 / 3 * h) * change  # r2 / r1 = 2
    change = (u - denoiser(u, second)) / second - eps
    return x + (to - sigma) * eps - 1.5 * to * _phi(h) * change


def _phi(h: Tensor) -> Tensor:
    return h.expm1() / h - 1
