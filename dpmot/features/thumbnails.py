"""Pixels averaged over an 8 x 8 grid of blocks: a Frechet distance of pixels that a few thousand samples can bear.

The 3072 numbers of a 32 x 32 image would need 18,432 samples for an unbiased distance (``dpmot.metrics.frechet``), the
192 of its thumbnail need 1,152; noise of level sigma is seen there at sigma / 4.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from dpmot.device import ordinary
from dpmot.features import Features
from dpmot.features._images import as_images
from dpmot.images import to_float

SIDE = 8
SMALLEST = 8
BLOCK = 1024  # images that are floats at once


@ordinary(grad=False)
def extract(images: Tensor | np.ndarray) -> Features:
    """Means over blocks, float32 (n, 64 C) in [-1, 1]; blocks overlap by a pixel where H or W is no multiple of 8."""
    images = as_images(images, "thumbnails")
    small = [adaptive_avg_pool2d(to_float(some), SIDE).flatten(1) for some in images.split(BLOCK)]
    return Features(values=torch.cat(small).cpu().numpy(), extractor="thumbnails")
