"""ViT-B/16 fine-tuned on the data set at 224 pixels (Dosovitskiy et al. 2021), the paper's mode-mixture classifier.

Weights are a folder as transformers writes it (config.json, model.safetensors), of any ViT classifier; ``dpmot cards``
lists one. Who fine-tuned it has seen the training images: what it says of these is no floor for others. Grey images
become RGB by repeating their channel.
"""

import hashlib
import json
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from dpmot._torchvision import make_importable
from dpmot.features import Features, loaded_once
from dpmot.features._images import as_images
from dpmot.tiles import in_tiles

CONFIG, WEIGHTS, PREPROCESSOR = "config.json", "model.safetensors", "preprocessor_config.json"
HALF = (0.5, 0.5, 0.5)  # mean and standard deviation where the folder does not say


def files(folder: Path) -> list[Path]:
    """What of the folder numbers depend on: configuration, weights, and the input's normalisation where it is there.

    Raises:
        FileNotFoundError: configuration or weights are missing.
    """
    for name in (CONFIG, WEIGHTS):
        if not (Path(folder) / name).is_file():
            raise FileNotFoundError(f"No {name} in {folder}: give a folder that transformers wrote, with safetensors")
    found = [Path(folder) / name for name in (CONFIG, WEIGHTS, PREPROCESSOR)]
    return [path for path in found if path.is_file()]


@loaded_once
def load(folder: Path, sha256: str | None = None) -> tuple[torch.nn.Module, Tensor, Tensor]:
    """The classifier, and mean and standard deviation (3, 1, 1) of its input; no code of the folder is run.

    Raises:
        FileNotFoundError: see ``files``.
        ValueError: transformers is missing, the weights have another hash, or the folder holds no ViT classifier.
    """
    path = files(folder)[1]
    if sha256 is not None:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256.lower():
            raise ValueError(f"{path} has sha256 {found}, expected {sha256}: download it again, or correct the hash")
    make_importable()
    try:
        from transformers import ViTForImageClassification
    except ImportError:
        raise ValueError("vit needs transformers: pip install 'dpmot[vit]'") from None
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    if config.get("model_type") != "vit":
        raise ValueError(f"{folder} holds a {config.get('model_type')}: give a ViT classifier")
    network, told = ViTForImageClassification.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, output_loading_info=True
    )
    if told["missing_keys"]:
        raise ValueError(f"{folder} lacks the weights {', '.join(sorted(told['missing_keys']))}: fine-tune it first")
    file = folder / PREPROCESSOR
    given = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    mean, std = (torch.tensor(given.get(f"image_{name}", HALF))[:, None, None] for name in ("mean", "std"))
    return network.eval(), mean, std


def extract(images: Tensor, *, weights: Path, sha256: str | None = None, tile: int = 32) -> Features:
    """The class token after the last norm (n, 768), and softmax (n, K).

    Args:
        images: uint8 (n, C, H, W), C = 3, or 1 which is repeated to RGB; resized, bilinear and antialiased.
        weights: folder of ``load``.
        sha256: of its model.safetensors.
        tile: images of one network call; part of the numbers' last bits.

    Raises:
        FileNotFoundError, ValueError: see ``load``; or images that are not uint8.
    """
    images = as_images(images, channels=(1, 3))
    network, mean, std = load(Path(weights), sha256)
    network, mean, std = network.to(images.device), mean.to(images.device), std.to(images.device)
    side = network.config.image_size

    def seen(part: Tensor) -> tuple[Tensor, Tensor]:
        large = interpolate(part / 255, size=(side, side), mode="bilinear", antialias=True, align_corners=False)
        token = network.vit(pixel_values=(large - mean) / std).last_hidden_state[:, 0]
        return token, network.classifier(token)

    values, logits = in_tiles(seen, images.expand(-1, 3, -1, -1), tile=tile)
    return Features(values=values.cpu().numpy(), extractor="vit", probabilities=logits.softmax(1).cpu().numpy())
