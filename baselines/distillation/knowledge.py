r"""Knowledge distillation (Luhman & Luhman 2021): a student learns noise-image pairs of its teacher's sampler.

The teacher's deterministic trajectories x(sigma_max) -> x(0) are computed once, by Heun's method from ``pairs`` prior
draws; no real image is used. A student of n steps learns where they lead from each level of its grid to the next: its
step x' = D + (sigma' / sigma) (x - D) lands there if D = (x' - r x) / (1 - r), r = sigma' / sigma. The paper's student
has n = 1, D(x, sigma_max) = x(0), and the teacher's weights at the start.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from baselines import edm
from baselines.distillation._pairs import BLOCK, draws, pair_loss, recorded
from dpmot import seeds
from dpmot.device import ordinary
from dpmot.diffusion.denoiser import Denoiser, TiledDenoiser
from dpmot.diffusion.network import NetworkDenoiser, given
from dpmot.diffusion.schedule import Schedule
from dpmot.diffusion.sigmas import Chain, Grid, karras
from dpmot.diffusion.training import Losses, fit
from dpmot.runtime.seals import Checkpoint

LEAST = {"pairs": 1, "teacher_steps": 1}


@ordinary(grad=True)
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
    checkpoint: Callable[[str], Checkpoint] | None = None,
) -> dict[int, dict[str, Tensor]]:
    """Distil a teacher into students of ``step_counts`` steps; see :mod:`baselines.distillation`.

    Args:
        images: only their shape is used; trajectory k has the label of image k mod N.
        pairs: trajectories.
        teacher_steps: Heun steps of a trajectory, a multiple of the largest step count.

    Returns:
        Averaged weights per step count.

    Raises:
        ValueError: no pairs, or teacher_steps is no such multiple.
    """
    most = max(step_counts)
    if pairs < 1 or teacher_steps < 1 or teacher_steps % most:
        raise ValueError(
            f"Knowledge distillation needs pairs >= 1 and teacher_steps a multiple of the largest step count, {most}; "
            f"got pairs {pairs}, teacher_steps {teacher_steps}"
        )
    labels = None if labels is None else labels.cpu()[torch.arange(pairs) % len(labels)]
    coarse = replace(chain, step_counts=tuple(sorted(step_counts))).grid(most, chain.sigma_max)
    levels = refined(coarse, teacher_steps // most, chain.sigma_min)
    trajectories = record(
        teacher, chain, images.shape[1:], levels, pairs, seed=seed, labels=labels, checkpoint=checkpoint
    )

    def weights(count: int) -> dict[str, Tensor]:
        student, rows = copy.deepcopy(teacher), torch.arange(0, teacher_steps + 1, teacher_steps // count)
        grid = trajectories.new_tensor(levels)[rows]

        def loss_at(step: int) -> Losses:
            stream = seeds.generator(seed, "knowledge", count, step)
            chosen = torch.from_numpy(stream.integers(pairs, size=schedule.batch))
            i = torch.from_numpy(stream.integers(count, size=schedule.batch))
            pair = {"x": trajectories[rows[i], chosen], "to": trajectories[rows[i + 1], chosen]}
            values = pair_loss(given(student, labels, chosen), grid, pair["x"], pair["to"], i)
            return Losses(values, grid[i], pair)

        name, state = f"student of {count} steps", checkpoint(f"{count}") if checkpoint else None
        return fit(student.model, loss_at, schedule, seed=seed, description=name, checkpoint=state).weights

    return {count: weights(count) for count in step_counts}


def refined(grid: Grid, inner: int, sigma_min: float) -> Grid:
    """The grid with ``inner`` Karras steps for each of its own, (n inner + 1,); the last ones go by sigma_min to 0."""
    parts = [karras(inner + 1, a, b)[:-2] for a, b in pairwise(grid[:-1])]
    return np.concatenate([*parts, karras(inner, grid[-2], sigma_min)])


def record(
    teacher: Denoiser,
    chain: Chain,
    shape: Sequence[int],
    levels: Grid,
    pairs: int,
    *,
    seed: int,
    labels: Tensor | None = None,
    checkpoint: Callable[[str], Checkpoint] | None = None,
) -> Tensor:
    """The teacher's Heun trajectories at every level, float32 (n + 1, pairs, *S); row 0 is the prior draw."""

    def walk(rows: range, part: Tensor) -> None:
        x = chain.prior_std * draws(rows, tuple(shape), seed=seed)
        tiled = TiledDenoiser(teacher, labels=None if labels is None else labels[rows.start : rows.stop])

        def store(i: int, x: Tensor, _: Tensor) -> None:
            part[i] = x

        part[-1] = edm.sample(tiled, x, torch.from_numpy(levels.copy()), callback=store)

    return recorded(torch.empty(len(levels), pairs, *shape), walk, checkpoint=checkpoint, block=BLOCK)
