"""ViT-B/16 fine-tuned on the data set at 224 pixels (Dosovitskiy et al. 2021), the paper's mode-mixture classifier.

Weights are a folder as transformers writes it, of any ViT classifier: config.json, model.safetensors or its shards, or
pytorch_model.bin, of which tensors alone are read. ``dpmot cards`` lists one. Images are prepared by transformers' own
ViTImageProcessor, as preprocessor_config.json says; what it would leave unread there is refused. Who fine-tuned the
network has seen the training images: what it says of these is no floor for others.
"""

import json
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dpmot._torchvision import make_importable
from dpmot.device import ordinary
from dpmot.features import Features, Offer, loaded_once
from dpmot.features._images import rgb, seen, sha256_of, tensors_of

SLOW = True
SMALLEST = 8  # of fewer pixels the network would see a few blots
NEEDS = {"transformers": "vit"}
OPTIONS = {"weights": "folder", "card": "str", "sha256": "sha256"}
CARDS = Path(__file__).with_name("cards.yaml")
CONFIG, WEIGHTS, PREPROCESSOR = "config.json", "model.safetensors", "preprocessor_config.json"
STORED = (WEIGHTS, f"{WEIGHTS}.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")  # the first is taken
FOREIGN = ("adapter_config.json", "processor_config.json")  # which would change the network or its images
PREPARES = ("ViTImageProcessor", "ViTImageProcessorFast", "ViTFeatureExtractor", "ViTImageProcessorPil")
READ = {  # of preprocessor_config.json
    *("do_resize", "size", "resample", "do_center_crop", "crop_size", "do_rescale", "rescale_factor", "do_normalize"),
    *("image_mean", "image_std", "do_convert_rgb", "do_pad", "pad_size", "default_to_square"),
}
IDLE = {  # keys that change no pixel here: images are tensors of three channels
    *("image_processor_type", "feature_extractor_type", "processor_class", "return_tensors", "data_format", "device"),
    *("input_data_format", "disable_grouping", "_valid_processor_keys", "image_seq_length"),
}


def check(offer: Offer) -> None:
    """Refuse a classifier that is not there."""
    if "weights" not in offer.given:
        raise ValueError("vit: the feature vit needs `vit: {weights: FOLDER}`, a classifier for this data set")
    card = _card(offer)
    try:
        files(offer)
        _config(offer.given["weights"])
        if offer.shape:
            folder, image = offer.given["weights"], torch.zeros(1, 3, *offer.shape[1:], dtype=torch.uint8)
            _inputs(folder, _processor(folder), image)
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
    """Configuration, weights, and what prepares the images where it is there.

    Raises:
        FileNotFoundError: configuration, weights or a shard of them are missing.
    """
    stored = [folder / name for name in STORED if (folder / name).is_file()][:1]
    for name, found in ((CONFIG, (folder / CONFIG).is_file()), (WEIGHTS, stored)):
        if not found:
            raise FileNotFoundError(f"No {name} in {folder}: give a folder that transformers wrote, with safetensors")
    if stored[0].suffix == ".json":
        stored += [folder / name for name in sorted({*_json(stored[0]).get("weight_map", {}).values()})]
    if lost := [file.name for file in stored if not file.is_file()]:
        raise FileNotFoundError(f"No {', '.join(lost)} in {folder}, which {stored[0].name} names: download it")
    return [folder / CONFIG, *stored, *(file for file in [folder / PREPROCESSOR] if file.is_file())]


def _json(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file} holds no JSON object: {error}") from None


def _config(folder: Path) -> dict[str, Any]:
    """What config.json says, of a classifier of colour images."""
    config = _json(folder / CONFIG)
    if config.get("model_type") != "vit":
        raise ValueError(f"{folder} holds a {config.get('model_type')}: give a ViT classifier")
    allowed = {
        "num_channels": (None, 3),
        "problem_type": (None, "single_label_classification"),
        "quantization_config": (None,),
    }
    for key, values in allowed.items():
        if config.get(key) not in values:
            raise ValueError(f"{folder / CONFIG}: {key} is {config[key]}; {values[-1] or 'none'} is implemented")
    for name in FOREIGN:
        if (folder / name).is_file():
            raise ValueError(f"{folder / name} is not read: save the whole network as ViTForImageClassification")
    return config


def _inputs(folder: Path, processor: Any, images: Tensor) -> Tensor:
    """What the network takes, float32 (n, 3, H, W), of uint8 images (n, 3, H, W); the processor runs on the CPU."""
    try:
        found = processor([*images.cpu()], return_tensors="pt")["pixel_values"].float()
        if not torch.isfinite(found).all():
            raise ValueError("pixels become infinite")
    except Exception as error:  # of whatever kind that library has
        raise ValueError(f"{folder / PREPROCESSOR}: ViTImageProcessor cannot follow it: {_line(error)}") from None
    height, width = _sides(folder)
    if tuple(found.shape[2:]) != (height, width):
        got = "{} x {} become {} x {}".format(*images.shape[2:], *found.shape[2:])
        raise ValueError(f"{folder / PREPROCESSOR}: images of {got}, but the network takes {height} x {width}")
    return found


