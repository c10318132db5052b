r"""Reflow (Liu et al. 2023): flow matching on the pairs that a teacher's flow makes, so that paths become straight.

From ``pairs`` draws of noise eps the teacher's ODE leads to x0 = T(eps), once; no real image is used. The student
learns the velocity of x_t = (1 - t) x0 + t eps between the two ends of a pair, E[eps - x0 | x_t]. That is

    |F(x_t, t) - (eps - x0)|^2 = (1 + 1 / sigma)^2 |D(x, sigma) - x0|^2,    x = x0 + sigma eps,

in sigma units, so that any kind of network can be the teacher; the student has its weights at first. Its paths do not
cross where the lines of the pairs do, and fewer steps follow them. Its D is a mean over pairs and no longer over
independent noise: no stochastic sampler fits it, and no start but the prior.

The teacher's ODE is solved by Heun's method in t, on the equal steps of the flow grid, the last one by Euler's: n steps
ask for 2 n - 1 evaluations a pair. (In sigma, steps from a large sigma_max would be far too long for it.)
"""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from baselines.distillation._pairs import draws, recorded
from dpmot import seeds
from dpmot.device import ordinary
from dpmot.diffusion.denoiser import Denoiser, TiledDenoiser
from dpmot.diffusion.network import NetworkDenoiser, given
from dpmot.diffusion.protocols import OfBatch
from dpmot.diffusion.schedule import Schedule
from dpmot.diffusion.sigmas import Chain, intervals
from dpmot.diffusion.training import Losses, fit
from dpmot.runtime.seals import Checkpoint

LEAST = {"pairs": 1, "teacher_steps": 1, "levels": 2}
COUPLING = "reflow"  # of the noise and the image of a pair: its students are no posterior means


@ordinary(grad=True)
def train(
    teacher: NetworkDenoiser,
    chain: Chain,
    images: Tensor,
    schedule: Schedule,
    *,
    seed: int,
    labels: Tensor | None = None,
    pairs: int = 8192,
    teacher_steps: int = 16,
    levels: int = 96,
    checkpoint: Callable[[str], Checkpoint] | None = None,
) -> dict[None, dict[str, Tensor]]:
    """Distil a teacher into a network whose flow is straighter; see :mod:`baselines.distillation`.

    Args:
        images: only their shape is used; pair k has the label of image k mod N.
        pairs: of noise and where it leads, at least 1.
        teacher_steps: Heun steps of a trajectory, at least 1.
        levels: equally spaced in t, at which the student is trained, at least 2; a multiple of the steps that it will
            take, so that each of theirs is among them.

    Returns:
        The averaged weights under the key None: they serve any number of steps.

    Raises:
        ValueError: no pairs, no steps, or fewer than two levels.
    """
    if pairs < 1 or teacher_steps < 1 or levels < 2:
        given_ = f"pairs {pairs}, teacher_steps {teacher_steps}, levels {levels}"
        raise ValueError(f"Reflow needs pairs >= 1, teacher_steps >= 1 and levels >= 2, got {given_}")
    labels = None if labels is None else labels.cpu()[torch.arange(pairs) % len(labels)]
    shape = tuple(images.shape[1:])
    ends = coupled(teacher, chain, shape, pairs, teacher_steps, seed=seed, labels=labels, checkpoint=checkpoint)
    noise = draws(range(pairs), shape, seed=seed).float()
    grid = torch.as_tensor(chain.grid(levels, chain.sigma_max, family="flow")[:-1], dtype=torch.float32)
    student, there = copy.deepcopy(teacher), images.device

    def loss_at(step: int) -> Losses:
        stream = seeds.generator(seed, "reflow", step)
        chosen = torch.from_numpy(stream.integers(pairs, size=schedule.batch))
        spread = torch.arange(schedule.batch) * len(grid) // schedule.batch
        sigma = grid[(spread + int(stream.integers(len(grid)))) % len(grid)].to(there)
        pair = {"x0": ends[chosen].to(there), "noise": noise[chosen].to(there)}
        return Losses(pair_velocity_loss(given(student, labels, chosen), sigma=sigma, **pair), sigma, pair)

    state = checkpoint("reflow") if checkpoint else None
    return {None: fit(student.model, loss_at, schedule, seed=seed, description="reflow", checkpoint=state).weights}


def pair_velocity_loss(student: OfBatch, x0: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """|F(x_t, t) - (eps - x0)|^2 of the student's velocity on pairs x0, noise (B, *S), at sigma (B,); (B,)."""
    x = x0 + sigma.reshape(-1, *[1] * (x0.dim() - 1)) * noise
    return (1 + 1 / sigma).square() * (student(x, sigma) - x0).square().flatten(1).mean(1)


def coupled(
    teacher: Denoiser,
    chain: Chain,
    shape: Sequence[int],
    pairs: int,
    steps: int,
    *,
    seed: int,
    labels: Tensor | None = None,
    checkpoint: Callable[[str], Checkpoint] | None = None,
) -> Tensor:
    """Where the teacher's flow leads from the noise of each pair, float32 (pairs, *S)."""
    sigmas = torch.from_numpy(chain.grid(steps, chain.sigma_max, family="flow").copy())

    def walk(rows: range, part: Tensor) -> None:
        tiled = TiledDenoiser(teacher, labels=None if labels is None else labels[rows.start : rows.stop])
        part[0] = ends_of(tiled, chain.prior_std * draws(rows, tuple(shape), seed=seed), sigmas)

    return recorded(torch.empty(1, pairs, *shape), walk, checkpoint=checkpoint)[0]


def ends_of(denoiser: OfBatch, x: Tensor, sigmas: Tensor) -> Tensor:
    """Heun's method on dx_t/dt = eps - x0 from x (B, *S) at sigmas[0], along a grid (n + 1,) to 0; (B, *S)."""
    at = x / (1 + sigmas[0])  # x_t

    def velocity(at: Tensor, sigma: Tensor) -> Tensor:
        denoised = denoiser((1 + sigma) * at, sigma)
        return (1 + sigma) / sigma * (at - denoised)

    for _, sigma, to in intervals(sigmas):
        length = to / (1 + to) - sigma / (1 + sigma)
        slope = velocity(at, sigma)
        there = at + length * slope
        at = at + length * (slope + velocity(there, to)) / 2 if to > 0 else there
    return at
