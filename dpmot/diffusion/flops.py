"""What a network costs: operations of one evaluation, counted on shapes, without weights or arithmetic."""

from collections.abc import Mapping, Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode

from dpmot.diffusion.unet import UNet

TRAINING = 3  # a step of training takes a forward pass, and a backward pass of about twice its operations


def evaluation(unet: Mapping, shape: Sequence[int]) -> int:
    """Operations (multiply, add: 2) of the U-Net with these options on one image of shape (C, H, W)."""
    with torch.device("meta"):
        model = UNet(shape[0], **unet).eval()
        labels = {"labels": torch.zeros(1, dtype=torch.int64)} if unet.get("classes") else {}
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            model(torch.empty(1, *shape), torch.empty(1), **labels)
    return counter.get_total_flops()