def _sides(folder: Path) -> tuple[int, int]:
    """Height and width that the network takes."""
    side = _config(folder).get("image_size", 224)
    sides = side if isinstance(side, list) else [side, side]
    if len(sides) != 2 or not all(isinstance(one, int) and one > 0 for one in sides):
        raise ValueError(f"{folder / CONFIG}: image_size is {side}; one or two positive integers are allowed")
    return sides[0], sides[1]


def _processor(folder: Path) -> Any:
    """What prepares images as preprocessor_config.json says; as transformers does by default where there is none."""
    height, width = _sides(folder)
    file, given = folder / PREPROCESSOR, {"size": {"height": height, "width": width}}
    for key, value in _json(file).items() if file.is_file() else ():
        if key in ("image_processor_type", "feature_extractor_type") and value not in (None, *PREPARES):
            raise ValueError(f"{file}: {key} is {value}; {PREPARES[0]} is implemented")
        if key.startswith("do_") and value not in (None, False, True):
            raise ValueError(f"{file}: {key} is {value!r}; true and false are allowed")
        if key not in READ | IDLE and value not in (None, False):
            raise ValueError(f"{file}: {key} is not implemented; allowed: {', '.join(sorted(READ))}")
        if key in READ:
            given[key] = value
    try:
        return _transformers().ViTImageProcessor(**given)
    except Exception as error:  # of whatever kind that library has
        raise ValueError(f"{file}: ViTImageProcessor cannot follow it: {_line(error)}") from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _check_types(file: Path) -> None:
    """Refuse tensors that are no floats: they would be read as if they were."""
    if file.suffix == ".bin":
        tensors_of(file)
        return
    try:
        with safe_open(file, framework="pt") as stored:
            types = {name: stored.get_slice(name).get_dtype() for name in stored.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{file} is no file of weights: {_line(error)}") from None
    if wrong := [f"{name} is {kind}" for name, kind in types.items() if kind not in ("F64", "F32", "F16", "BF16")]:
        raise ValueError(f"{file}: {wrong[0]}, floats are allowed")


def _transformers() -> Any:
    make_importable()
    try:
        import transformers
    except ImportError:
        raise ValueError("vit needs transformers: pip install 'dpmot[vit]'") from None
    return transformers


@loaded_once
@ordinary(grad=False)
def load(folder: Path, sha256: str | None = None) -> Any:
    """The classifier, in float32; no code of the folder is run.

    Raises:
        FileNotFoundError: see ``members``.
        ValueError: transformers is missing, the weights have another hash, or the folder holds no ViT classifier.
    """
    path = members(folder)[1]
    if sha256 is not None and (digest := sha256_of(path)) != sha256.lower():
        raise ValueError(f"{path} has sha256 {digest}, expected {sha256}: download it again, or correct the hash")
    _config(folder)
    for file in (file for file in members(folder) if file.suffix in (".safetensors", ".bin")):
        _check_types(file)
    how = {"dtype": torch.float32, "attn_implementation": "sdpa", "use_safetensors": WEIGHTS in path.name}
    try:
        network, report = _transformers().ViTForImageClassification.from_pretrained(
            folder, local_files_only=True, output_loading_info=True, **how
        )
    except Exception as error:  # of whatever kind that library has
        raise ValueError(f"{folder} holds no ViT classifier that transformers can load: {_line(error)}") from None
    if missing := report["missing_keys"]:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ValueError(f"{folder} lacks the weights {', '.join(sorted(missing)[:3])}{more}: fine-tune it first")
    if foreign := sorted(key for key in report["unexpected_keys"] if "pooler" not in key):
        raise ValueError(f"{folder} holds weights that are not a ViT classifier's: {', '.join(foreign[:3])}")
    if network.num_labels < 2:
        raise ValueError(f"{folder / CONFIG}: num_labels is {network.num_labels}; a classifier has two classes or more")
    return network.eval()


@ordinary(grad=False)
def extract(images: Tensor, *, weights: Path, sha256: str | None = None, tile: int = 32) -> Features:
    """The class token after the last norm (n, 768), and softmax (n, K), of images prepared as the folder says."""
    images, folder = rgb(images, "vit"), Path(weights)
    network, processor = load(folder, sha256).to(images.device), _processor(folder)

    def token_and_logits(part: Tensor) -> tuple[Tensor, Tensor]:
        pixels = _inputs(folder, processor, part).to(images.device)
        token = network.vit(pixel_values=pixels, return_dict=True).last_hidden_state[:, 0]
        return token, network.classifier(token)

    return seen("vit", token_and_logits, images, tile)
