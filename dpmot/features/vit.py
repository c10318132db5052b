"""ViT-B/16 fine-tuned on the data set at 224 pixels (Dosovitskiy et al. 2021), the paper's mode-mixture classifier.

Weights are a folder as transformers writes it (config.json, model.safetensors), of any ViT classifier; ``dpmot cards``
lists one. Who fine-tuned it has seen the training images: what it says of these is no floor for others.
"""

import json
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor
from torch.nn.functional import interpolate

from dpmot._torchvision import make_importable
from dpmot.features import Features, Offer, loaded_once
from dpmot.features._images import rgb, seen, sha256_of

SLOW = True
SMALLEST = 8  # of fewer pixels the network would see a few blots
NEEDS = {"transformers": "vit"}
OPTIONS = {"weights": "folder", "card": "str", "sha256": "sha256"}
CARDS = Path(__file__).with_name("cards.yaml")
CONFIG, WEIGHTS, PREPROCESSOR = "config.json", "model.safetensors", "preprocessor_config.json"
HALF = (0.5, 0.5, 0.5)  # mean and standard deviation where the folder does not say


def check(offer: Offer) -> None:
    """Refuse a classifier that is not there."""
    if "weights" not in offer.given:
        raise ValueError("vit: the feature vit needs `vit: {weights: FOLDER}`, a classifier for this data set")
    card = _card(offer)
    try:
        files(offer)
    except FileNotFoundError as error:
        advice = f"; download {card['address']}" if card else ""
        raise ValueError(f"vit.weights: {error}{advice}") from None


def options(offer: Offer) -> dict[str, object]:
    """The folder, and the hash of its weights that the configuration or the card gives."""
    return {"weights": offer.given["weights"], "sha256": offer.given.get("sha256") or _card(offer).get("sha256")}


def files(offer: Offer) -> list[Path]:
    """The files of the folder; see :func:`members`."""
    return members(offer.given["weights"])


def _card(offer: Offer) -> dict[str, Any]:
    """What ``cards.yaml`` says of the classifier; nothing where the configuration names no card."""
    cards, name = yaml.safe_load(CARDS.read_text(encoding="utf-8")), offer.given.get("card")
    if name is not None and name not in cards:
        raise ValueError(f'vit.card: No card "{name}" in features/cards.yaml: found {", ".join(cards)}')
    return {} if name is None else cards[name]


def members(folder: Path) -> list[Path]:
    """Configuration, weights, and the normalisation of the input where it is there.

    Raises:
        FileNotFoundError: configuration or weights are missing.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"No {name} in {folder}: give a folder that transformers wrote, with safetensors")
    return [folder / name for name in (CONFIG, WEIGHTS, PREPROCESSOR) if (folder / name).is_file()]


@loaded_once
def load(folder: Path, sha256: str | None = None) -> tuple[Any, Tensor, Tensor]:
    """The classifier, and mean and standard deviation (3, 1, 1) of its input; no code of the folder is run.

    Raises:
        FileNotFoundError: see ``members``.
        ValueError: transformers is missing, the weights have another hash, or the folder holds no ViT classifier.
    """
    path = members(folder)[1]
    if sha256 is not None and (digest := sha256_of(path)) != sha256.lower():
        raise ValueError(f"{path} has sha256 {digest}, expected {sha256}: download it again, or correct the hash")
    make_importable()
    try:
        from transformers import ViTForImageClassification
    except ImportError:
        raise ValueError("vit needs transformers: pip install 'dpmot[vit]'") from None
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    if config.get("model_type") != "vit":
        raise ValueError(f"{folder} holds a {config.get('model_type')}: give a ViT classifier")
    local = {"local_files_only": True, "use_safetensors": True, "output_loading_info": True}
    network, report = ViTForImageClassification.from_pretrained(folder, **local)
    if missing := report["missing_keys"]:
        raise ValueError(f"{folder} lacks the weights {', '.join(sorted(missing))}: fine-tune it first")
    preprocessor = folder / PREPROCESSOR
    given = json.loads(preprocessor.read_text(encoding="utf-8")) if preprocessor.is_file() else {}
    mean, std = (torch.tensor(given.get(f"image_{name}", HALF))[:, None, None] for name in ("mean", "std"))
    return network.eval(), mean, std


def extract(images: Tensor, *, weights: Path, sha256: str | None = None, tile: int = 32) -> Features:
    """The class token after the last norm (n, 768), and softmax (n, K), of images resized bilinearly, antialiased."""
    images = rgb(images, "vit")
    network, *normal = load(Path(weights), sha256)
    network, (mean, std) = network.to(images.device), (one.to(images.device) for one in normal)
    side = network.config.image_size

    def token_and_logits(part: Tensor) -> tuple[Tensor, Tensor]:
        large = interpolate(part / 255, size=(side, side), mode="bilinear", antialias=True, align_corners=False)
        token = network.vit(pixel_values=(large - mean) / std).last_hidden_state[:, 0]
        return token, network.classifier(token)

    return seen("vit", token_and_logits, images, tile)
