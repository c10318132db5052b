"""Points of a mixture of Gaussians on a square grid, (1/K) sum_k N(mu_k, std^2 I) in 2-D.

The toy of the mode-collapse literature (Metz et al., arXiv:1611.02163; Srivastava et al., VEEGAN,
arXiv:1705.07761; Lin et al., PacGAN, arXiv:1712.04086): K = 25 on a 5x5 grid with std / spacing = 1/40. There
the grid has steps of 2; here it is scaled by 0.225, so that all points lie in [-1, 1]^2 like images do.
"""

from collections.abc import Sequence
from math import isfinite, isqrt
from pathlib import Path

import numpy as np

from dpmot.data import PARTS, DataSet, Mixture, check_integer, check_sizes, generator

MIXTURE = True  # the set brings its own law: exact denoiser, exact classifier


def expected(root: Path | None = None) -> list[Path]:
    """No files: the points are drawn."""
    return []


def check(
    *,
    num_components: int = 25,
    spacing: float = 0.45,
    std: float = 0.01125,
    num_points: Sequence[int] = (250, 1000, 1000),
    seed: int = 0,
) -> None:
    """A square number of components, positive lengths, and three sizes that hold every component.

    Raises:
        ValueError: K is no square, a size is below K, spacing or std is not positive and finite, or seed is negative.
    """
    if num_components < 1 or isqrt(num_components) ** 2 != num_components:
        raise ValueError(f"num_components: must be a square (1, 4, 9, 16, 25, ...), got {num_components}")
    for option, value in (("spacing", spacing), ("std", std)):
        if not (value > 0 and isfinite(value)):
            raise ValueError(f"{option}: must be positive and finite, got {value}")
    check_sizes("num_points", num_points, least=num_components)
    check_integer("seed", seed, 0)


def load(
    *,
    root: Path | None = None,
    num_components: int = 25,
    spacing: float = 0.45,
    std: float = 0.01125,
    num_points: Sequence[int] = (250, 1000, 1000),
    seed: int = 0,
) -> DataSet:
    """float32 (sum of num_points, 2) with the component as label and the law attached.

    Args:
        num_components: K, a square number.
        spacing: distance of neighbouring means, > 0.
        std: standard deviation of a component, > 0.
        num_points: size of A, B and C; the components share each evenly, to within one point.
        seed: of the draw; each part has its own stream, so the size of one does not change another.
    """
    check(num_components=num_components, spacing=spacing, std=std, num_points=num_points, seed=seed)
    side = isqrt(num_components)
    axis = (np.arange(side) - (side - 1) / 2) * spacing
    means = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    labels = np.concatenate([np.arange(n, dtype=np.int64) % num_components for n in num_points])
    noise = [
        generator(seed, "gaussians", part).standard_normal((n, 2)) for part, n in zip(PARTS, num_points, strict=True)
    ]
    return DataSet(
        name="gaussians",
        images=(means[labels] + std * np.concatenate(noise)).astype(np.float32),
        labels=labels,
        split=np.repeat(PARTS, num_points),
        num_classes=num_components,
        note=f"{num_components} Gaussians on a {side}x{side} grid, spacing {spacing:g}, std {std:g}; seed {seed}",
        mixture=Mixture(means, std),
    )
