"""Tensors of files that others wrote, read without running any code that comes with them.

A file is what it holds, not what it is called: safetensors, or what torch.save wrote, in its archive or its older form,
by ``torch.load(weights_only=True)``. All that a network computes with becomes float32. What is not read is refused in
one line that says what it is. torch is imported when something is read.
"""

import json
import pickle
import re
import tarfile
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dpmot.diffusion.protocols import Tensor

CONVERSION = (
    "in an environment where you trust its code run: import {library}, safetensors.torch as s; "
    's.save_file({{k: v.contiguous() for k, v in {content}.items()}}, "weights.safetensors"), '
    "with the entry that the file has in place of {entry}"
)
OF_PICKLE = CONVERSION.format(
    library="pickle", content='pickle.load(open(FILE, "rb"))["ema"].state_dict()', entry='"ema"'
)
OF_TORCH = CONVERSION.format(
    library="torch", content='torch.load(FILE, weights_only=False)["state_dict"]', entry='"state_dict"'
)
OLDER_FORM = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the number that torch.save pickled first, before its archives
OTHERS = {  # how a file begins -> what it is, and what to do
    b"version https://git-lfs": "the pointer of a Git LFS file, not the file: run git lfs pull",
    b"\x89HDF": "an HDF5 file (Keras): save its weights as safetensors, by the names of the network",
    b"GGUF": "a GGUF file, of quantised weights: take the original ones",
    b"\x1f\x8b": "compressed (gzip): unpack it",
    b"\xfd7zXZ": "compressed (xz): unpack it",
    b"\x93NUMPY": "an array of numpy: save named tensors",
}
EXPANDS = 4  # times its size that an archive may hold
INDEX = ".index.json"
AVERAGE = re.compile(r"(?<![a-z])(ema|averaged?)(?![a-z])")  # not that of "semantic"


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors or PyTorch file, or of the shards of an index, name -> tensor.

    float16, bfloat16 and float64 become float32; of a file of several networks the averaged one is read, and said.

    Raises:
        ValueError: the file needs code, is damaged, is something else, or does not hold named tensors of finite numbers
            that a network computes with.
    """
    from dpmot.device import ordinary

    if ".index." in path.name:
        return _of_shards(path)
    with path.open("rb") as file:
        begins = file.read(64)
    for magic, what in OTHERS.items():
        if begins.startswith(magic):
            raise ValueError(f"{path} is {what}")
    safe = begins[4:9] == b"\0\0\0\0{"  # the length of a header, which may begin as other files do, and the header
    saved = begins[:2] == b"PK" or OLDER_FORM in begins
    if not (safe or saved) and (begins[:1] == b"\x80" or path.suffix == ".pkl"):
        raise ValueError(f"{path} is a pickle, which runs code when it is read, and is refused; {OF_PICKLE}")
    with ordinary():
        safe = safe or (path.suffix == ".safetensors" and not saved)
        content = _safetensors(path) if safe else _torch(path, begins)
        return dict(_computed_with(path, _one_network(path, content)))


def shards(index: Path) -> list[Path]:
    """The files that an index of shards names, in the order of their names.

    Raises:
        ValueError: the index is not one, or a file is not there.
    """
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        files = [index.parent / name for name in names]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{index} is no index of shards ({type(error).__name__}): download it again") from None
    if missing := [file.name for file in files if not file.is_file()]:
        raise ValueError(f"{index} names {missing[0]}, which is not beside it: download all shards")
    return files


def _of_shards(index: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for shard in shards(index):
        part = read_tensors(shard)
        if twice := sorted(tensors.keys() & part.keys()):
            raise ValueError(f"{shard} holds {twice[0]}, as another shard of {index.name} does: download them again")
        tensors |= part
    return tensors


def unwrapped(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], where: object) -> dict[str, Tensor]:
    """The tensors by the names ``expected``, without the prefix that a wrapper put before them.

    ``module.`` (DataParallel), ``_orig_mod.`` (torch.compile), ``model.``, ``ema_model.`` and any other. Of several
    networks in one file the averaged one is taken, and said; tensors that fit no network stay as they are.

    Raises:
        ValueError: several networks, and none or more than one called an average; or integers for weights.
    """
    probe = next(iter(expected), "")
    prefixes = [name.removesuffix(probe) for name in tensors if name.endswith(probe)]
    whole = [prefix for prefix in prefixes if all(prefix + name in tensors for name in expected)]
    left = [name for name, one in tensors.items() if not name.startswith(tuple(whole)) and one.numel() > 1]
    if whole and "" not in whole and not left:
        prefix = _averaged(whole, where)
        print(f"{where}: names are read without {prefix}", flush=True)
        tensors = {name: tensors[prefix + name] for name in expected}
    for name, tensor in tensors.items():
        if name in expected and tensor.is_floating_point() != expected[name].is_floating_point():
            raise ValueError(f"{where}: tensor {name} holds {tensor.dtype}, the network {expected[name].dtype}")
    return dict(tensors)


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file, or is damaged: {error}") from None


def _torch(path: Path, begins: bytes) -> Any:
    import torch

    if begins[:2] != b"PK" and OLDER_FORM not in begins:
        if tarfile.is_tarfile(path):
            raise ValueError(f"{path} is a tar archive, of torch before 0.2 or of files: save its tensors again")
        fault = f"is no file of torch.save and no safetensors file (it begins with {begins[:2]!r})"
        raise ValueError(f"{path} {fault}: download it again, or save its tensors as one of these")
    _refuse_bomb(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of formats, of which the errors below say more
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what its parts raise: KeyError, EOFError, OSError, RuntimeError, ...
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        members = _members(path) if begins[:2] == b"PK" else {"data.pkl": begins}
        protocol = members.get("data.pkl", b"")[:2]
        if "constants.pkl" in members:
            told = "is a TorchScript program, which runs code: save torch.jit.load(FILE).state_dict() by torch.save"
        elif members and "data.pkl" not in members:
            told = f"is a zip archive of something else ({', '.join(sorted(members)[:3])}): take the weights out of it"
        elif protocol in (b"\x80\x04", b"\x80\x05"):
            told = (
                f"was saved with pickle protocol {protocol[1]}, which is not read safely: save it with the default one"
            )
        elif isinstance(error, pickle.UnpicklingError):
            needed = re.search(r"GLOBAL (\S+)", str(error))
            reason = f"it needs {needed[1]}" if needed else reason
            told = f"cannot be read without running code, and is refused ({reason}); {OF_TORCH}"
        else:
            told = f"is damaged ({reason}): download it again"
        raise ValueError(f"{path} {told}") from None


def _refuse_bomb(path: Path) -> None:
    """torch.save compresses nothing: an archive that holds far more than its size would fill the memory."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(info.file_size for info in archive.infolist())
    except Exception:  # no archive, or a damaged one: torch says so
        return
    if size > EXPANDS * path.stat().st_size + 2**20:
        raise ValueError(f"{path} is a compressed archive of {size} bytes: save its tensors again with torch.save")


