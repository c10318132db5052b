"""The one place where pixels change their type.

Stored images are uint8 in 0..255, shape (B, C, H, W); networks and samplers see floats in [-1, 1].
"""

import numpy as np
import torch
from torch import Tensor

from dpmot.warned import OddRange, warn

BLOCK = 2**22  # numbers that are compared at a time
CLOSE = 2.0**-22  # of float32 numbers that are levels of uint8, by whatever arithmetic they were scaled
LARGEST = 1.001  # of pixels, but for rounding


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


def stored(images: Tensor | np.ndarray, *, pixels: bool = True) -> Tensor:
    """A caller's images as they are stored: uint8, or float32 where they are no levels of uint8; on the processor.

    Floats that are levels of uint8, u / 127.5 - 1 but for rounding, are stored as these: a quarter of the memory, and
    the same images are the same in whichever form they come.

    Args:
        images: uint8 (n, C, H, W), or floats in [-1, 1], or points (n, d).
        pixels: False for numbers of any range and shape (n, *S), such as a VAE's latents.

    Raises:
        ValueError: another type or shape, no image, NaN or infinity.

    Warns:
        OddRange: pixels outside [-1, 1], or all in [0, 1].
    """
    if isinstance(images, np.ndarray):
        images = _of_numpy(images)
    if not isinstance(images, Tensor):
        told = "torch.stack them" if isinstance(images, list | tuple) else "take its images out first"
        raise ValueError(f"Images are a {type(images).__name__}; give a tensor or array (n, *S): {told}")
    images = images.detach()
    if not (images.dtype == torch.uint8 or images.is_floating_point()) or images.layout != torch.strided:
        raise ValueError(f"Images are {images.dtype}; give uint8 in 0..255, or floats in [-1, 1]")
    _check_shape(tuple(images.shape), pixels=pixels)
    dtype = torch.uint8 if images.dtype == torch.uint8 else torch.float32
    images = images.to("cpu", dtype, copy=True)  # which the caller may change later
    if bad := int((~torch.isfinite(images.flatten(1)).all(1)).sum()):
        raise ValueError(f"{bad} of {len(images)} images hold NaN or infinite values; leave them out")
    if not pixels:
        return images
    _warn_of_range(images)
    return images if images.dtype == torch.uint8 else _as_levels(images)


def _of_numpy(images: np.ndarray) -> Tensor:
    try:
        native = np.asarray(images, dtype=images.dtype.newbyteorder("="))
        return torch.from_numpy(native if native.flags.writeable and native.flags.c_contiguous else native.copy())
    except TypeError:
        raise ValueError(f"Images are an array of {images.dtype}; give uint8 in 0..255, or floats in [-1, 1]") from None


def _check_shape(shape: tuple[int, ...], *, pixels: bool) -> None:
    if len(shape) < 2 or 0 in shape:
        raise ValueError(f"Images have shape {shape}; give (n, C, H, W), or points (n, d), with at least one number")
    if not pixels:
        return
    if len(shape) == 3:
        told = "add the axis of channels, images[:, None]; one image alone is images[None]"
        raise ValueError(f"Images have shape {shape}; give (n, C, H, W): {told}")
    if len(shape) == 4 and shape[3] in (1, 3, 4) and shape[1] not in (1, 3, 4):
        raise ValueError(f"Images have shape {shape}, channels last; give (n, C, H, W): images.permute(0, 3, 1, 2)")


def _warn_of_range(images: Tensor) -> None:
    low, high = float(images.min()), float(images.max())
    if images.dtype == torch.uint8:
        if high <= 1:
            warn(f"Images are uint8 in {low:g}..{high:g}, nearly black: levels are 0..255", OddRange)
    elif max(-low, high) > LARGEST:
        told = "give levels 0..255 as uint8" if low >= 0 and high > 2 else "scale them"
        warn(f"Images lie in [{low:.3g}, {high:.3g}], not [-1, 1]: {told}, or say pixels=False for latents", OddRange)
    elif low >= 0:
        warn(f"Images lie in [{low:.3g}, {high:.3g}]: if 0 is black give 2 * images - 1, for [-1, 1]", OddRange)


def _as_levels(images: Tensor) -> Tensor:
    """The levels of uint8 that float32 images are, or themselves."""
    step = max(1, BLOCK // images[0].numel())
    levels = torch.empty(images.shape, dtype=torch.uint8)
    for part, to in zip(images.split(step), levels.split(step), strict=True):
        to.copy_(to_uint8(part))
        if not bool(((to_float(to) - part).abs() <= CLOSE).all()):
            return images
    return levels
