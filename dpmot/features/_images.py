"""What an extractor accepts as images and as weights, and how a network sees images."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from hashlib import file_digest
from hashlib import sha256 as new_sha256
from io import BytesIO
from pathlib import Path
from re import sub
from threading import local

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.modules.module import register_module_forward_pre_hook

from dpmot.features import Extractor, Features, loaded_once
from dpmot.tiles import in_tiles

THREAD = local()


def as_images(images: Tensor | np.ndarray, extractor: str) -> Tensor:
    """uint8 images (n, C, H, W), n >= 1, as a tensor; floats are refused, for those in [0, 1] would pass silently.

    Raises:
        ValueError: another type, no image, or a shape that the extractor of this name does not take.
    """
    try:
        images = torch.as_tensor(images)
    except (TypeError, ValueError, RuntimeError) as error:
        told = f"{type(images).__name__}: {' '.join(str(error).split())[:100]}"
        raise ValueError(f"Images must be a uint8 tensor or array (n, C, H, W), got {told}") from None
    shape, stated = tuple(images.shape), Extractor(extractor)
    allowed = " or ".join(map(str, stated.channels))
    if images.dtype != torch.uint8 or len(shape) != 4 or shape[0] == 0 or shape[1] not in stated.channels:
        raise ValueError(
            f"Images must be uint8 (n, C, H, W) in 0..255 with n >= 1 and C = {allowed}, got {images.dtype} {shape}"
        )
    if reason := stated.takes(shape[1:]):
        raise ValueError(reason)
    return images


def rgb(images: Tensor | np.ndarray, extractor: str) -> Tensor:
    """uint8 images (n, C, H, W), grey ones repeated to three channels; see :func:`as_images`."""
    return as_images(images, extractor).expand(-1, 3, -1, -1)


def seen(name: str, network: Callable[[Tensor], tuple[Tensor, ...]], images: Tensor, tile: int = 0) -> Features:
    """Features of the extractor ``name``: its network gives (values,) of a tile of images, or (values, logits)."""
    values, *logits = in_tiles(network, images, tile=tile or None)
    probabilities = logits[0].softmax(1).cpu().numpy() if logits else None
    return Features(values=values.cpu().numpy(), extractor=name, probabilities=probabilities)


@contextmanager
def evaluating() -> Iterator[None]:
    """Inside, a network that this thread calls is in evaluation mode, whoever made it: dropout would be noise."""
    _watch_networks()
    outside, THREAD.evaluates = getattr(THREAD, "evaluates", False), True
    try:
        yield
    finally:
        THREAD.evaluates = outside


@loaded_once
def _watch_networks() -> None:
    """For good: hooks that come and go while another thread's network runs would break it."""

    def evaluate(network: Module, _: object) -> None:
        if network.training and getattr(THREAD, "evaluates", False):
            network.eval()

    register_module_forward_pre_hook(evaluate)


def tensors_of(path: Path, content: bytes | None = None) -> dict[str, Tensor]:
    """The floating-point tensors and counts of a file of weights, by name without the prefixes of wrapped networks.

    ``content`` is what was read of it already.

    Raises:
        ValueError: no file of tensors, or tensors of other types.
    """
    try:
        stored = torch.load(path if content is None else BytesIO(content), weights_only=True, map_location="cpu")
        stored = stored.get("state_dict", stored)
        found = {sub(r"^((module|_orig_mod)\.)+", "", name): tensor for name, tensor in stored.items()}
        wrong = [name for name, t in found.items() if not t.is_floating_point() and "num_batches" not in name]
    except Exception as error:  # of whatever kind unpickling has
        told = " ".join(str(error).split())[:100]
        raise ValueError(f"{path} is no file of weights ({type(error).__name__}: {told})") from None
    if wrong:
        raise ValueError(f"{path}: {wrong[0]} is {found[wrong[0]].dtype}, floats are allowed")
    return found


def hub_file(name: str, url: str, *, sha256: str, download: bool, advice: str) -> Path:
    """A file of weights in torch's hub cache; where it is not there, it is fetched if ``download`` allows that.

    The first digits of its ``sha256`` are enough. ``advice`` says what to do, with {folder} for that of the cache.

    Raises:
        FileNotFoundError: it is not there and may not be fetched.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not path.is_file():
        if not download:
            raise FileNotFoundError(f"{advice.format(folder=path.parent)}, or set download: true")
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=sha256)
    return path


def read_once(weights: Path) -> tuple[bytes, str]:
    """Bytes of a file of weights and their hash, 64 hex digits: what is loaded is what was checked and named."""
    content = Path(weights).read_bytes()
    return content, new_sha256(content).hexdigest()


def named(extractor: str, weights: Path | str, sha256: str) -> str:
    """The extractor's name where the weights have its known ``sha256``, else with the first digits of their own.

    ``weights`` are a file, or the hash of what was loaded of it.

    The name is part of every metric's: numbers of a stand-in never bear the name of the network that it stands for.
    """
    own = sha256_of(weights) if isinstance(weights, Path) else weights
    return extractor if own == sha256 else f"{extractor}-{own[:8]}"


def sha256_of(path: Path) -> str:
    """The hash of a file, 64 hex digits."""
    path = Path(path).resolve()
    state = path.stat()
    return _sha256_of(path, state.st_mtime_ns, state.st_size)


@lru_cache
def _sha256_of(path: Path, *_: int) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
