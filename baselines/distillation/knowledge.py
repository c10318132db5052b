r"""Knowledge distillation (Luhman & Luhman 2021): a student learns noise-image pairs of its teacher's sampler.

The teacher's deterministic trajectories x(sigma_max) -> x(0) are computed once, by Heun's method from ``pairs`` prior
draws; no real image is used. A student of n steps learns where they lead from each level of its grid to the next: its
step x' = D + (sigma' / sigma) (x - D) lands there if D = (x' - r x) / (1 - r), r = sigma' / sigma. The paper's student
has n = 1, D(x, sigma_max) = x(0), and the teacher's weights at the start.
"""

import copy
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from baselines import edm
from dpmot import seeds
from dpmot.diffusion.denoiser import TiledDenoiser
from dpmot.diffusion.network import NetworkDenoiser, given
from dpmot.diffusion.sigmas import Chain, Grid, karras
from dpmot.diffusion.training import Losses, Schedule, fit

BLOCK = 512  # trajectories computed at once, and kept in a checkpoint of their own
LEAST = {"pairs": 1, "teacher_steps": 1}


def train(
    teacher: NetworkDenoiser,
    chain: Chain,
    images: Tensor,
    schedule: Schedule,
    *,
    seed: int,
    labels: Tensor | None = None,
    step_counts: tuple[int, ...] = (1,),
    pairs: int = 4096,
    teacher_steps: int = 16,
    checkpoint: Callable[[str], object] | None = None,
) -> dict[int, dict[str, Tensor]]:
    """Distil a teacher into students of ``step_counts`` steps.

    Args:
        teacher: its trajectories are learnt.
        chain: the teacher's.
        images: only their shape is used.
        schedule: of each student.
        seed: training seed.
        labels: of the images, (N,), for a teacher that takes classes; trajectory k has that of image k mod N.
        step_counts: steps of the students, each half the one before.
        pairs: trajectories.
        teacher_steps: Heun steps of a trajectory, a multiple of step_counts[0].
        checkpoint: name of a stage -> its resumption state.

    Returns:
        Averaged weights per step count.

    Raises:
        ValueError: no pairs, or teacher_steps is no multiple of the largest step count.
    """
    most = max(step_counts)
    if pairs < 1 or teacher_steps < 1 or teacher_steps % most:
        raise ValueError(
            f"Knowledge distillation needs pairs >= 1 and teacher_steps a multiple of the largest step count, {most}; "
            f"got pairs {pairs}, teacher_steps {teacher_steps}"
        )
    whose = None if labels is None else labels.cpu()[torch.arange(pairs) % len(labels)]
    coarse = replace(chain, step_counts=tuple(sorted(step_counts))).grid(most, chain.sigma_max)
    levels = refined(coarse, teacher_steps // most, chain.sigma_min)
    trajectories = record(
        teacher, chain, images.shape[1:], levels, pairs, seed=seed, labels=whose, checkpoint=checkpoint
    )
    students = {}
    for count in step_counts:
        student = copy.deepcopy(teacher)
        rows = torch.arange(0, teacher_steps + 1, teacher_steps // count)
        grid = trajectories.new_tensor(levels)[rows]

        def loss_at(step: int, *, count=count, rows=rows, grid=grid, student=student) -> Losses:
            stream = seeds.generator(seed, "knowledge", count, step)
            chosen = torch.from_numpy(stream.integers(pairs, size=schedule.batch))
            i = torch.from_numpy(stream.integers(count, size=schedule.batch))
            pair = {"x": trajectories[rows[i], chosen], "to": trajectories[rows[i + 1], chosen]}
            values = pair_loss(given(student, whose, chosen), grid, pair["x"], pair["to"], i)
            return Losses(values, grid[i], pair)

        name, state = f"student of {count} steps", checkpoint(f"{count}") if checkpoint else None
        students[count] = fit(student.model, loss_at, schedule, seed=seed, description=name, checkpoint=state).weights
    return students


def refined(grid: Grid, inner: int, sigma_min: float) -> Grid:
    """The grid with ``inner`` Karras steps for each of its own, (n inner + 1,); the last ones go by sigma_min to 0."""
    parts = [karras(inner + 1, a, b)[:-2] for a, b in pairwise(grid[:-1])]
    return np.concatenate([*parts, karras(inner, grid[-2], sigma_min)])


def record(
    teacher: NetworkDenoiser, chain: Chain, shape, levels, pairs: int, *, seed: int, labels=None, checkpoint=None
) -> Tensor:
    """The teacher's Heun trajectories at every level, float32 (n + 1, pairs, *S); row 0 is the prior draw."""
    trajectories = torch.empty(len(levels), pairs, *shape)
    for k in tqdm(range(0, pairs, BLOCK), desc="teacher's trajectories", unit="block", mininterval=5):
        rows = range(k, min(k + BLOCK, pairs))
        state = checkpoint(f"trajectories_{k}") if checkpoint else None
        stored = state.load() if state else None
        if stored is not None:
            trajectories[:, k : rows.stop] = stored[0]["trajectories"]
            continue
        x = chain.prior_std * seeds.normal([seeds.MAX_SAMPLES * seed + j for j in rows], shape, "knowledge").double()
        tiled = TiledDenoiser(teacher, labels=None if labels is None else labels[k : rows.stop])

        def keep(i: int, x: Tensor, _, part=trajectories[:, k : rows.stop]) -> None:
            part[i] = x

        trajectories[-1, k : rows.stop] = edm.sample(tiled, x, torch.from_numpy(levels.copy()), callback=keep)
        if state:
            state.save({"trajectories": trajectories[:, k : rows.stop].contiguous()}, {})
    return trajectories


def pair_loss(student, grid: Tensor, x: Tensor, there: Tensor, i: Tensor) -> Tensor:
    """Weighted squared error between the student's D and the D whose step from level i lands ``there``, (B,).

    The weight is 1 + 1 / sigma^2, as in progressive distillation.
    """
    sigma, ratio = grid[i], (grid[i + 1] / grid[i]).reshape(-1, *[1] * (x.dim() - 1))
    error = (student(x, sigma) - (there - ratio * x) / (1 - ratio)).square().flatten(1).mean(1)
    return (1 + sigma**-2) * error
