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

from dpmot.diffusion.network import NetworkDenoiser, given
from dpmot.diffusion.sigmas import Chain
from dpmot.diffusion.training import Losses, Schedule, batch_of, fit


def train(
    teacher: NetworkDenoiser,
    chain: Chain,
    images: Tensor,
    schedule: Schedule,
    *,
    seed: int,
    labels: Tensor | None = None,
    step_counts: tuple[int, ...] = (8, 4, 2, 1),
    checkpoint: Callable[[str], object] | None = None,
) -> dict[int, dict[str, Tensor]]:
    """Distil a teacher into students of ``step_counts`` steps, each half the one before.

    Args:
        teacher: its first stage takes 2 * step_counts[0] steps.
        chain: the teacher's; its grid of that many steps is the first.
        images: training images (N, *S), in [-1, 1] or as stored, uint8.
        schedule: of each stage.
        seed: training seed.
        labels: of the images, (N,), for a teacher that takes classes.
        step_counts: steps of the students, each half the one before.
        checkpoint: name of a stage -> its resumption state.

    Returns:
        Averaged weights per step count.
    """
    students: dict[int, dict[str, Tensor]] = {}
    finest = torch.as_tensor(chain.grid(2 * step_counts[0], chain.sigma_max), dtype=torch.float32, device=images.device)
    for count in step_counts:
        student = copy.deepcopy(teacher)
        grid = finest[:: step_counts[0] // count]  # 2 count steps

        def loss_at(step: int, *, count=count, grid=grid, teacher=teacher, student=student) -> Losses:
            batch = batch_of(images, seed, "distillation", count, step, size=schedule.batch)
            one, other = (given(denoiser, labels, batch.rows) for denoiser in (teacher, student))
            values = stage_loss(one, other, grid, batch.x0, batch.noise, batch.u)
            return Losses(values, grid[2 * _own_level(grid, batch.u)], batch._asdict())

        name = f"student of {count} steps"
        state = checkpoint(f"{count}") if checkpoint else None
        students[count] = fit(student.model, loss_at, schedule, seed=seed, description=name, checkpoint=state).weights
        student.model.load_state_dict(students[count])
        teacher = student
    return students


def stage_loss(
    teacher: NetworkDenoiser, student: NetworkDenoiser, grid: Tensor, x0: Tensor, noise: Tensor, u: Tensor
) -> Tensor:
    """Weighted squared error between the student's D and the D that lands where two teacher steps land, (B,).

    The weight is 1 + 1 / sigma^2, of the order of the truncated-SNR weight max(1, 1 / sigma^2) of the paper.
    """
    wide = [-1, *[1] * (x0.dim() - 1)]
    i = 2 * _own_level(grid, u)  # i = 0, 2, ..., 2 (n - 1)
    sigma, middle, last = (grid[i + k].reshape(wide) for k in range(3))
    x = x0 + sigma * noise
    with torch.no_grad():
        half = _step(teacher, x, sigma, middle)
        target_x = _step(teacher, half, middle, last)
        ratio = last / sigma
        target = (target_x - ratio * x) / (1 - ratio)
    error = (student(x, sigma.flatten()) - target).square().flatten(1).mean(1)
    return (1 + sigma.flatten() ** -2) * error


def _own_level(grid: Tensor, u: Tensor) -> Tensor:
    return (u * (len(grid) // 2)).long()  # the student's own levels are every second one


def _step(denoiser: NetworkDenoiser, x: Tensor, sigma: Tensor, to: Tensor) -> Tensor:
    denoised = denoiser(x, sigma.flatten())
    return denoised + to / sigma * (x - denoised)
