r"""EDM's sampler (Karras et al. 2022, algorithms 1 and 2): Heun's method on dx/dsigma = (x - D) / sigma, with churn.

    d_i = (x_i - D_i) / sigma_i,  x' = x_i + (sigma_{i+1} - sigma_i) d_i,
    x_{i+1} = x_i + (sigma_{i+1} - sigma_i) (d_i + d') / 2, and x' itself in the last step to sigma = 0.

With churn each step first rises to sigma_i (1 + gamma), gamma = min(churn / n, sqrt 2 - 1), by adding noise. Two
evaluations a step, one in the last: n steps cost 2 n - 1; without the correction it is Euler's method at n.
"""

from baselines._steps import euler, evaluated, heun
from dpmot.diffusion.protocols import Callback, Denoiser, Noise, Tensor
from dpmot.diffusion.sigmas import check_budget, intervals

GRID = "karras"


def check(*, churn: float = 0.0, churn_min: float = 0.05, churn_max: float = 50.0, churn_noise: float = 1.003) -> None:
    """Refuse options that the method does not have."""
    if not churn >= 0:
        raise ValueError(f"EDM's churn must be at least 0, got {churn}")
    if not 0 <= churn_min <= churn_max:
        raise ValueError(f"EDM needs 0 <= churn_min <= churn_max, got {churn_min} and {churn_max}")
    if not churn_noise > 0:
        raise ValueError(f"EDM's churn_noise must be above 0, got {churn_noise}")


def num_steps(nfe: int, *, correct: bool = True) -> int:
    """Most steps within ``nfe`` evaluations: n steps spend 2 n - 1, or n without the correction."""
    check_budget(nfe, 1, "Heun")
    return (nfe + 1) // 2 if correct else nfe


def sample(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise | None = None,
    callback: Callback | None = None,
    correct: bool = True,
    churn: float = 0.0,
    churn_min: float = 0.05,
    churn_max: float = 50.0,
    churn_noise: float = 1.003,
) -> Tensor:
    """Run Heun's method from x at sigmas[0] to sigma 0; see :mod:`baselines`.

    Args:
        noise: needed when churn > 0.
        callback: called with (i, x_i, D_i) before each step, at the level the step starts from.
        correct: False leaves out the second evaluation: Euler's method.
        churn: S_churn >= 0, the noise added over the whole trajectory; 0 is deterministic.
        churn_min: S_tmin, no noise is added below this sigma; the defaults are the paper's for CIFAR-10 (table 5).
        churn_max: S_tmax, nor above this one.
        churn_noise: S_noise, standard deviation of the added noise.
    """
    check(churn=churn, churn_min=churn_min, churn_max=churn_max, churn_noise=churn_noise)
    if churn and noise is None:
        raise ValueError(f"EDM with churn = {churn} is stochastic: pass noise(i)")
    steps = intervals(sigmas)
    gamma = min(churn / (len(sigmas) - 1), 2**0.5 - 1)
    for i, sigma, to in steps:
        if noise and gamma and churn_min <= sigma <= churn_max:
            raised = sigma * (1 + gamma)
            x = x + (raised**2 - sigma**2) ** 0.5 * churn_noise * noise(i)
            sigma = raised
        denoised = evaluated(denoiser, x, sigma, i, callback)
        x = heun(denoiser, x, denoised, sigma, to) if correct and to > 0 else euler(x, denoised, sigma, to)
    return x
