"""Published weights: cards, files, and the folders of diffusers.

What is read is a file of tensors (:mod:`dpmot.diffusion.tensors`), or a folder of diffusers' ``UNet2DModel``: its
config.json, its weights in one file or in shards, and the scheduler beside it (:mod:`dpmot.diffusion.schedulers`),
through diffusers, an extra. ``baselines/cards.yaml`` describes weights that others have published. torch is imported
when something is loaded.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import yaml

from dpmot import plugins
from dpmot.diffusion import schedulers
from dpmot.diffusion.protocols import Tensor
from dpmot.diffusion.tensors import INDEX, read_tensors, shards, unwrapped

if TYPE_CHECKING:
    from torch.nn import Module

CARDS = Path(__file__).resolve().parents[2] / "baselines" / "cards.yaml"
CLASSIFIERS = Path(__file__).resolve().parents[1] / "features" / "cards.yaml"
STEM = "diffusion_pytorch_model"
NAMES = tuple(f"{STEM}.{suffix}{index}" for suffix in ("safetensors", "bin") for index in ("", INDEX))  # best first
VARIANT = re.compile(r"(?<!-of-\d{5})\.(safetensors|bin|safetensors\.index\..*json|bin\.index\..*json)$")


def cards(file: Path = CARDS) -> dict[str, dict]:
    """Every card of a file."""
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def card(name: str, file: Path = CARDS) -> dict:
    """One card.

    Raises:
        ValueError: no such card.
    """
    known = cards(file)
    if name not in known:
        raise ValueError(f'No card "{name}" in {file.parent.name}/{file.name}: found {", ".join(known)}')
    return known[name]


def describe() -> str:
    """All cards as text: what, where, licence, and what was reported for them."""
    lines = []
    for name, card in {**cards(), **cards(CLASSIFIERS)}.items():
        needs = f", needs {card['needs']}" if "needs" in card else ""
        lines += [f"{name}: {card['what']}", f"  {card['address']}"]
        lines += [f"  licence {card['licence'] or 'not known'}, {card['format']}{needs}"]
        for row in card["reported"]:
            where = f"{row['source']}, {row['grade']}"
            lines += [f"  reported {row['metric']} {row['value']} at NFE {row['nfe']} ({where})"]
    return "\n".join(lines)


def verify(path: Path, sha256: str | None) -> str:
    """The sha256 of a file, of an index that of its shards one after the other, compared with the one it should have.

    Raises:
        ValueError: another hash; the message names the file and both.
    """
    total = hashlib.sha256()
    for part in shards(path) if ".index." in path.name else [path]:
        with part.open("rb") as file:
            while block := file.read(1 << 20):
                total.update(block)
    digest = total.hexdigest()
    if sha256 is not None and digest != sha256.lower():
        raise ValueError(f"{path} has sha256 {digest}, its card says {sha256}: download it again, or correct the card")
    return digest


def weights_file(path: Path) -> Path:
    """The file that holds the weights: ``path`` itself, or in a folder diffusers' name for it or for its index.

    Whole precision goes before a variant such as fp16, safetensors before PyTorch's format, one file before shards.

    Raises:
        ValueError: the folder has no weights, or several variants; or there is nothing at ``path``.
    """
    if path.is_dir():
        found = _weights_in(_model_folder(path))
        if not found:
            raise ValueError(f"{path} holds none of {', '.join(NAMES)}")
        variants = {file.name.replace(INDEX, "").split(".")[-2] for file in found} - {STEM}
        if found[0].name not in NAMES and len(variants) > 1:
            raise ValueError(f"{path} holds the variants {', '.join(sorted(variants))}: leave the one to read there")
        return found[0]
    if not path.is_file():
        raise ValueError(f"no file {path}")
    return path


def files(path: Path) -> list[Path]:
    """All files that are read of ``path``: the weights first, their shards, the configurations beside them.

    Raises:
        ValueError: as :func:`weights_file`, or an index whose shards are not there.
    """
    first = weights_file(path)
    parts = [first, *(shards(first) if ".index." in first.name else [])]
    config = _model_folder(path) / "config.json"
    return [*parts, *([config] if config.is_file() else []), *schedulers.files(path)] if path.is_dir() else parts


def read_folder(folder: Path, kind: str, options: Mapping) -> tuple[dict, dict[str, Tensor]]:
    """A folder of diffusers' ``UNet2DModel``, alone or in a pipeline's ``unet/``.

    Args:
        folder: with config.json and weights.
        kind: the parametrisation, "ddpm", "edm" (a consistency model is "edm" with a boundary) or "flow".
        options: of the parametrisation.

    Returns:
        (facts, tensors): what :func:`dpmot.diffusion.network.build` needs, "shape" and "diffusers", and the weights.

    Raises:
        ValueError: no such folder, another architecture, weights that are damaged, need code, or are not all of the
            architecture's and nothing else, or a scheduler that contradicts kind and options.
    """
    _check_pipeline(folder)
    place = _model_folder(folder) / "config.json"
    config = schedulers.read_json(place)
    if (name := config.get("_class_name")) != "UNet2DModel":
        raise ValueError(f"{place} describes a {name}, only UNet2DModel is read")
    if kind not in schedulers.KINDS:
        raise ValueError(f"{folder}: a UNet2DModel is read as kind {', '.join(schedulers.KINDS)}, not {kind}")
    shape, learned = _shape(place, config, kind)
    told = plugins.find("networks", kind).Parametrisation(**options)
    compared = schedulers.check(folder, kind, told, learned_variance=learned)
    # What its authors call the time: of the condition of our parametrisations t / T, ln(sigma) / 4, or t.
    consistency = kind == "edm" and told.boundary > 0  # whose time is 1000 ln(sigma) / 4
    scale = 1000 if consistency else 1 if kind == "edm" else told.num_levels
    file = weights_file(folder)
    others = [*_weights_in(file.parent), *folder.glob("unet_ema")]
    beside = ", ".join(other.name for other in others if other != file)
    print(f"{file} is read" + (f", not {beside} beside it" if beside else ""), flush=True)
    if not compared:
        print(f"{folder} has no scheduler_config.json: what the options of kind {kind} say is not compared", flush=True)
    model = _pretrained(place, file)
    config = json.loads(model.to_json_string())
    config.pop("_name_or_path", None)  # of a folder that is no more
    diffusers = {"config": config, "timestep": [scale, -1 if kind == "ddpm" else 0]}
    tensors = {f"unet.{key}": tensor for key, tensor in model.state_dict().items()}
    return {"shape": shape, "diffusers": diffusers}, tensors


def build(facts: Mapping) -> "Module":
    """The network of :func:`read_folder`'s facts, untrained: model(x, condition, labels) as ours."""
    import torch
    from torch import nn

    from dpmot.diffusion.unet import check_inputs

    class Adapter(nn.Module):
        """diffusers' UNet2DModel behind the signature of :class:`dpmot.diffusion.unet.UNet`."""

        def __init__(self) -> None:
            super().__init__()
            with schedulers.undisturbed():
                self.unet = schedulers.diffusers_class("UNet2DModel").from_config(dict(facts["config"]))
            self.scale, self.offset = facts["timestep"]

        def forward(self, x: Tensor, condition: Tensor, labels: Tensor | None = None) -> Tensor:
            """x (B, C, H, W), condition (B,), labels (B,) of a network with classes -> (B, C, H, W)."""
            channels, classes = self.unet.config.in_channels, self.unet.config.num_class_embeds or 0
            check_inputs(x, labels, channels=channels, classes=classes)
            time = self.scale * condition + self.offset
            if self.scale > 1:  # a level of theirs is an integer, which a condition of float32 misses by 1e-4 at most
                time = torch.where((time - time.round()).abs() < 2e-4, time.round(), time)
            return self.unet(x, time, labels).sample[:, :channels]  # what follows is of a learned variance

    return Adapter()


