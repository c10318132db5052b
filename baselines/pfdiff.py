r"""PFDiff-k_l (Wang et al. 2025): DDIM that looks ahead by an old eps and jumps by a new one, eps = (x - D) / sigma.

From x_i, with eps the one evaluated last, before i (Nesterov's foresight),

    look ahead    y = x_i + (sigma_{i+l} - sigma_i) eps,    eps' = eps(y, sigma_{i+l}),
    jump          x_{i+k+1} = x_i + (sigma_{i+k+1} - sigma_i) eps'.

So one evaluation pays for k + 1 steps of the grid. The first step of the grid is DDIM's; where fewer than k + 1 are
left, l is 1, and a single one is DDIM's. n steps cost 1 + ceil((n - 1) / (k + 1)).
"""

from baselines._steps import evaluated
from dpmot.diffusion.protocols import Callback, Denoiser, Noise, Tensor
from dpmot.diffusion.sigmas import check_budget, intervals

GRID = None  # the network's own levels, as DDIM's


def check(*, skip: int = 1, ahead: int = 1) -> None:
    """Refuse options that the method does not have."""
    if not 1 <= skip <= 3:
        raise ValueError(f"PFDiff's skip must be 1, 2 or 3, got {skip}")
    if not 1 <= ahead <= skip:
        raise ValueError(f"PFDiff's ahead must lie between 1 and skip, got ahead {ahead}, skip {skip}")


def num_steps(nfe: int, *, skip: int = 1) -> int:
    """Most steps of the grid within ``nfe`` evaluations: one, and skip + 1 for each evaluation more."""
    check_budget(nfe, 1, "PFDiff")
    return 1 + (nfe - 1) * (skip + 1)


def sample(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise | None = None,
    callback: Callback | None = None,
    skip: int = 1,
    ahead: int = 1,
) -> Tensor:
    """Run PFDiff from x at sigmas[0] to sigma 0; see :mod:`baselines`.

    Args:
        callback: called with (i, x_i, D_i) of every step of the grid; in a jump x_i lies on its straight line, and D_i
            is where that line meets sigma = 0.
        skip: k, steps of the grid that a jump leaves out.
        ahead: l <= k, steps of the grid that it looks ahead.
    """
    check(skip=skip, ahead=ahead)
    eps, until = x, 0  # eps evaluated last; the step at which the present jump ends
    for i, sigma, to in intervals(sigmas):
        if i == until:
            left = len(sigmas) - 1 - i
            until = i + (1 if i == 0 else min(skip + 1, left))
            if until == i + 1:
                denoised = evaluated(denoiser, x, sigma, i, callback)
                eps = (x - denoised) / sigma
                x = x + (to - sigma) * eps
                continue
            level = sigmas[i + (ahead if left > skip else 1)]
            point = x + (level - sigma) * eps
            eps = (point - denoiser(point, level)) / level
        if callback:
            callback(i, x, x - sigma * eps)
        x = x + (to - sigma) * eps
    return x