def _members(path: Path) -> dict[str, bytes]:
    """Names in a zip archive without their first folder, with how the files begin; none of a damaged one."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.split("/", 1)[-1]: archive.open(name).read(2) for name in archive.namelist()}
    except Exception:  # whatever is wrong with it
        return {}


def _one_network(path: Path, content: Any) -> Mapping[str, Tensor]:
    """The named tensors of a file's content: all of it, or those of its one network or one averaged network."""
    found = dict(_state_dicts(content))
    if not found:
        shown = ", ".join(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
        raise ValueError(
            f"{path} must hold named tensors and nothing else, found {shown[:200]}; save its state_dict alone"
        )
    if "" in found:
        return found[""]
    name = _averaged(list(found), path)
    print(f"{path}: reads {name} of {', '.join(map(str, content))}", flush=True)
    return found[name]


def _state_dicts(content: Any, at: str = "") -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    """Every mapping of names to tensors inside nested mappings, with the path to it."""
    from torch import Tensor

    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        return
    if content and all(isinstance(value, Tensor) for value in content.values()):
        if not at or any(value.is_floating_point() for value in content.values()):
            yield at, content
        return
    for key, value in content.items():
        yield from _state_dicts(value, f"{at}.{key}".lstrip("."))


def _averaged(names: list[str], where: object) -> str:
    """The only name, or the only one of an average."""
    averages = [name for name in names if AVERAGE.search(name.lower())]
    chosen = averages if len(names) > 1 else names
    if len(chosen) != 1:
        raise ValueError(f"{where} holds several networks: {', '.join(names)}; save the one that you mean alone")
    return chosen[0]


def _computed_with(path: Path, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Every tensor as a network takes it, with memory of its own: float32, or int64 of what is counted."""
    import torch

    taken = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64)
    if rounded := sorted({str(tensor.dtype) for tensor in tensors.values()} - {"torch.float32", "torch.int64"}):
        print(f"{path}: {', '.join(rounded).replace('torch.', '')} becomes float32", flush=True)
    for name, tensor in tensors.items():
        if tensor.dtype not in taken or tensor.layout != torch.strided or tensor.is_meta:
            kind = "no numbers" if tensor.is_meta else f"{tensor.layout} {tensor.dtype}".replace("torch.", "")
            told = "read are float32, float16, bfloat16 and float64: save the weights as one of these"
            raise ValueError(f"{path}: tensor {name} holds {kind.removeprefix('strided ')}; {told}")
        tensor = tensor.detach().to(tensor.dtype if tensor.dtype == torch.int64 else torch.float32, copy=True)
        if not tensor.isfinite().all():
            raise ValueError(f"{path}: tensor {name} holds NaN or infinity; these are no weights of a trained network")
        yield name, tensor.contiguous()
