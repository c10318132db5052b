"""The Inception-v3 of the Frechet Inception Distance, through torch-fidelity's port of the 2015 TensorFlow graph.

Features are the 2048 pooled channels, probabilities the softmax of the 1008 unbiased logits (Salimans et al. 2016;
Heusel et al. 2017). Grey images become RGB by repeating their channel: a convention, not part of either paper.
Numbers are FID and IS only with the canonical weights, whose sha256 torch-fidelity and pytorch-fid give in their file's
name (its first digits); every other file is a stand-in, and its numbers bear the first digits of its own.
"""

import os
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor

from dpmot._torchvision import make_importable
from dpmot.device import ordinary
from dpmot.features import Features, Offer, loaded_once
from dpmot.features._images import hub_file, named, read_once, rgb, seen

CANONICAL = {"fd": "FID", "is": "IS"}  # the field's names of metrics in these features
SLOW = True
SMALLEST = 8  # of fewer pixels the network would see a few blots
OWN_CLASSES = False  # ImageNet's
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
OPTIONS = {"weights": "file"}
ALIASES = {"inception_weights": "weights"}
VARIABLE = "DPMOT_INCEPTION"
FILE = "weights-inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{FILE}"
LAYERS = ["2048", "logits_unbiased"]


def resolve_weights(weights: Path | None = None, *, download: bool = False) -> Path:
    """Find the weights: the given path, else $DPMOT_INCEPTION, else torch's hub cache, else a download if allowed.

    Raises:
        FileNotFoundError: a named file is missing, or nothing was found and ``download`` is false.
    """
    for origin, path in (("the config", weights), (f"${VARIABLE}", os.environ.get(VARIABLE))):
        if path:
            if not Path(path).is_file():
                raise FileNotFoundError(f"No Inception weights at {path}, which {origin} names: correct the path")
            return Path(path)
    advice = f"No Inception weights: give their path in the config or in ${VARIABLE}, put {FILE} into {{folder}}"
    return hub_file(FILE, URL, sha256=SHA256, download=download, advice=advice)


def options(offer: Offer) -> dict[str, Path]:
    """The weights; see :func:`resolve_weights`."""
    return {"weights": resolve_weights(offer.given.get("weights"), download=offer.download)}


@loaded_once
@ordinary(grad=False)
@torch.random.fork_rng(devices=[])  # a network is drawn before its weights are read
def load(weights: Path) -> torch.nn.Module:
    """The network of torch-fidelity with the weights of a file.

    Raises:
        ValueError: the file does not hold the tensors of this network.
    """
    make_importable()
    from torch_fidelity import FeatureExtractorInceptionV3 as build

    content, sha256 = read_once(weights)
    try:
        # torch-fidelity unpickles without restriction, so the same bytes must first pass as tensors only
        torch.load(BytesIO(content), weights_only=True)
        network = build("inception-v3-compat", LAYERS, feature_extractor_weights_path=BytesIO(content)).eval()
        network.sha256 = sha256
        return network
    except Exception as error:  # of whatever kind unpickling has
        raise ValueError(f"{weights} does not hold the weights of torch-fidelity's Inception-v3") from error


@ordinary(grad=False)
def extract(images: Tensor, *, weights: Path | None = None, tile: int = 64) -> Features:
    """Pooled features (n, 2048) and softmax (n, 1008) of images that the network resizes to 299x299."""
    images = rgb(images, "inception")
    network = load(resolve_weights(weights))
    return seen(named("inception", str(network.sha256), SHA256), network.to(images.device), images, tile)
