r"""DDIM (Song et al. 2021), in sigma units: with D = D(x_i, sigma_i) and x = x0 + sigma eps,

    x_{i+1} = D + sqrt(sigma_{i+1}^2 - up^2) / sigma_i (x_i - D) + up z_i,
    up = eta sigma_{i+1} / sigma_i sqrt(sigma_i^2 - sigma_{i+1}^2)          (their eq. 12 and 16).

eta = 0 is Euler's method on the probability-flow ODE dx/dsigma = (x - D) / sigma; eta = 1 is DDPM. One evaluation a
step.
"""

from baselines._steps import evaluated
from dpmot.diffusion.protocols import Callback, Denoiser, Noise, Tensor
from dpmot.diffusion.sigmas import intervals, one_a_step

GRID = None  # the network's own levels
num_steps = one_a_step("DDIM")


def check(*, eta: float = 0.0) -> None:
    """Refuse options that the method does not have."""
    if not 0 <= eta <= 1:
        raise ValueError(f"DDIM's eta must lie in [0, 1], got {eta}")


def sample(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise | None = None,
    callback: Callback | None = None,
    eta: float = 0.0,
) -> Tensor:
    """Run DDIM from x at sigmas[0] to sigma 0; see :mod:`baselines`.

    Args:
        noise: needed when eta > 0.
        eta: 0 deterministic, 1 the DDPM posterior.
    """
    check(eta=eta)
    if eta and noise is None:
        raise ValueError(f"DDIM with eta = {eta} is stochastic: pass noise(i)")
    for i, sigma, to in intervals(sigmas):
        denoised = evaluated(denoiser, x, sigma, i, callback)
        up = eta * to / sigma * (sigma**2 - to**2) ** 0.5
        x = denoised + (to**2 - up**2) ** 0.5 / sigma * (x - denoised)
        if noise and up > 0:
            x = x + up * noise(i)
    return x
