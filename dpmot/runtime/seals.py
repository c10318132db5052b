"""Tensors in files that know whether they are whole: safetensors whose metadata hold a hash of their content.

A file that was cut short, overwritten or put in another's place is refused instead of read. Files of others have no
such hash; asked for without a name they are read as they are. No file is ever unpickled.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from safetensors import SafetensorError, safe_open

if TYPE_CHECKING:
    from torch import Tensor

SEAL = "sealed"  # one entry for all texts: the format keeps no order of entries, and equal runs must give equal bytes


class Damaged(ValueError):
    """A file that does not hold what was written to it; the message names it."""


class Checkpoint(Protocol):
    """Stores the tensors and facts of unfinished work between interruptions; facts are plain JSON."""

    def load(self) -> "tuple[dict[str, Tensor], dict] | None": ...
    def save(self, tensors: "Mapping[str, Tensor]", facts: Mapping) -> None: ...


def save(path: Path, tensors: "Mapping[str, Tensor]", texts: Mapping[str, str], *, name: str = "") -> None:
    """Write tensors and texts; ``name`` is what the file must be asked for by.

    Raises:
        OSError: the file cannot be written.
    """
    from safetensors.torch import save_file

    tensors = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    owners = {value.untyped_storage().data_ptr(): key for key, value in tensors.items()}  # the format shares no memory
    tensors = {k: v if owners[v.untyped_storage().data_ptr()] == k else v.clone() for k, v in tensors.items()}
    sealed = {"texts": dict(texts), "name": name, "content": _digest(tensors, texts)}
    try:
        save_file(tensors, path, {SEAL: json.dumps(sealed, sort_keys=True)})
    except SafetensorError as error:
        raise OSError(f"{path} cannot be written: {error}") from None


def load(path: Path, *, name: str = "") -> "tuple[dict[str, Tensor], dict[str, str]]":
    """Tensors and texts of a file.

    Raises:
        FileNotFoundError: no such file.
        Damaged: it is no safetensors file, is not whole, or was written by another name than ``name``.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No file {path}: run the stage that writes it, or correct the path")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        texts, sealed = texts_of(metadata), json.loads(metadata.get(SEAL, "{}"))
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise Damaged(f"{path} is damaged: {error}; delete it and run again") from None
    if "content" in sealed and sealed["content"] != _digest(tensors, texts):
        raise Damaged(f"{path} is damaged: its content is not what was written; delete it and run again")
    if name and sealed.get("name") != name:
        written = f"was written as {sealed['name']}" if "name" in sealed else "has no seal (an earlier version?)"
        raise Damaged(f"{path} is damaged: it {written}; delete it and run again")
    return tensors, texts


def header(path: Path) -> dict[str, str]:
    """The texts of a safetensors file, read without its tensors.

    Raises:
        Damaged: it is no safetensors file.
    """
    try:
        with safe_open(path, framework="np") as file:
            return texts_of(file.metadata())
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise Damaged(f"{path} is no safetensors file, or is damaged: {error}") from None


def texts_of(metadata: Mapping[str, str] | None) -> dict[str, str]:
    """The texts in the metadata of a safetensors file, sealed or not."""
    metadata = dict(metadata or {})
    return metadata | json.loads(metadata.pop(SEAL, "{}")).get("texts", {})


def _digest(tensors: "Mapping[str, Tensor]", texts: Mapping[str, str]) -> str:
    import torch

    content = hashlib.sha256(json.dumps(dict(texts), sort_keys=True).encode())
    for key in sorted(tensors):
        value = tensors[key].cpu().contiguous()
        content.update(f"{key}{value.dtype}{tuple(value.shape)}".encode())
        content.update(value.flatten().view(torch.uint8).numpy().data)
    return content.hexdigest()
