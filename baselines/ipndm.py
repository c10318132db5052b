r"""iPNDM (Zhang & Chen 2023, the improved PNDM of Liu et al. 2022): Adams-Bashforth on eps(x, sigma) = (x - D) / sigma.

    x_{i+1} = x_i + (sigma_{i+1} - sigma_i) sum_j b_j eps_{i-j},    b of the classical methods for equal steps,

used on any grid: of order p where the steps in sigma are equal, of order 1 elsewhere, and good at few steps. The first
steps have as many values as there are; the step to sigma = 0 is of order 1. One evaluation a step.
"""

from baselines._steps import evaluated
from dpmot.diffusion.protocols import Callback, Denoiser, Noise, Tensor
from dpmot.diffusion.sigmas import intervals, one_a_step

GRID = "karras"
num_steps = one_a_step("iPNDM")
ADAMS_BASHFORTH = {
    1: (1.0,),
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}


def check(*, order: int = 4) -> None:
    """Refuse options that the method does not have."""
    if order not in ADAMS_BASHFORTH:
        raise ValueError(f"iPNDM's order must be 1, 2, 3 or 4, got {order}")


def sample(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise | None = None,
    callback: Callback | None = None,
    order: int = 4,
) -> Tensor:
    """Run iPNDM from x at sigmas[0] to sigma 0; see :mod:`baselines`.

    Args:
        order: evaluations that are combined, 1 to 4.
    """
    check(order=order)
    past: list[Tensor] = []  # eps, latest first
    for i, sigma, to in intervals(sigmas):
        denoised = evaluated(denoiser, x, sigma, i, callback)
        past = [(x - denoised) / sigma, *past][:order]
        used = past if to > 0 else past[:1]
        x = x + (to - sigma) * sum(b * eps for b, eps in zip(ADAMS_BASHFORTH[len(used)], used, strict=True))
    return x
