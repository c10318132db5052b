"""What an extractor accepts as images and as weights."""

from hashlib import file_digest
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def as_images(images: Tensor | np.ndarray, *, channels: tuple[int, ...]) -> Tensor:
    """Images as a tensor; anything but uint8 is refused, because a float in [0, 1] or [-1, 1] would pass silently.

    Args:
        images: uint8 (n, C, H, W), n >= 1.
        channels: the values of C that are allowed.

    Raises:
        ValueError: another type or shape, or no image.
    """
    images = torch.as_tensor(images)
    shape = tuple(images.shape)
    if images.dtype != torch.uint8 or len(shape) != 4 or shape[0] == 0 or shape[1] not in channels:
        allowed = " or ".join(map(str, channels))
        raise ValueError(
            f"Images must be uint8 (n, C, H, W) in 0..255 with n >= 1 and C = {allowed}, got {images.dtype} {shape}"
        )
    return images


def hub_file(name: str, url: str, *, sha256: str, download: bool, advice: str) -> Path:
    """A file of weights in torch's hub cache, put there by a download if allowed.

    Args:
        name: of the file.
        url: where it comes from.
        sha256: its first digits at least.
        download: whether it may be fetched.
        advice: what to do where it is not there, with {folder} for that of the cache.

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


def sha256_of(path: Path) -> str:
    """The hash of a file, 64 hex digits."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
