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

import yaml

CARDS = Path(__file__).resolve().parents[2] / "baselines" / "cards.yaml"
CLASSIFIERS = Path(__file__).resolve().parents[1] / "features" / "cards.yaml"
NAMES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")  # what diffusers calls weights
CONVERSION = (
    "in an environment where you trust its code run: import pickle, safetensors.torch as s; "
    's.save_file({k: v.contiguous() for k, v in pickle.load(open(FILE, "rb"))["ema"].state_dict().items()}, '
    '"weights.safetensors"), with the entry that the file has in place of "ema"'
)


def cards(file: Path = CARDS) -> dict[str, dict]:
    """Every card of a file: networks, or the classifiers of ``dpmot/features/cards.yaml``."""
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def card(name: str, file: Path = CARDS) -> dict:
    """One card.

    Raises:
        ValueError: no such card.
    """
    known = cards(file)
    if name not in known:
        where = f"{file.parent.name}/{file.name}"
        raise ValueError(f'No card "{name}" in {where}: found {", ".join(known)}')
    return known[name]


def describe() -> str:
    """All cards as text: what, where, licence, and what was reported for them."""
    lines = []
    for name, one in {**cards(), **cards(CLASSIFIERS)}.items():
        lines += [f"{name}: {one['what']}", f"  {one['address']}", f"  licence {one['licence'] or 'not known'}"]
        lines[-1] += f", {one['format']}" + (f", needs {one['needs']}" if "needs" in one else "")
        for row in one["reported"]:
            lines.append(
                f"  reported {row['metric']} {row['value']} at NFE {row['nfe']} ({row['source']}, {row['grade']})"
            )
    return "\n".join(lines)


def verify(path: Path, sha256: str | None) -> str:
    """The sha256 of a file, compared with the one it should have; None passes.

    Raises:
        ValueError: another hash; the message names the file and both.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 is not None and found != sha256.lower():
        raise ValueError(f"{path} has sha256 {found}, its card says {sha256}: download it again, or correct the card")
    return found


def weights_file(path: Path) -> Path:
    """The file that holds the weights: ``path`` itself, or diffusers' name for it in a folder.

    Raises:
        ValueError: the folder has no weights, or there is nothing at ``path``.
    """
    if path.is_dir():
        for name in NAMES:
            if (_model_folder(path) / name).is_file():
                return _model_folder(path) / name
        raise ValueError(f"{path} holds none of {', '.join(NAMES)}")
    if not path.is_file():
        raise ValueError(f"no file {path}")
    return path


def read_tensors(path: Path) -> dict:
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
        first = (str(error).strip() or "no reason given").splitlines()[0]
        raise ValueError(
            f"{path} cannot be read without running code, and is refused ({first}); {CONVERSION}"
        ) from None
    except Exception as error:  # torch raises what its parts raise: KeyError, EOFError, OSError, RuntimeError, ...
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path} is damaged ({first}): download it again") from None
    if not (isinstance(content, Mapping) and content and all(isinstance(v, torch.Tensor) for v in content.values())):
        held = ", ".join(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
        raise ValueError(
            f"{path} must hold named tensors and nothing else, found {held[:200]}; save its state_dict alone"
        )
    return dict(content)


def read_folder(folder: Path, kind: str, options: Mapping) -> tuple[dict, dict]:
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
    name = config.get("_class_name")
    if name != "UNet2DModel":
        raise ValueError(f"{place} describes a {name}, only UNet2DModel is read")
    missing = [key for key in ("in_channels", "out_channels", "sample_size") if config.get(key) is None]
    if missing:
        raise ValueError(f"{place} does not say {', '.join(missing)}: add what the weights were trained with")
    if config["in_channels"] != config["out_channels"]:
        channels = f"{config['in_channels']} channels in, {config['out_channels']} out"
        raise ValueError(f"{place}: {channels}: a learned variance is not read")
    if config.get("time_embedding_type", "positional") != "positional":
        embedding = config["time_embedding_type"]
        raise ValueError(f"{place}: time_embedding_type {embedding}: only positional is read, its times go below 0")
    if kind not in ("ddpm", "edm"):
        raise ValueError(f"{folder}: a UNet2DModel is read as kind ddpm or edm, not {kind}")
    _check_scheduler(folder, kind, options)
    size = config["sample_size"]
    height, width = size if isinstance(size, list) else (size, size)
    model = _pretrained(place, weights_file(folder))
    # What its authors call the time step, from the condition of our parametrisations: t / T, and ln(sigma) / 4.
    timestep = [options.get("num_levels", 1000), -1] if kind == "ddpm" else [1000, 0]
    facts = {"shape": [config["in_channels"], height, width]}
    facts["diffusers"] = {"config": json.loads(model.to_json_string()), "timestep": timestep}
    return facts, {f"unet.{key}": tensor for key, tensor in model.state_dict().items()}


def build(facts: Mapping):
    """The network of :func:`read_folder`'s facts, untrained: model(x, condition, labels) as ours."""
    from torch import nn

    class Adapter(nn.Module):
        """diffusers' UNet2DModel behind the signature of :class:`dpmot.diffusion.unet.UNet`."""

        def __init__(self) -> None:
            super().__init__()
            self.unet = _diffusers().from_config(dict(facts["config"]))
            self.scale, self.offset = facts["timestep"]

        def forward(self, x, condition, labels=None):
            """x (B, C, H, W), condition (B,), labels (B,) of a network with classes -> (B, C, H, W)."""
            if x.dim() != 4 or x.shape[1] != self.unet.config.in_channels:
                raise ValueError(
                    f"The network takes images (B, {self.unet.config.in_channels}, H, W), got {tuple(x.shape)}"
                )
            return self.unet(x, self.scale * condition + self.offset, labels).sample

    return Adapter()


