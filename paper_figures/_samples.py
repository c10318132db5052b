"""Samples and data of a results folder, read tensor by tensor, and their pictures.

samples/<method>.safetensors names its cells in its metadata; tensors are ``<key>/images`` (B, C, H, W) uint8 or
points (B, d) float32, and where the start has them ``source`` (B,), ``start`` and ``prior`` (first 16 rows). Samples
from elsewhere may bring ``train/images``.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from safetensors import SafetensorError, safe_open

from dpmot.runtime.seals import texts_of
from paper_figures._results import Results

SPACE = 225  # grey between pictures: a failed sampler's white ones stay visible


@dataclass(frozen=True)
class SampleCell:
    """One cell of a samples file: a method at one NFE budget, sigma_start and sample seed."""

    file: Path
    key: str
    method: str
    nfe_budget: str
    sigma_start: float | None
    sample_seed: int

    def get(self, name: str) -> np.ndarray | None:
        """``images``, ``source``, ``start`` or ``prior``; None where the start has none."""
        return _read(self.file, f"{self.key}/{name}")

    def __getitem__(self, name: str) -> np.ndarray:
        """The same where it is known to be there.

        Raises:
            ValueError: it is not.
        """
        tensor = self.get(name)
        if tensor is None:
            raise ValueError(f"{self.file} lacks {self.key}/{name}; sample again")
        return tensor


def _read(path: Path, name: str) -> np.ndarray | None:
    try:
        with safe_open(path, framework="np") as file:
            return file.get_tensor(name) if name in file.keys() else None  # noqa: SIM118 (not a mapping)
    except SafetensorError as error:
        raise ValueError(f"{path} is no readable safetensors file ({error}); make it again") from None


def cells(results: Results, method: str) -> list[SampleCell]:
    """Cells of one method, at its first training seed, in file order, without the skipped ones; empty without a file.

    Raises:
        ValueError: the file or its list of cells is unreadable.
    """
    path = results.folder / "samples" / f"{results.each.firsts.get(method, method)}.safetensors"
    if not path.is_file():
        return []
    try:
        with safe_open(path, framework="np") as file:
            stored = set(file.keys())
            listed = json.loads(texts_of(file.metadata())["cells"])
        listed = [c for c in listed if f"{c['key']}/images" in stored]
        return [
            SampleCell(path, c["key"], method, str(c["nfe_budget"]), c["sigma_start"], c["sample_seed"]) for c in listed
        ]
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f'{path}: its metadata "cells" cannot be read ({error!r}); sample again') from None


def own_train(cell: SampleCell) -> np.ndarray | None:
    """The training images that samples from elsewhere came with; None where these are split A."""
    return _read(cell.file, "train/images")


def strips(results: Results) -> dict[str, np.ndarray]:
    """Method -> samples along arcs between two noises, (pairs, frames, *S), of strips.safetensors; empty without it."""
    path = results.folder / "strips.safetensors"
    if not path.is_file():
        return {}
    found = {method: _read(path, f"{method}/images") for method in results.methods}
    return {method: frames for method, frames in found.items() if frames is not None}


def first(found: Sequence[SampleCell], nfe: str, *, sigma: float | None = None) -> SampleCell | None:
    """The first cell at an NFE budget, and at ``sigma`` where one is given; None if there is none."""
    chosen = [cell for cell in found if cell.nfe_budget == nfe]
    if sigma is not None:
        chosen = [cell for cell in chosen if np.isclose(cell.sigma_start or np.nan, sigma, rtol=1e-4)]
    return next(iter(chosen), None)


def split(results: Results, name: str) -> np.ndarray | None:
    """Images (N, C, H, W) uint8 or points (N, d) float32 of split "A", "B" or "C"; None without data.safetensors."""
    path = results.folder / "data.safetensors"
    return _read(path, f"{name}/images") if path.is_file() else None


def is_points(array: np.ndarray) -> bool:
    """Whether the rows are points, not images."""
    return array.ndim == 2


def to_unit(images: np.ndarray) -> np.ndarray:
    """uint8 0..255 -> float32 [-1, 1]; floats unchanged."""
    return images.astype(np.float32) / 127.5 - 1 if images.dtype == np.uint8 else images


def nearest(queries: np.ndarray, references: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index of and distance to each query's nearest reference, L2 in [-1, 1] units: (B,), (B,)."""
    x, y = (to_unit(images).reshape(len(images), -1).astype(np.float64) for images in (queries, references))
    square = (x**2).sum(1)[:, None] - 2 * x @ y.T + (y**2).sum(1)
    index = square.argmin(1)
    return index, np.linalg.norm(x - y[index], axis=1)


def to_display(images: np.ndarray) -> np.ndarray:
    """(B, C, H, W) uint8, or floats of any range -> (B, H, W, 3) uint8.

    Floats are scaled by the row's own range about zero, so that noise at every sigma shows as noise.
    """
    if images.dtype != np.uint8:
        scale = np.quantile(np.abs(images).reshape(len(images), -1), 0.98, axis=1).reshape(-1, 1, 1, 1)
        images = ((np.clip(images / np.maximum(scale, 1), -1, 1) + 1) * 127.5).round().astype(np.uint8)
    shown = images.transpose(0, 2, 3, 1)
    return np.repeat(shown, 3, axis=3) if shown.shape[3] == 1 else shown[..., :3]


def draw_rows(axes: Axes, rows: Sequence[tuple[str, np.ndarray]]) -> None:
    """A line of pictures (B, C, H, W) beside each name, as many as the shortest line has."""
    names, pictures = zip(*rows, strict=True)
    count = min(map(len, pictures))
    shown = np.concatenate([to_display(images[:count]) for images in pictures])
    height = shown.shape[1]
    axes.imshow(mosaic(shown.transpose(0, 3, 1, 2), columns=count))
    axes.set_yticks([(height + 1) * row + (height - 1) / 2 for row in range(len(rows))], names)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def mosaic(images: np.ndarray, *, columns: int) -> np.ndarray:
    """(B, C, H, W) -> one picture (rows (H + 1) - 1, columns (W + 1) - 1, 3), row by row, a pixel apart."""
    shown = to_display(images)
    rows = -(-len(shown) // columns)
    tiles = np.full((rows * columns, *(side + 1 for side in shown.shape[1:3]), 3), SPACE, np.uint8)
    tiles[: len(shown), :-1, :-1] = shown
    picture = tiles.reshape(rows, columns, *tiles.shape[1:]).swapaxes(1, 2)
    return picture.reshape(rows * tiles.shape[1], columns * tiles.shape[2], 3)[:-1, :-1]


def scatter(axes: Axes, points: np.ndarray | None, colour: str = "#999999", size: float = 2.5, order: int = 1) -> None:
    """The first two coordinates of points (n, d), if there are any, as dots."""
    if points is not None:
        axes.plot(points[:, 0], points[:, 1], ".", color=colour, markersize=size, zorder=order)
