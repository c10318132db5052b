"""Where networks run: a processor, or a CUDA device."""

import torch

NAMES = ("cpu", "cuda", "auto")


def chosen(name: str) -> torch.device:
    """The device of a configuration: "auto" is a CUDA device where there is one, and float32 means float32 there.

    Raises:
        ValueError: another name, or "cuda" where torch sees none.
    """
    if name not in NAMES:
        raise ValueError(f'device: "{name}" is unknown; choose one of {", ".join(NAMES)}')
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ValueError('device: "cuda" is asked for, but torch sees none here; choose "cpu" or "auto"')
    if not available or name == "cpu":
        return torch.device("cpu")
    torch.backends.cudnn.allow_tf32 = False  # on by default, for convolutions
    return torch.device("cuda")


def described(device: torch.device) -> str:
    """Its name as far as results may depend on it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
