"""What a network costs: operations of one evaluation, counted on shapes, without weights or arithmetic."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from dpmot import plugins
from dpmot.diffusion import adapters
from dpmot.diffusion.unet import UNet

TRAINING = 3  # a step of training takes a forward pass, and a backward pass of about twice its operations


def evaluation(unet: Mapping, shape: Sequence[int], *, conditions: int = 1) -> int:
    """Operations (multiply, add: 2) of the U-Net with these options on one image of shape (C, H, W)."""
    made = partial(UNet, shape[0], **unet, conditions=conditions)
    return _counted(made, shape, labelled=bool(unet.get("classes")), told=(conditions,) if conditions > 1 else ())


def of_card(card: Mapping) -> int:
    """The same of the network that a card describes (:mod:`dpmot.diffusion.network`)."""
    if "diffusers" in card:
        return of_diffusers(card["diffusers"]["config"])
    own = plugins.find("networks", card["kind"]).Parametrisation
    if not hasattr(own, "model"):
        return evaluation(card["unet"], card["shape"], conditions=getattr(own, "conditions", 1))
    made = own(**card["options"])
    return _counted(lambda: made.model(None), card["shape"], labelled=bool(getattr(made, "classes", 0)))


def of_diffusers(config: Mapping) -> int:
    """The same of diffusers' network with this config.json, on an image of its own size."""
    size = config["sample_size"]
    shape = (config["in_channels"], *(size if isinstance(size, Sequence) else (size, size)))
    facts = {"config": config, "timestep": (1, 0)}
    return _counted(lambda: adapters.build(facts), shape, labelled=bool(adapters.classes(facts)))


def _counted(build: Callable[[], Any], shape: Sequence[int], *, labelled: bool, told: Sequence[int] = ()) -> int:
    with torch.device("meta"):
        model = build().eval().to("meta")  # some are made on the processor wherever they are asked for
        labels = {"labels": torch.zeros(1, dtype=torch.int64)} if labelled else {}
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            model(torch.empty(1, *shape), torch.empty(1, *told), **labels)
    return counter.get_total_flops()
