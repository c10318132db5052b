"""CLIP's image encoder ViT-B/32 (Radford et al. 2021), through torch-fidelity: 512 features, no probabilities.

Its weights are a TorchScript archive, which is read only if its sha256 is the one that OpenAI publishes.
"""

from pathlib import Path

import torch
from torch import Tensor

from dpmot._torchvision import make_importable
from dpmot.device import ordinary
from dpmot.features import Features, Offer, loaded_once
from dpmot.features._images import hub_file, rgb, seen, sha256_of

SLOW = True
SMALLEST = 8  # of fewer pixels the network would see a few blots
MODEL = "clip-vit-b-32"
SHA256 = "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"
FILE = f"{MODEL}-{SHA256}.pt"
URL = f"https://openaipublic.azureedge.net/clip/models/{SHA256}/ViT-B-32.pt"


def resolve_weights(*, download: bool = False) -> Path:
    """The weights in torch's hub cache; see :func:`~dpmot.features._images.hub_file`."""
    advice = f"No CLIP weights: put {URL} as {FILE} into {{folder}}"
    return hub_file(FILE, URL, sha256=SHA256, download=download, advice=advice)


def options(offer: Offer) -> dict[str, Path]:
    """The weights; see :func:`resolve_weights`."""
    return {"weights": resolve_weights(download=offer.download)}


@loaded_once
@ordinary(grad=False)
def load(weights: Path) -> torch.nn.Module:
    """The network of torch-fidelity with CLIP's weights.

    Raises:
        ValueError: the file has another hash than CLIP's.
    """
    if (sha256 := sha256_of(weights)) != SHA256:
        raise ValueError(f"{weights} has sha256 {sha256}, CLIP's has {SHA256}: delete it and download it again")
    make_importable()
    from torch_fidelity.feature_extractor_clip import FeatureExtractorCLIP

    return FeatureExtractorCLIP(MODEL, ["clip"], feature_extractor_weights_path=str(weights), verbose=False).eval()


@ordinary(grad=False)
def extract(images: Tensor, *, weights: Path | None = None, tile: int = 32) -> Features:
    """Features (n, 512) of images that the network resizes to 224x224; the weights are by default the hub cache's."""
    images = rgb(images, "clip")
    return seen("clip", load(weights or resolve_weights()).to(images.device), images, tile)