def classes(facts: Mapping) -> int:
    """Classes whose labels the network of these facts takes; 0 for none."""
    return facts["config"].get("num_class_embeds") or 0


def _pretrained(config: Path, file: Path):
    """The UNet2DModel of a config.json and one file of weights, whatever else lies beside them.

    diffusers reads folders, prefers an index of shards to the file that was verified, and leaves what is missing at
    random with a warning: it is shown a folder of these two files only, and asked what it found.
    """
    network = _diffusers()
    read_tensors(file)  # refuses what is damaged or needs code
    name = NAMES[0] if file.suffix == ".safetensors" else NAMES[1]
    with TemporaryDirectory() as folder:
        for source, target in ((config, "config.json"), (file, name)):
            (Path(folder) / target).symlink_to(source.resolve())
        try:
            model, found = network.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=name == NAMES[0],
                low_cpu_mem_usage=False,
                output_loading_info=True,
            )
        except Exception as error:  # diffusers has no error of its own: whatever it is, the two do not fit
            said = "; ".join(line.strip() for line in str(error).splitlines()[:2]) or type(error).__name__
            raise ValueError(f"{file} does not fit {config}: {said}") from None
    for kind in ("missing", "unexpected"):
        if keys := found[f"{kind}_keys"]:
            some = ", ".join(sorted(keys)[:3]) + (", ..." if len(keys) > 3 else "")
            raise ValueError(
                f"{file} does not fit {config}: {len(keys)} tensors {kind} ({some}); "
                "take weights and config.json from one place"
            )
    return model


def _diffusers():
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


def _check_scheduler(folder: Path, kind: str, options: Mapping) -> None:
    """A scheduler beside the weights says how they were trained; what it says must be what we were told."""
    found = [
        f for f in (folder / "scheduler_config.json", folder / "scheduler" / "scheduler_config.json") if f.is_file()
    ]
    if not found or kind != "ddpm":
        return
    said = _json(found[0])
    expected = {
        "num_train_timesteps": options.get("num_levels", 1000),
        "beta_start": options.get("beta_min", 1e-4),
        "beta_end": options.get("beta_max", 0.02),
        "beta_schedule": "linear",
        "prediction_type": "epsilon",
    }
    for key, value in expected.items():
        if said.get(key, value) != value:
            raise ValueError(f"{found[0]}: {key} is {said[key]}, the network's options say {value}")
