r"""EDM's sampler (Karras et al. 2022, algorithms 1 and 2): Heun's method on dx/dsigma = (x - D) / sigma, with churn.

    d_i = (x_i - D_i) / sigma_i,  x' = x_i + (sigma_{i+1} - sigma_i) d_i,
    x_{i+1} = x_i + (sigma_{i+1} - sigma_i) (d_i + d') / 2, and x' itself in the last step to sigma = 0.

With churn each step first rises to sigma_i (1 + gamma), gamma = min(churn / n, sqrt 2 - 1), by adding noise. Two
evaluations a step, one in the last: n steps cost 2 n - 1; without the correction it is Euler's method at n.
"""

from baselines._heun import euler, heun
from dpmot.diffusion.sigmas import UnattainableBudget, intervals

GRID = "karras"


def check(*, churn: float = 0.0, churn_min: float = 0.05, churn_max: float = 50.0, churn_noise: float = 1.003) -> None:
    """Refuse options that the method does not have.

    Raises:
        ValueError: see :func:`sample`.
    """
    if not churn >= 0:
        raise ValueError(f"EDM's churn must be at least 0, got {churn}")
    if not 0 <= churn_min <= churn_max:
        raise ValueError(f"EDM needs 0 <= churn_min <= churn_max, got {churn_min} and {churn_max}")
    if not churn_noise > 0:
        raise ValueError(f"EDM's churn_noise must be above 0, got {churn_noise}")


def num_steps(nfe: int, *, correct: bool = True) -> int:
    """Most steps within ``nfe`` evaluations: n steps spend 2 n - 1, or n without the correction.

    Raises:
        UnattainableBudget: nfe < 1.
    """
    if nfe < 1:
        raise UnattainableBudget(f"Heun needs at least 1 evaluation, NFE {nfe} was given")
    return (nfe + 1) // 2 if correct else nfe


def sample(
    denoiser,
    x,
    sigmas,
    *,
    noise=None,
    callback=None,
    correct: bool = True,
    churn: float = 0.0,
    churn_min: float = 0.05,
    churn_max: float = 50.0,
    churn_noise: float = 1.003,
):
    """Run Heun's method from x at sigmas[0] to sigma 0.

    Args:
        denoiser: D(x, sigma).
        x: start, (B, *S), at noise level sigmas[0].
        sigmas: (n + 1,), descending, last 0.
        noise: step i -> N(0, 1) noise (B, *S); needed when churn > 0.
        callback: called with (i, x_i, D_i) before each step, at the level the step starts from.
        correct: False leaves out the second evaluation: Euler's method.
        churn: S_churn >= 0, the noise added over the whole trajectory; 0 is deterministic.
        churn_min: S_tmin, no noise is added below this sigma; the defaults are the paper's for CIFAR-10 (table 5).
        churn_max: S_tmax, nor above this one.
        churn_noise: S_noise, standard deviation of the added noise.

    Returns:
        The sample at sigma 0, (B, *S).

    Raises:
        ValueError: churn < 0 or > 0 without noise, churn_min above churn_max, or churn_noise not above 0.
    """
    check(churn=churn, churn_min=churn_min, churn_max=churn_max, churn_noise=churn_noise)
    if churn and noise is None:
        raise ValueError(f"EDM with churn = {churn} is stochastic: pass noise(i)")
    steps = intervals(sigmas)
    gamma = min(churn / (len(sigmas) - 1), 2**0.5 - 1)
    for i, sigma, to in steps:  # i = 0, ..., n-1; sigma_n = 0
        if gamma and churn_min <= sigma <= churn_max:
            raised = sigma * (1 + gamma)
            x = x + (raised**2 - sigma**2) ** 0.5 * churn_noise * noise(i)
            sigma = raised
        denoised = denoiser(x, sigma)
        if callback:
            callback(i, x, denoised)
        x = heun(denoiser, x, denoised, sigma, to) if correct else euler(x, denoised, sigma, to)
    return x