def _check_pipeline(folder: Path) -> None:
    """Refuse a pipeline whose images are not what its network sees, such as one of latents."""
    for place in (folder / "model_index.json", folder.absolute().parent / "model_index.json"):
        index = schedulers.read_json(place) if place.is_file() else {}
        parts = {key for key, value in index.items() if isinstance(value, list) and any(value)}
        if other := sorted(parts - {"unet", "scheduler"}):
            raise ValueError(
                f"{place} describes a {index.get('_class_name')} with {', '.join(other)}; only pipelines of a "
                "UNet2DModel, its scheduler and nothing else are read"
            )


def _shape(place: Path, config: Mapping, kind: str) -> tuple[list[int], bool]:
    """The shape of an image and whether a variance was learned, if nothing in the configuration is beyond us."""
    stated: dict[str, Any] = {key: config.get(key) for key in ("in_channels", "out_channels", "sample_size")}
    if missing := [key for key, value in stated.items() if value is None]:
        raise ValueError(f"{place} does not say {', '.join(missing)}: add what the weights were trained with")
    inputs, outputs, size = stated.values()
    height, width = size if isinstance(size, list) and len(size) == 2 else (size, size)
    if wrong := [key for key, value in stated.items() if not isinstance(value, int) and value is not size] or [
        "sample_size" for side in (height, width) if not isinstance(side, int)
    ]:
        raise ValueError(f"{place}: {wrong[0]} is {stated[wrong[0]]!r}, which is no size of an image")
    learned = outputs == 2 * inputs
    if inputs != outputs and not (learned and kind == "ddpm"):
        raise ValueError(f"{place}: {inputs} channels in, {outputs} out: only kind ddpm may have twice as many out")
    usual = schedulers.defaults("UNet2DModel")
    if unknown := [key for key, value in config.items() if not (key in usual or key[0] == "_" or value is None)]:
        raise ValueError(f"{place}: {unknown[0]} is {config[unknown[0]]!r:.60}, which this diffusers does not know")
    if (embedding := config.get("time_embedding_type", "positional")) != "positional":
        raise ValueError(f"{place}: time_embedding_type {embedding}: only positional is read, its times go below 0")
    if (labels := config.get("class_embed_type")) is not None:
        raise ValueError(f"{place}: class_embed_type {labels}: only num_class_embeds, an embedding of labels, is read")
    return [inputs, height, width], learned


