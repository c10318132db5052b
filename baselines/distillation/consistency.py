r"""Consistency distillation (Song et al. 2023, algorithm 2): one network that jumps from any level to the data.

On a Karras grid of ``levels`` noise levels let x = x0 + sigma_i eps, and x' where one Heun step of the teacher leads at
sigma_{i+1}. The student is drawn to D(x, sigma_i) = D^-(x', sigma_{i+1}), D^- itself without gradient (Song & Dhariwal
2024, section 3.2), and D^-(x', sigma_min) = x', the boundary condition. The distance is their pseudo-Huber
sqrt(|.|^2 + c^2) - c, c = 0.00054 sqrt(d), weighted by 1 / (sigma_i - sigma_{i+1}). The network keeps its teacher's
parametrisation, which meets the boundary condition up to an error of the order of sigma_min.
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from baselines._steps import heun
from dpmot.device import ordinary
from dpmot.diffusion.network import NetworkDenoiser, given
from dpmot.diffusion.protocols import OfBatch
from dpmot.diffusion.schedule import Schedule
from dpmot.diffusion.sigmas import Chain, karras
from dpmot.diffusion.training import Losses, batch_of, fit
from dpmot.runtime.seals import Checkpoint

LEAST = {"levels": 2}
GRID = "karras"  # of the levels that it trains on


@ordinary(grad=True)
def train(
    teacher: NetworkDenoiser,
    chain: Chain,
    images: Tensor,
    schedule: Schedule,
    *,
    seed: int,
    labels: Tensor | None = None,
    levels: int = 18,
    checkpoint: Callable[[str], Checkpoint] | None = None,
) -> dict[None, dict[str, Tensor]]:
    """Distil a teacher into a consistency model; see :mod:`baselines.distillation`.

    Args:
        levels: of the grid, at least 2.

    Returns:
        The averaged weights under the key None: they serve any number of steps.

    Raises:
        ValueError: fewer than two levels.
    """
    if levels < 2:
        raise ValueError(f"Consistency distillation needs at least 2 levels, got {levels}")
    grid = torch.as_tensor(
        karras(levels, chain.sigma_max, chain.sigma_min)[:-1], dtype=torch.float32, device=images.device
    )
    student = copy.deepcopy(teacher)

    def loss_at(step: int) -> Losses:
        batch = batch_of(images, seed, "consistency", step, size=schedule.batch)
        batch_teacher, batch_student = given(teacher, labels, batch.rows), given(student, labels, batch.rows)
        values = consistency_loss(batch_teacher, batch_student, grid, batch.x0, batch.noise, batch.u)
        return Losses(values, grid[_level(grid, batch.u)], batch._asdict())

    state = checkpoint("consistency") if checkpoint else None
    name = "consistency model"
    return {None: fit(student.model, loss_at, schedule, seed=seed, description=name, checkpoint=state).weights}


def consistency_loss(teacher: OfBatch, student: OfBatch, grid: Tensor, x0: Tensor, noise: Tensor, u: Tensor) -> Tensor:
    """Weighted pseudo-Huber distance between the student here and one teacher step further down, (B,).

    Args:
        grid: (L,) levels, descending, without 0.
        x0, noise: images and eps, (B, *S).
        u: uniform numbers in [0, 1), (B,), that choose the level.
    """
    i = _level(grid, u)
    sigma, to = grid[i], grid[i + 1]
    above, below, last = (values.reshape(-1, *[1] * (x0.dim() - 1)) for values in (sigma, to, i == len(grid) - 2))
    x = x0 + above * noise
    with torch.no_grad():
        there = heun(lambda x, sigma: teacher(x, sigma.flatten()), x, teacher(x, sigma), above, below)
        target = torch.where(last, there, student(there, to))
    squared = (student(x, sigma) - target).square().flatten(1).sum(1)
    c = 0.00054 * x0[0].numel() ** 0.5
    return ((squared + c**2).sqrt() - c) / (sigma - to)


def _level(grid: Tensor, u: Tensor) -> Tensor:
    return (u * (len(grid) - 1)).long()  # i = 0, ..., L - 2
