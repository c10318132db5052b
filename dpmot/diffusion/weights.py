"""Published weights: read without running any code that comes with them.

Three forms are read: a folder of diffusers' ``UNet2DModel`` (config.json and weights; through diffusers, an extra), a
safetensors file of tensors, and a PyTorch file whose content is tensors (``torch.load(weights_only=True)``). A pickle
that needs code is refused. ``baselines/cards.yaml`` describes weights that others have published. torch is imported
when something is loaded.
"""

import hashlib
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import yaml

from dpmot.diffusion.networks import ddpm

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

CARDS = Path(__file__).resolve().parents[2] / "baselines" / "cards.yaml"
CLASSIFIERS = Path(__file__).resolve().parents[1] / "features" / "cards.yaml"
NAMES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")  # what diffusers calls weights
CONVERSION = (
    "in an environment where you trust its code run: import pickle, safetensors.torch as s; "
    's.save_file({k: v.contiguous() for k, v in pickle.load(open(FILE, "rb"))["ema"].state_dict().items()}, '
    '"weights.safetensors"), with the entry that the file has in place of "ema"'
)


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
    """The sha256 of a file, compared with the one it should have; None passes.

    Raises:
        ValueError: another hash; the message names the file and both.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 is not None and digest != sha256.lower():
        raise ValueError(f"{path} has sha256 {digest}, its card says {sha256}: download it again, or correct the card")
    return digest


def weights_file(path: Path) -> Path:
    """The file that holds the weights: ``path`` itself, or diffusers' name for it in a folder.

    Raises:
        ValueError: the folder has no weights, or there is nothing at ``path``.
    """
    if path.is_dir():
        for file in (_model_folder(path) / name for name in NAMES):
            if file.is_file():
                return file
        raise ValueError(f"{path} holds none of {', '.join(NAMES)}")
    if not path.is_file():
        raise ValueError(f"no file {path}")
    return path


def read_tensors(path: Path) -> "dict[str, Tensor]":
    """The tensors of a safetensors or PyTorch file, name -> tensor.

    Raises:
        ValueError: the file needs code, is damaged, or does not hold named tensors.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} is no safetensors file, or is damaged: {error}") from None
    if path.suffix == ".pkl":
        raise ValueError(f"{path} is a pickle, which runs code when it is read, and is refused; {CONVERSION}")
    with path.open("rb") as file:
        begins = file.read(2)
    if begins not in (b"PK", b"\x80\x02"):  # a zip archive, or the older plain pickle
        raise ValueError(f"{path} is no file of torch.save (it begins with {begins!r}): download it again")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} cannot be read without running code, and is refused ({_first_line(error)}); {CONVERSION}"
        ) from None
    except Exception as error:  # torch raises what its parts raise: KeyError, EOFError, OSError, RuntimeError, ...
        raise ValueError(f"{path} is damaged ({_first_line(error)}): download it again") from None
    if not (isinstance(content, Mapping) and content and all(isinstance(v, torch.Tensor) for v in content.values())):
        shown = ", ".join(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
        raise ValueError(
            f"{path} must hold named tensors and nothing else, found {shown[:200]}; save its state_dict alone"
        )
    return dict(content)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def read_folder(folder: Path, kind: str, options: Mapping) -> "tuple[dict, dict[str, Tensor]]":
    """A folder of diffusers' ``UNet2DModel``, alone or in a pipeline's ``unet/``.

    Args:
        folder: with config.json and weights.
        kind: the parametrisation, "ddpm" or "edm" (a consistency model is "edm" with a boundary).
        options: of the parametrisation.

    Returns:
        (facts, tensors): what :func:`dpmot.diffusion.network.build` needs, "shape" and "diffusers", and the weights.

    Raises:
        ValueError: no such folder, another architecture, weights that are damaged, need code, or are not all of the
            architecture's and nothing else, or a scheduler that contradicts kind and options.
    """
    place = _model_folder(folder) / "config.json"
    config = _json(place)
    if (name := config.get("_class_name")) != "UNet2DModel":
        raise ValueError(f"{place} describes a {name}, only UNet2DModel is read")
    inputs, outputs, size = (config.get(key) for key in ("in_channels", "out_channels", "sample_size"))
    stated = {"in_channels": inputs, "out_channels": outputs, "sample_size": size}
    if missing := [key for key, value in stated.items() if value is None]:
        raise ValueError(f"{place} does not say {', '.join(missing)}: add what the weights were trained with")
    if inputs != outputs:
        raise ValueError(f"{place}: {inputs} channels in, {outputs} out: a learned variance is not read")
    if (embedding := config.get("time_embedding_type", "positional")) != "positional":
        raise ValueError(f"{place}: time_embedding_type {embedding}: only positional is read, its times go below 0")
    if kind == "ddpm":
        chain = ddpm.Parametrisation(**options)
        _check_scheduler(folder, chain)
    elif kind != "edm":
        raise ValueError(f"{folder}: a UNet2DModel is read as kind ddpm or edm, not {kind}")
    height, width = size if isinstance(size, list) else (size, size)
    model = _pretrained(place, weights_file(folder))
    # What its authors call the time step, from the condition of our parametrisations: t / T, and ln(sigma) / 4.
    timestep = [chain.num_levels, -1] if kind == "ddpm" else [1000, 0]
    diffusers = {"config": json.loads(model.to_json_string()), "timestep": timestep}
    tensors = {f"unet.{key}": tensor for key, tensor in model.state_dict().items()}
    return {"shape": [inputs, height, width], "diffusers": diffusers}, tensors


def build(facts: Mapping) -> "Module":
    """The network of :func:`read_folder`'s facts, untrained: model(x, condition, labels) as ours."""
    from torch import nn

    class Adapter(nn.Module):
        """diffusers' UNet2DModel behind the signature of :class:`dpmot.diffusion.unet.UNet`."""

        def __init__(self) -> None:
            super().__init__()
            self.unet = _diffusers().from_config(dict(facts["config"]))
            self.scale, self.offset = facts["timestep"]

        def forward(self, x: "Tensor", condition: "Tensor", labels: "Tensor | None" = None) -> "Tensor":
            """x (B, C, H, W), condition (B,), labels (B,) of a network with classes -> (B, C, H, W)."""
            channels = self.unet.config.in_channels
            if x.dim() != 4 or x.shape[1] != channels:
                raise ValueError(f"The network takes images (B, {channels}, H, W), got {tuple(x.shape)}")
            return self.unet(x, self.scale * condition + self.offset, labels).sample

    return Adapter()


def _pretrained(config: Path, file: Path) -> Any:
    """The UNet2DModel of a config.json and one file of weights, whatever else lies beside them.

    diffusers reads folders, prefers an index of shards to the file that was verified, and leaves what is missing at
    random with a warning: it is shown a folder of these two files only, and asked what it found.
    """
    from safetensors.torch import save_file

    network, tensors = _diffusers(), read_tensors(file)  # refuses what is damaged or needs code
    with TemporaryDirectory() as folder:
        (Path(folder) / "config.json").symlink_to(config.resolve())
        save_file({name: tensor.clone() for name, tensor in tensors.items()}, Path(folder) / NAMES[0])
        try:
            model, loading = network.from_pretrained(folder, output_loading_info=True, low_cpu_mem_usage=False)
        except Exception as error:  # diffusers has no error of its own: whatever it is, the two do not fit
            said = "; ".join(line.strip() for line in str(error).splitlines()[:2]) or type(error).__name__
            raise ValueError(f"{file} does not fit {config}: {said}") from None
    for kind in ("missing", "unexpected"):
        if keys := loading[f"{kind}_keys"]:
            found = f"{len(keys)} tensors {kind} ({', '.join(sorted(keys)[:3])}{', ...' * (len(keys) > 3)})"
            raise ValueError(f"{file} does not fit {config}: {found}; take weights and config.json from one place")
    return model


def _diffusers() -> Any:
    from dpmot._torchvision import make_importable

    make_importable()
    try:
        from diffusers import UNet2DModel
    except ImportError:
        raise ValueError("Reading a UNet2DModel needs diffusers: pip install -e '.[diffusers]'") from None
    return UNet2DModel


def _model_folder(folder: Path) -> Path:
    return folder / "unet" if (folder / "unet" / "config.json").is_file() else folder


def _json(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"Cannot read {path}: {error.strerror}") from None
    except ValueError as error:  # no JSON, or no UTF-8
        raise ValueError(f"{path} is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold one JSON object, found {type(content).__name__}")
    return content


def _check_scheduler(folder: Path, chain: ddpm.Parametrisation) -> None:
    """A scheduler beside the weights says how they were trained; what it says must be what we were told."""
    places = (folder / "scheduler_config.json", folder / "scheduler" / "scheduler_config.json")
    file = next((place for place in places if place.is_file()), None)
    told = {
        "num_train_timesteps": chain.num_levels,
        "beta_start": chain.beta_min,
        "beta_end": chain.beta_max,
        "beta_schedule": "linear",
        "prediction_type": "epsilon",
    }
    said = _json(file) if file else {}
    for key, value in told.items():
        if said.get(key, value) != value:
            raise ValueError(f"{file}: {key} is {said[key]}, the network's options say {value}")
