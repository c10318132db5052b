"""What an extractor accepts as images."""

import numpy as np
import torch
from torch import Tensor


def as_images(images: Tensor | np.ndarray, *, channels: tuple[int, ...]) -> Tensor:
    """Images as a tensor; anything but uint8 is refused, because a float in [0, 1] or [-1, 1] would pass silently.

    Args:
        images: uint8 (n, C, H, W), n >= 1.
        channels: the values of C that are allowed.

    Raises:
        ValueError: another type or shape, or no image.
    """
    images = torch.as_tensor(images)
    shape = tuple(images.shape)
    if images.dtype != torch.uint8 or len(shape) != 4 or shape[0] == 0 or shape[1] not in channels:
        allowed = " or ".join(map(str, channels))
        raise ValueError(
            f"Images must be uint8 (n, C, H, W) in 0..255 with n >= 1 and C = {allowed}, got {images.dtype} {shape}"
        )
    return images
