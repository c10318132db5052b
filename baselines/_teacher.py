"""The trajectory that learned samplers are taught by: Heun's method on a grid that is finer than theirs.

Between two levels of the student's grid lie ``inner`` steps, equal in sigma^(1/7); the step to sigma = 0 goes by way of
the network's finest level.
"""

from baselines._steps import euler, heun
from dpmot.diffusion.protocols import OfBatch, Tensor
from dpmot.diffusion.sigmas import intervals, karras


def trajectory(denoiser: OfBatch, x: Tensor, sigmas: Tensor, *, inner: int, finest: float) -> list[Tensor]:
    """The states at every level of the student's grid, n + 1 of (B, *S), from x at sigmas[0].

    Args:
        inner: Heun steps between two levels, at least 1.
        finest: sigma above 0 from which the last step, Euler's, goes to 0.
    """
    states = [x]
    for _, sigma, to in intervals(sigmas):
        high, low = float(sigma), float(to)
        if low > 0:
            levels = karras(inner + 1, high, low)[:-1]
        else:
            levels = karras(inner + 1, high, min(finest, high)) if high > finest else karras(1, high, high)
        for _, one, other in intervals(sigmas.new_tensor(levels)):
            denoised = denoiser(x, one)
            x = heun(denoiser, x, denoised, one, other) if other > 0 else euler(x, denoised, one, other)
        states.append(x)
    return states


def between(steps: int, evaluations: int) -> int:
    """Heun steps between two levels of a student of so many steps, for a teacher of about so many evaluations."""
    return max(1, round(evaluations / (2 * steps)))


def spent(steps: int, evaluations: int) -> int:
    """Evaluations of each start, where the student's grid ends at the finest level."""
    return 2 * between(steps, evaluations) * (steps - 1) + 1
