"""CLIP's image encoder ViT-B/32 (Radford et al. 2021), through torch-fidelity: 512 features, no probabilities.

Its weights are a TorchScript archive, which is read only if its sha256 is the one that OpenAI publishes. Grey images
become RGB by repeating their channel.
"""

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from dpmot._torchvision import make_importable
from dpmot.features import Features, loaded_once
from dpmot.features._images import as_images
from dpmot.tiles import in_tiles

MODEL = "clip-vit-b-32"
SHA256 = "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"
FILE = f"{MODEL}-{SHA256}.pt"
URL = f"https://openaipublic.azureedge.net/clip/models/{SHA256}/ViT-B-32.pt"


def resolve_weights(*, download: bool = False) -> Path:
    """The weights in torch's hub cache, put there by a download if allowed.

    Raises:
        FileNotFoundError: nothing is there and ``download`` is false.
        ValueError: the file has another hash.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / FILE
    if not path.is_file():
        if not download:
            raise FileNotFoundError(f"No CLIP weights: put {URL} as {FILE} into {path.parent}, or set download: true")
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(URL, str(path), hash_prefix=SHA256)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise ValueError(f"{path} has sha256 {found}, CLIP's has {SHA256}: delete it and download it again")
    return path


@loaded_once
def load(weights: Path) -> torch.nn.Module:
    """The network of torch-fidelity with verified weights."""
    make_importable()
    from torch_fidelity.feature_extractor_clip import FeatureExtractorCLIP

    return FeatureExtractorCLIP(MODEL, ["clip"], feature_extractor_weights_path=str(weights), verbose=False).eval()


def extract(images: Tensor, *, download: bool = False, tile: int = 32) -> Features:
    """Features (n, 512).

    Args:
        images: uint8 (n, C, H, W), C = 3, or 1 which is repeated to RGB; resized to 224x224 by the network.
        download: allow to fetch the weights.
        tile: images of one network call; part of the numbers' last bits.

    Raises:
        FileNotFoundError, ValueError: see ``resolve_weights``; or images that are not uint8.
    """
    images = as_images(images, channels=(1, 3))
    network = load(resolve_weights(download=download)).to(images.device)
    values = in_tiles(lambda part: network(part)[0], images.expand(-1, 3, -1, -1), tile=tile)
    return Features(values=values.cpu().numpy(), extractor="clip")
