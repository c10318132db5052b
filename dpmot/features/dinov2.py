"""DINOv2's ViT-B/14 (Oquab et al. 2023), through torch-fidelity: 768 features, no probabilities.

torch-fidelity loads it by ``torch.hub``, which downloads *and runs* the code of facebookresearch/dinov2. That happens
only where ``download: true`` allows it.
"""

import torch
from torch import Tensor

from dpmot._torchvision import make_importable
from dpmot.features import Features, Offer, loaded_once
from dpmot.features._images import as_images
from dpmot.tiles import in_tiles

SLOW = True
MODEL = "dinov2-vit-b-14"


def options(offer: Offer) -> dict[str, bool]:
    """Whether the code may be fetched, and run."""
    return {"download": offer.download}


def check(offer: Offer) -> None:
    """Ask for the permission before anything is trained."""
    if not offer.download:
        raise ValueError("dinov2 runs code of facebookresearch/dinov2 that torch.hub fetches: allow it, download: true")


@loaded_once
def load() -> torch.nn.Module:
    """The network of torch-fidelity, its code and weights fetched by torch.hub or taken from its cache."""
    make_importable()
    from torch_fidelity.feature_extractor_dinov2 import FeatureExtractorDinoV2

    return FeatureExtractorDinoV2(MODEL, ["dinov2"]).eval()


def extract(images: Tensor, *, download: bool = False, tile: int = 32) -> Features:
    """Features (n, 768) of images that the network resizes to 224x224; ``download`` allows to fetch, and run, code."""
    images = as_images(images, channels=(1, 3))
    check(Offer(download=download))
    network = load().to(images.device)
    values = in_tiles(lambda part: network(part)[0], images.expand(-1, 3, -1, -1), tile=tile)
    return Features(values=values.cpu().numpy(), extractor="dinov2")
