"""Where networks run: a processor, or a CUDA device."""

import ctypes
import platform

import torch

LARGEST_KEPT = 32 * 2**20  # bytes; the most that glibc's M_MMAP_THRESHOLD takes
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h

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


def keep_freed_memory(keep: bool = True) -> None:
    """Let this process keep the memory it frees, where its C library is glibc; elsewhere nothing changes.

    Activations are freed and asked for at every layer. What goes back to the system comes back as fresh pages, which
    costs a small network a sixth of its time (benchmarks/evaluation.py). False: as a process starts.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT if keep else 2**17)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1 if keep else 2**17)
