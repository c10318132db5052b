"""The loss of a student on pairs: a point at one level, and where the teacher's way leads at the next."""

from torch import Tensor

from dpmot.diffusion.protocols import OfBatch


def pair_loss(student: OfBatch, grid: Tensor, x: Tensor, there: Tensor, i: Tensor) -> Tensor:
    """Weighted squared error between the student's D and the D whose step from level i lands ``there``, (B,).

    The weight is 1 + 1 / sigma^2, of the order of progressive distillation's truncated-SNR weight max(1, 1 / sigma^2).
    """
    sigma, ratio = grid[i], (grid[i + 1] / grid[i]).reshape(-1, *[1] * (x.dim() - 1))
    error = (student(x, sigma) - (there - ratio * x) / (1 - ratio)).square().flatten(1).mean(1)
    return (1 + sigma**-2) * error
