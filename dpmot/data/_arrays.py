"""Arrays of images: their type, their layout, and one image after the other in levels of uint8."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dpmot.data._npz import channel_axes, size_of
from dpmot.data._viewer import shown

RANGES = ((-1.0, 1.0), (0.0, 1.0), (0.0, 255.0))  # of floats
FORMS = "a folder or zip of images, an npz, npy or safetensors file, or an array"
BLOCK = 1 << 24  # floats that are converted at a time
Row = tuple[np.ndarray, Sequence[str]]  # uint8 (H, W) or (3, H, W), and what was done to show it
Range = tuple[float, float]


class RangeWanted(ValueError):
    """Floats of which nobody has said the range."""

    def __init__(self, said: str, what: str) -> None:
        allowed = ", ".join(f"[{low:g}, {high:g}]" for low, high in RANGES)
        told = f"{what}, and nothing says which value is white; give their range, one of {allowed}, or store uint8"
        super().__init__(f"{said}: {told}")


def check_range(values: Range | None, said: str) -> None:
    """Refuse a range that floats of images do not have."""
    if values is not None and tuple(values) not in RANGES:
        allowed = " or ".join(f"[{low:g}, {high:g}]" for low, high in RANGES)
        raise ValueError(f"{said}: range {list(values)} is not one of {allowed}")


def as_array(source: Any, said: str) -> np.ndarray:
    """An array or tensor as numpy has it; bfloat16, which numpy has not, as float32."""
    if hasattr(source, "detach"):
        tensor = source.detach().cpu()
        source = tensor.float().numpy() if str(tensor.dtype) == "torch.bfloat16" else tensor.numpy()
    if not isinstance(source, np.ndarray):
        raise ValueError(f"{said}: is no images; give {FORMS}")
    return source


def check_type(array: np.ndarray, values: Range | None, said: str) -> None:
    """Check that an array holds uint8 without a stated range, or floats with one.

    Args:
        array: of any shape.
        values: the range that was stated for floats, (low, high), or None.
        said: what the message calls the array.

    Raises:
        RangeWanted: floats, and no range was stated.
        ValueError: another type, or a range for uint8.
    """
    if array.dtype.kind == "f" and values is None:
        raise RangeWanted(said, f"its images are {array.dtype}")
    if array.dtype.kind != "f" and array.dtype != np.uint8:
        raise ValueError(f"{said}: must hold uint8, or floats of a stated range, got {array.dtype}; convert it")
    if array.dtype == np.uint8 and values is not None:
        raise ValueError(f"{said}: a range is of floats, its images are uint8; leave it out")


def layout(array: np.ndarray, shape: Sequence[int] | None, said: str) -> int | None:
    """The axis of the channels, None where grey images have none."""
    size = None if shape is None else (shape[2], shape[1])
    axes = channel_axes(array.shape) if array.ndim in (3, 4) and all(array.shape[1:]) else []
    fitting = [axis for axis in axes if size in (None, size_of(array.shape, axis))]
    got = f"got {array.dtype} {array.shape}"
    if len(fitting) > 1:
        raise ValueError(f"{said}: {got} may be (N, C, H, W) or (N, H, W, C); give a folder or zip of images instead")
    if not fitting:
        told = f" of {shape[2]} x {shape[1]} pixels" if shape is not None else ""
        allowed = "(N, C, H, W), (N, H, W, C) or (N, H, W) with C 1, 3 or 4"
        raise ValueError(f"{said}: must be {allowed}, images{told}, {got}")
    return fitting[0]


def rows_of(array: np.ndarray, axis: int | None, values: Range | None, said: str) -> Iterator[Row]:
    """Rows (H, W) or (3, H, W); an opacity is shown on white, as in a file."""
    from PIL import Image

    step = max(1, BLOCK // int(np.prod(array.shape[1:])))
    for first in range(0, len(array), step):
        block = np.asarray(array[first : first + step])
        block = block if values is None else levels(block, values, first, said)
        block = block if axis is None else np.moveaxis(block, axis, 1)
        for row in block:
            told: list[str] = []
            if row.ndim == 3 and len(row) == 4:
                pixels, told = shown(Image.fromarray(np.ascontiguousarray(row.transpose(1, 2, 0))))
                row = np.asarray(pixels.convert("RGB")).transpose(2, 0, 1)
            yield row[0] if row.shape[0] == 1 and row.ndim == 3 else row, told


def levels(block: np.ndarray, values: Range, first: int, said: str) -> np.ndarray:
    """Floats of a range as uint8, rounded to the nearest level as :func:`dpmot.images.to_uint8` does."""
    low, high = values
    block = block.astype(np.float64)
    inside = np.isfinite(block) & (block >= low) & (block <= high)
    if not inside.all():
        bad = np.flatnonzero(~inside.reshape(len(block), -1).all(axis=1))
        image = block[bad[0]]
        worst = "NaN or infinite" if not np.isfinite(image).all() else f"{image.min():.6g} to {image.max():.6g}"
        told = f"image {first + bad[0]} holds values outside [{low:g}, {high:g}]: {worst}"
        raise ValueError(f"{said}: {told}; give the range that they have, or clip them")
    return ((block - low) * (255 / (high - low))).round().astype(np.uint8)
