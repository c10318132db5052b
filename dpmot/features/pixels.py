"""The identity: a sample is its own feature vector, x in [-1, 1]^d for images, x itself for points."""

from math import prod

import torch
from torch import Tensor

from dpmot.device import ordinary
from dpmot.features import Features
from dpmot.images import to_float

DOMAIN = "any"
BLOCK = 1024  # images that are there twice


@ordinary(grad=False)
def extract(images: Tensor) -> Features:
    """Pixels as float32 (n, C*H*W) in [-1, 1], or the points in their own type."""
    images = torch.as_tensor(images)
    if images.dtype == torch.uint8 and images.ndim == 4:
        points = torch.empty(len(images), prod(images.shape[1:]))
        for part, to in zip(images.split(BLOCK), points.split(BLOCK), strict=True):
            to.copy_(to_float(part).flatten(1))
    elif images.is_floating_point() and images.ndim == 2:
        points = images
    else:
        raise ValueError(
            f"Samples must be uint8 images (n, C, H, W) or float points (n, d), got {images.dtype} "
            f"{tuple(images.shape)}"
        )
    points = points.float() if points.dtype == torch.bfloat16 else points  # a type that numpy has not
    return Features(values=points.detach().cpu().numpy(), extractor="pixels")
