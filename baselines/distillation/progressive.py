r"""Progressive distillation (Salimans & Ho 2022, algorithm 2): each student takes two of its teacher's steps in one.

In sigma units a DDIM step is x' = D + (sigma'/sigma) (x - D). Two teacher steps sigma -> sigma' -> sigma'' lead to
x''; the student's single step lands there if D = (x'' - r x) / (1 - r) with r = sigma'' / sigma. Stages halve the
step count and the grid, and start from the teacher's weights; a student knows the levels of its own grid only, which
`Chain.grid` of a chain with step counts gives.
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from baselines.distillation._pairs import pair_loss
from dpmot.device import ordinary
from dpmot.diffusion.network import NetworkDenoiser, given
from dpmot.diffusion.protocols import OfBatch
from dpmot.diffusion.schedule import Schedule
from dpmot.diffusion.sigmas import Chain
from dpmot.diffusion.training import Losses, batch_of, fit
from dpmot.runtime.seals import Checkpoint


@ordinary(grad=True)
def train(
    teacher: NetworkDenoiser,
    chain: Chain,
    images: Tensor,
    schedule: Schedule,
    *,
    seed: int,
    labels: Tensor | None = None,
    step_counts: tuple[int, ...] = (8, 4, 2, 1),
    checkpoint: Callable[[str], Checkpoint] | None = None,
) -> dict[int, dict[str, Tensor]]:
    """Distil a teacher into students of ``step_counts`` steps; see :mod:`baselines.distillation`.

    Returns:
        Averaged weights per step count. The first teacher takes 2 * step_counts[0] steps.
    """
    finest = torch.as_tensor(chain.grid(2 * step_counts[0], chain.sigma_max), dtype=torch.float32, device=images.device)

    def stage(teacher: NetworkDenoiser, count: int) -> NetworkDenoiser:
        student, grid = copy.deepcopy(teacher), finest[:: step_counts[0] // count]  # 2 count steps

        def loss_at(step: int) -> Losses:
            batch = batch_of(images, seed, "distillation", count, step, size=schedule.batch)
            batch_teacher, batch_student = given(teacher, labels, batch.rows), given(student, labels, batch.rows)
            values = stage_loss(batch_teacher, batch_student, grid, batch.x0, batch.noise, batch.u)
            return Losses(values, grid[2 * _own_level(grid, batch.u)], batch._asdict())

        name, state = f"student of {count} steps", checkpoint(f"{count}") if checkpoint else None
        students[count] = fit(student.model, loss_at, schedule, seed=seed, description=name, checkpoint=state).weights
        student.model.load_state_dict(students[count])
        return student

    students: dict[int, dict[str, Tensor]] = {}
    for count in step_counts:
        teacher = stage(teacher, count)
    return students


def stage_loss(teacher: OfBatch, student: OfBatch, grid: Tensor, x0: Tensor, noise: Tensor, u: Tensor) -> Tensor:
    """Weighted squared error between the student's D and the D that lands where two teacher steps land, (B,)."""
    i = _own_level(grid, u)
    sigma, middle, last = (grid[2 * i + k].reshape(-1, *[1] * (x0.dim() - 1)) for k in range(3))
    x = x0 + sigma * noise
    with torch.no_grad():
        there = _step(teacher, _step(teacher, x, sigma, middle), middle, last)
    return pair_loss(student, grid[::2], x, there, i)


def _own_level(grid: Tensor, u: Tensor) -> Tensor:
    return (u * (len(grid) // 2)).long()  # i = 0, ..., n - 1: every second level is the student's


def _step(denoiser: OfBatch, x: Tensor, sigma: Tensor, to: Tensor) -> Tensor:
    denoised = denoiser(x, sigma.flatten())
    return denoised + to / sigma * (x - denoised)