def _pretrained(config: Path, file: Path) -> Any:
    """The UNet2DModel of a config.json and one file of weights, whatever else lies beside them.

    diffusers reads folders, prefers an index of shards to the file that was verified, and leaves what is missing at
    random with a warning: it is shown a folder of these two only, and asked what it found.
    """
    import torch
    from safetensors.torch import save_file

    network, tensors = schedulers.diffusers_class("UNet2DModel"), read_tensors(file)
    with schedulers.undisturbed(), TemporaryDirectory() as folder:
        (Path(folder) / "config.json").symlink_to(config.resolve())
        try:
            with torch.device("meta"):
                named = network.from_config(network.load_config(folder)).state_dict()
            save_file(unwrapped(tensors, named, file), Path(folder) / NAMES[0])
            model, loading = network.from_pretrained(folder, output_loading_info=True, low_cpu_mem_usage=False)
        except Exception as error:  # diffusers has no error of its own: whatever it is, the two do not fit
            said = "; ".join(line.strip() for line in str(error).splitlines()[:2]) or type(error).__name__
            raise ValueError(f"{file} does not fit {config}: {said}") from None
    for kind in ("missing", "unexpected"):
        if keys := loading[f"{kind}_keys"]:
            found = f"{len(keys)} tensors {kind} ({', '.join(sorted(keys)[:3])}{', ...' * (len(keys) > 3)})"
            raise ValueError(f"{file} does not fit {config}: {found}; take weights and config.json from one place")
    return model


def _model_folder(folder: Path) -> Path:
    return folder / "unet" if (folder / "unet" / "config.json").is_file() else folder


def _weights_in(folder: Path) -> list[Path]:
    """Files of weights by diffusers' names, best first; shards count by their index."""
    whole = [folder / name for name in NAMES]
    others = (file for file in folder.glob(f"{STEM}.*") if file not in whole and VARIANT.search(file.name))
    return [file for file in whole if file.is_file()] + sorted(
        others, key=lambda file: (".bin" in file.name, file.name)
    )
