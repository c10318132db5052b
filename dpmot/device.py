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


def cpu_multiplies_bfloat16() -> bool:
    """Whether the processor has instructions for it."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict[str, bool])()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def keep_freed_memory() -> bool:
    """Let this process keep the memory it frees, for good; whether its C library, glibc, takes that.

    Activations are freed and asked for at every layer, and what goes back to the system comes back as fresh pages: a
    tenth to a seventh of a small network's time (benchmarks/evaluation.py). Blocks of 32 MiB and more still go back.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT) and libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
