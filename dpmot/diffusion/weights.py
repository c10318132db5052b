"""Published weights: cards, files, and the folders of diffusers.

What is read is a file of tensors (:mod:`dpmot.diffusion.tensors`), or a folder of diffusers' ``UNet2DModel`` or DiT:
its config.json (:mod:`dpmot.diffusion.adapters`), its weights in one file or in shards, and the scheduler beside it
(:mod:`dpmot.diffusion.schedulers`), through diffusers, an extra. ``baselines/cards.yaml`` describes weights that others
have published. torch is imported when something is loaded.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from dpmot import graphs, plugins
from dpmot.diffusion import adapters, schedulers
from dpmot.diffusion.protocols import Tensor
from dpmot.diffusion.tensors import INDEX, read_tensors, shards, unwrapped

CARDS = Path(__file__).resolve().parents[2] / "baselines" / "cards.yaml"
CLASSIFIERS = Path(__file__).resolve().parents[1] / "features" / "cards.yaml"
DECODERS = ("vae", "vqvae")  # of latents
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
    """The sha256 of a file compared with the one it should have; of several files that of all, one after the other.

    These are the shards of an index, or an ONNX file and then the files of weights that it names.

    Raises:
        ValueError: another hash; the message names the file and both.
    """
    total = hashlib.sha256()
    for part in _parts(path):
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
    parts = [first, *(part for part in _parts(first) if part != first)]
    config = _model_folder(path) / "config.json"
    return [*parts, *([config] if config.is_file() else []), *schedulers.files(path)] if path.is_dir() else parts


def _parts(path: Path) -> list[Path]:
    """The files that hold the weights of a file: the shards of an index, or an ONNX file and those that it names."""
    if ".index." in path.name:
        return shards(path)
    return graphs.files(path) if path.suffix == ".onnx" else [path]


def read_folder(folder: Path, kind: str, options: Mapping, *, no_class: bool = False) -> tuple[dict, dict[str, Tensor]]:
    """A folder of diffusers' ``UNet2DModel`` or ``DiTTransformer2DModel``, alone or in a pipeline.

    Args:
        folder: with config.json and weights.
        kind: the parametrisation, "ddpm", "edm" (a consistency model is "edm" with a boundary), "flow" or "ve".
        options: of the parametrisation.
        no_class: whether the last label of a UNet2DModel is that of no class.

    Returns:
        (facts, tensors): what :func:`dpmot.diffusion.network.build` needs, "shape" and "diffusers", with "latents",
            the part that decodes them, where the network does not see images; and the weights.

    Raises:
        ValueError: no such folder, another architecture, weights that are damaged, need code, or are not all of the
            architecture's and nothing else, or a scheduler that contradicts kind and options.
    """
    decoder = _check_pipeline(folder)
    place = _model_folder(folder) / "config.json"
    config = schedulers.read_json(place)
    shape, learned = adapters.checked(place, config, kind)
    told = plugins.find("networks", kind).Parametrisation(**options)
    compared = schedulers.check(folder, kind, told, learned_variance=learned)
    file = weights_file(folder)
    others = [*_weights_in(file.parent), *folder.glob("unet_ema")]
    beside = ", ".join(other.name for other in others if other != file)
    print(f"{file} is read" + (f", not {beside} beside it" if beside else ""), flush=True)
    if not compared:
        print(f"{folder} has no scheduler_config.json: what the options of kind {kind} say is not compared", flush=True)
    model = _pretrained(place, file)
    config = json.loads(model.to_json_string())
    config.pop("_name_or_path", None)  # of a folder that is no more
    facts = {"shape": shape, "diffusers": adapters.facts(place, config, kind, told, no_class=no_class)}
    part = adapters.PARTS[adapters.name_of(config)]
    tensors = {f"{part}.{key}": tensor for key, tensor in model.state_dict().items()}
    return facts | ({"latents": decoder} if decoder else {}), tensors


def _check_pipeline(folder: Path) -> str | None:
    """What decodes the latents that the network of a pipeline sees, None for images.

    Raises:
        ValueError: it has parts that are not read, such as a text encoder.
    """
    decoders = set()
    for place in (folder / "model_index.json", folder.absolute().parent / "model_index.json"):
        index = schedulers.read_json(place) if place.is_file() else {}
        parts = {key for key, value in index.items() if isinstance(value, list) and any(value)}
        decoders |= parts & {*DECODERS}
        if other := sorted(parts - {*adapters.PARTS.values(), "scheduler", *DECODERS}):
            raise ValueError(
                f"{place} describes a {index.get('_class_name')} with {', '.join(other)}; only pipelines of a "
                "UNet2DModel or DiTTransformer2DModel, its scheduler, the vae of its latents and nothing else are read"
            )
    return min(decoders, default=None)


def _pretrained(config: Path, file: Path) -> Any:
    """The network of a config.json and one file of weights, whatever else lies beside them.

    diffusers reads folders, prefers an index of shards to the file that was verified, and leaves what is missing at
    random with a warning: it is shown a folder of these two only, and asked what it found.
    """
    import torch
    from safetensors.torch import save_file

    name, tensors = adapters.name_of(schedulers.read_json(config)), read_tensors(file)
    network = schedulers.diffusers_class(name)
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
    """Where a pipeline keeps its network, or the folder itself."""
    parts = [folder / part for part in adapters.PARTS.values() if (folder / part / "config.json").is_file()]
    if len(parts) > 1:
        raise ValueError(f"{folder} holds {' and '.join(part.name for part in parts)}: name the folder of one of them")
    return parts[0] if parts else folder


def _weights_in(folder: Path) -> list[Path]:
    """Files of weights by diffusers' names, best first; shards count by their index."""
    whole = [folder / name for name in NAMES]
    others = (file for file in folder.glob(f"{STEM}.*") if file not in whole and VARIANT.search(file.name))
    return [file for file in whole if file.is_file()] + sorted(
        others, key=lambda file: (".bin" in file.name, file.name)
    )
