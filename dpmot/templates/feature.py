"""Grey levels: the share of an image's pixels in each of equally wide bins, channel by channel."""

import numpy as np
import torch
from torch import Tensor

from dpmot.features import Features
from dpmot.features._images import as_images

OPTIONS = {"bins": "int"}  # what `template_name: {bins: 8}` in a configuration may say


def extract(images: Tensor | np.ndarray, *, bins: int = 16) -> Features:
    """Histograms as features, float64 (n, bins C).

    Args:
        images: uint8 (n, C, H, W) in 0..255, C = 1 or 3.
        bins: of 256 / bins levels each.
    """
    pixels = as_images(images, "template_name").flatten(2)
    bin_of = (pixels.long() * bins).div(256, rounding_mode="floor")
    shares = torch.stack([(bin_of == k).double().mean(2) for k in range(bins)], dim=2)
    return Features(values=shares.flatten(1).cpu().numpy(), extractor="template_name")
