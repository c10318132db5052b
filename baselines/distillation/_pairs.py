"""What students of a teacher's trajectories share: how these are computed and kept, and the loss on pairs."""

from collections.abc import Callable

from torch import Tensor
from tqdm import tqdm

from dpmot import seeds
from dpmot.diffusion.protocols import OfBatch
from dpmot.runtime.seals import Checkpoint

BLOCK = 512  # trajectories computed at once, and kept in a checkpoint of their own


def draws(rows: range, shape: tuple[int, ...], *, seed: int) -> Tensor:
    """The noise of trajectories k in ``rows``, N(0, I) in float64, (b, *S)."""
    return seeds.normal([seeds.MAX_SAMPLES * seed + k for k in rows], shape, "knowledge").double()


def recorded(
    trajectories: Tensor,
    walk: Callable[[range, Tensor], None],
    *,
    checkpoint: Callable[[str], Checkpoint] | None = None,
    block: int = BLOCK,
) -> Tensor:
    """Fill (L, P, *S) block by block of its P columns; what an interrupted run has kept is not computed again.

    Args:
        walk: columns k and their part of the tensor, (L, b, *S), which it fills.
    """
    pairs = trajectories.shape[1]
    for k in tqdm(range(0, pairs, block), desc="teacher's trajectories", unit="block", mininterval=5):
        rows = range(k, min(k + block, pairs))
        part = trajectories[:, k : rows.stop]
        state = checkpoint(f"trajectories_{k}") if checkpoint else None
        stored = state.load() if state else None
        if stored is not None:
            part.copy_(stored[0]["trajectories"])
            continue
        walk(rows, part)
        if state:
            state.save({"trajectories": part.contiguous()}, {})
    return trajectories


def pair_loss(student: OfBatch, grid: Tensor, x: Tensor, there: Tensor, i: Tensor) -> Tensor:
    """Weighted squared error between the student's D and the D whose step from level i lands ``there``, (B,).

    The weight is 1 + 1 / sigma^2, of the order of progressive distillation's truncated-SNR weight max(1, 1 / sigma^2).
    """
    sigma, ratio = grid[i], (grid[i + 1] / grid[i]).reshape(-1, *[1] * (x.dim() - 1))
    error = (student(x, sigma) - (there - ratio * x) / (1 - ratio)).square().flatten(1).mean(1)
    return (1 + sigma**-2) * error
