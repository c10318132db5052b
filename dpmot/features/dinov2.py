"""DINOv2's ViT-B/14 (Oquab et al. 2023), through torch-fidelity: 768 features, no probabilities.

torch-fidelity loads it by ``torch.hub``, which downloads *and runs* the code of facebookresearch/dinov2. That happens
only where ``download: true`` allows it.
"""

from pathlib import Path

import torch
from torch import Tensor

from dpmot._torchvision import make_importable
from dpmot.device import ordinary
from dpmot.features import Features, Offer, loaded_once
from dpmot.features._images import named, rgb, seen

SLOW = True
SMALLEST = 8  # of fewer pixels the network would see a few blots
MODEL = "dinov2-vit-b-14"
FILE = "dinov2_vitb14_pretrain.pth"  # in torch's hub cache
SHA256 = "0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73"


def options(offer: Offer) -> dict[str, bool]:
    """Whether the code may be fetched, and run."""
    return {"download": offer.download}


def check(offer: Offer) -> None:
    """Ask for the permission before anything is trained."""
    if not offer.download:
        raise ValueError("dinov2 runs code of facebookresearch/dinov2 that torch.hub fetches: allow it, download: true")


@loaded_once
@ordinary(grad=False)
def load() -> torch.nn.Module:
    """The network of torch-fidelity, its code and weights fetched by torch.hub or taken from its cache."""
    make_importable()
    from torch_fidelity.feature_extractor_dinov2 import FeatureExtractorDinoV2

    return FeatureExtractorDinoV2(MODEL, ["dinov2"]).eval()


@ordinary(grad=False)
def extract(images: Tensor, *, download: bool = False, tile: int = 32) -> Features:
    """Features (n, 768) of images that the network resizes to 224x224; ``download`` allows to fetch, and run, code."""
    images = rgb(images, "dinov2")
    check(Offer(download=download))
    network, weights = load().to(images.device), Path(torch.hub.get_dir()) / "checkpoints" / FILE
    name = named("dinov2", weights, SHA256) if weights.is_file() else "dinov2-unknown"
    return seen(name, network, images, tile)
