r"""DDPM ancestral sampling (Ho et al. 2020, algorithm 2), on any descending grid, in sigma units.

The posterior q(x_{i+1} | x_i, x0 = D) has mean D + (sigma_{i+1} / sigma_i)^2 (x_i - D) and variance
sigma_{i+1}^2 (sigma_i^2 - sigma_{i+1}^2) / sigma_i^2 ("small", their beta-tilde); "large" is their beta_t, which in
sigma units is (1 + sigma_{i+1}^2) (sigma_i^2 - sigma_{i+1}^2) / (1 + sigma_i^2). No noise is added in the last step.
"""

from baselines._steps import evaluated
from dpmot.diffusion.protocols import Callback, Denoiser, Noise, Tensor
from dpmot.diffusion.sigmas import intervals, one_a_step

GRID = None  # the network's own levels
num_steps = one_a_step("DDPM")


def check(*, variance: str = "small") -> None:
    """Refuse options that the method does not have."""
    if variance not in ("small", "large"):
        raise ValueError(f'DDPM\'s variance must be "small" or "large", got {variance!r}')


def sample(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise | None = None,
    callback: Callback | None = None,
    variance: str = "small",
) -> Tensor:
    """Run ancestral sampling from x at sigmas[0] to sigma 0; see :mod:`baselines`.

    Args:
        variance: "small" (beta-tilde) or "large" (beta).
    """
    check(variance=variance)
    if noise is None:
        raise ValueError("DDPM is stochastic: pass noise(i)")
    for i, sigma, to in intervals(sigmas):
        denoised = evaluated(denoiser, x, sigma, i, callback)
        x = denoised + (to / sigma) ** 2 * (x - denoised)
        if to > 0:
            ratio = to**2 / sigma**2 if variance == "small" else (1 + to**2) / (1 + sigma**2)
            x = x + (ratio * (sigma**2 - to**2)) ** 0.5 * noise(i)
    return x
