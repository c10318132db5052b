r"""GS (Oganov et al. 2025, arXiv:2510.17699): a linear multistep solver whose coefficients and levels are learned.

    x_{i+1} = a_i x_i + sum_{j <= i} b_ij D_j,    D_j = D(x_j, tau_j),

the most that a linear explicit method can be: DDIM, iPNDM, DPM-Solver++ and UniP are cases, S4S those with b of bounded
order, LD3 those with tau alone. Theory gives where it begins (``order`` values of D interpolated in lambda = -ln sigma
and integrated exactly; the step to sigma = 0 is x = D), and a, b and the levels tau_1, ..., tau_{n-1} that the network
is told are then moved together, by L-BFGS through the network, to the least mean squared distance between x_n and the
end of a teacher's trajectory from the same start. Their loss on images is LPIPS; GAS adds an adversarial one. One
evaluation a step.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baselines._exponential import adams
from baselines._steps import evaluated
from baselines._teacher import between, spent, trajectory
from dpmot.diffusion.protocols import Callback, Denoiser, Noise, Tensor
from dpmot.diffusion.sigmas import intervals, one_a_step

GRID = "karras"
LEARNS = ("coefficients", "levels")
STARTS = 64  # from which it is learned
TEACHER = 60  # its evaluations, about
ROUNDS = 25  # of L-BFGS, at most
AT_ONCE = 32  # samples through which gradients are kept
num_steps = one_a_step("GS")


def check(*, coefficients: Sequence[float] = (), levels: Sequence[float] = (), order: int = 2) -> None:
    """Refuse options that the method does not have."""
    if order not in (1, 2, 3, 4):
        raise ValueError(f"GS's order must be 1, 2, 3 or 4, got {order}")
    if any(not level > 0 for level in levels):
        raise ValueError(f"GS's levels must be above 0, got {list(levels)}")
    if coefficients and len(coefficients) not in {n * (n + 3) // 2 for n in range(1, 1000)}:
        raise ValueError(f"GS's coefficients are n (n + 3) / 2 numbers for n steps, got {len(coefficients)}")


def sample(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise | None = None,
    callback: Callback | None = None,
    coefficients: Sequence[float] = (),
    levels: Sequence[float] = (),
    order: int = 2,
) -> Tensor:
    """Run GS from x at sigmas[0] to sigma 0; see :mod:`baselines`.

    Args:
        coefficients: a_i, b_i0, ..., b_ii of every step, one after the other: learned, for one network, grid and
            start. Without any they are those of theory.
        levels: tau_1, ..., tau_{n-1}; without any, the grid's.
        order: of theory, 1 to 4.

    Raises:
        ValueError: coefficients or levels for another number of steps.
    """
    check(coefficients=coefficients, levels=levels, order=order)
    n, steps = len(sigmas) - 1, intervals(sigmas)
    if (coefficients and len(coefficients) != n * (n + 3) // 2) or (levels and len(levels) != n - 1):
        told = f"{len(coefficients)} coefficients and {len(levels)} levels"
        raise ValueError(f"GS was learned for another number of steps than {n}: {told}")
    rows = _rows(np.array(coefficients) if coefficients else theory(sigmas.tolist(), order))
    values: list[Tensor] = []
    for i, sigma, _ in steps:
        level = sigmas.new_tensor(levels[i - 1]) if levels and i else sigma
        values.append(evaluated(denoiser, x, level, i, callback))
        x = _combined(rows[i], x, values)
    return x


def theory(sigmas: Sequence[float], order: int) -> NDArray:
    """The coefficients of an exponential Adams method on a grid, n (n + 3) / 2 numbers."""
    rows = []
    for i, (sigma, to) in enumerate(pairwise(sigmas)):
        row = np.zeros(i + 2)
        if to > 0:
            most = min(order, i + 1)
            row[0], row[i + 2 - most :] = to / sigma, adams(list(sigmas[i + 1 - most : i + 1]), sigma, to)
        else:
            row[-1] = 1
        rows.append(row)
    return np.concatenate(rows)


def _rows(flat: Any) -> list[Any]:
    """Coefficients step by step: a_i, b_i0, ..., b_ii."""
    rows, first = list[Any](), 0
    while first < len(flat):
        rows.append(flat[first : first + len(rows) + 2])
        first += len(rows[-1])
    return rows


def _combined(row: Any, x: Tensor, values: Sequence[Tensor]) -> Tensor:
    own = list(row) if isinstance(row, np.ndarray) else row.unbind()
    x = own[0] * x
    for b, value in zip(own[1:], values, strict=True):
        if not isinstance(b, float) or b:
            x = x + b * value
    return x


def learning(steps: int) -> int:
    """Evaluations of each start that learning takes, about: the teacher's, and a trajectory a round, of which each
    begins and ends another."""
    return spent(steps, TEACHER) + (ROUNDS + 2) * steps


def learn(denoiser: Any, x: Tensor, sigmas: Tensor, *, order: int = 2) -> dict[str, list[float]]:
    """The coefficients and levels for starts like x (B, *S) on this grid.

    Args:
        denoiser: D(x, sigma, rows), of these rows of x; it lets gradients through, and what it is asked is counted.
        x: starts at sigmas[0].
        sigmas: the grid that it begins with, (n + 1,).
        order: of the theory that it begins with.
    """
    import torch
    from scipy.optimize import minimize

    n = len(sigmas) - 1
    end = trajectory(denoiser, x, sigmas, inner=between(n, TEACHER), finest=denoiser.sigma_min)[-1]
    first = theory(sigmas.tolist(), order)
    scale = np.concatenate([_scales(sigmas.tolist()), np.ones(n - 1)])
    middle = np.log(sigmas[1:-1].numpy())
    bounds = [(None, None)] * len(first) + [(np.log(denoiser.sigma_min), float(sigmas[0].log())) for _ in range(n - 1)]

    def ends(flat: Tensor, told: Tensor, rows: Tensor) -> Tensor:
        state, values = x[rows], list[Tensor]()
        for i, row in enumerate(_rows(flat)):
            values.append(denoiser(state, told[i - 1] if i else sigmas[0], rows))
            state = _combined(row, state, values)
        return state

    def loss(theta: NDArray) -> tuple[float, NDArray]:
        moved, total = torch.tensor(theta * scale, requires_grad=True), 0.0
        gradient = np.zeros_like(theta)
        for rows in torch.arange(len(x)).split(AT_ONCE):
            with torch.enable_grad():
                found = ends(moved[: len(first)], moved[len(first) :].exp(), rows)
                part = (found - end[rows]).square().sum() / end.numel()
            gradient += torch.autograd.grad(part, moved)[0].numpy() * scale
            total += float(part.detach())
        return total, gradient

    begun = np.concatenate([first, middle]) / scale
    limits = [(low and low / s, high and high / s) for (low, high), s in zip(bounds, scale, strict=True)]
    best = minimize(loss, begun, jac=True, method="L-BFGS-B", bounds=limits, options={"maxiter": ROUNDS}).x * scale
    return {"coefficients": best[: len(first)].tolist(), "levels": np.exp(best[len(first) :]).tolist()}


def _scales(sigmas: Sequence[float]) -> NDArray:
    """How much each coefficient may move: a step's a by its own size, its b by that of one whole step of D."""
    rows = []
    for i, (sigma, to) in enumerate(pairwise(sigmas)):
        size = to / sigma if to > 0 else 1 / max(sigma, 1)
        rows.append(np.array([size, *[1 - to / sigma] * (i + 1)]))
    return np.concatenate(rows)
