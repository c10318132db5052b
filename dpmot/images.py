"""The one place where pixels change their type.

Stored images are uint8 in 0..255, shape (B, C, H, W); networks and samplers see floats in [-1, 1].
"""

import torch
from torch import Tensor


def to_float(images: Tensor, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 (B, C, H, W) in 0..255 -> float (B, C, H, W) in [-1, 1]: x = u / 127.5 - 1.

    Raises:
        TypeError: the images are not uint8.
    """
    if images.dtype != torch.uint8:
        raise TypeError(f"Images must be uint8 in 0..255, got {images.dtype}; convert floats with to_uint8 first")
    return images.to(dtype) / 127.5 - 1


def to_uint8(x: Tensor) -> Tensor:
    """float (B, C, H, W), nominally in [-1, 1] -> uint8: clamped, then rounded to the nearest level.

    Raises:
        TypeError: the images are no floats: levels 0..255 would all become white.
        ValueError: a value is NaN or infinite.
    """
    if not x.is_floating_point():
        raise TypeError(f"Samples must be floats in [-1, 1], got {x.dtype}; levels in uint8 need no conversion")
    if not torch.isfinite(x).all():
        bad = int((~torch.isfinite(x.flatten(1)).all(1)).sum())
        raise ValueError(f"{bad} of {len(x)} images hold NaN or infinite values and cannot be stored as uint8")
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
