"""Where networks run, a processor or a CUDA device, and in what state of torch and numpy."""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock
from typing import Any

import numpy as np
import torch

LARGEST_KEPT = 32 * 2**20  # bytes; the most that glibc's M_MMAP_THRESHOLD takes
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h

NAMES = ("cpu", "cuda", "auto")
BACKENDS: Any = torch.backends  # whose annotations lack some of these
PRODUCTS = (BACKENDS.mkldnn.matmul, BACKENDS.mkldnn.conv, BACKENDS.cuda.matmul)
FOUND: list[list[tuple[torch.dtype, str | None, list[str]]]] = []  # by those who are in `ordinary`, the first first
LOCK = Lock()


@contextmanager
def ordinary(*, grad: bool | None = None) -> Iterator[None]:
    """Inside, torch and numpy are as in a fresh process, whatever the caller set for all code: ``@ordinary()``.

    Default dtype float32 and device cpu, no autocast, no inference mode, float32 products in float32, numpy's errors
    warnings. A number that the caller gets must not depend on any of these.

    Args:
        grad: record gradients or not; None as the caller has it.
    """
    grad = torch.is_grad_enabled() if grad is None else grad  # which leaving inference mode would switch on
    with ExitStack() as stack:
        stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        stack.enter_context(torch.set_grad_enabled(grad))
        stack.enter_context(_of_all_threads())
        yield


@contextmanager
def _of_all_threads() -> Iterator[None]:
    """What torch keeps for all threads: one that leaves before a later one does hands on what it found."""
    with LOCK:
        found = [(torch.get_default_dtype(), *_precision())]
        FOUND.append(found)
        _set(torch.float32, "highest", ["ieee"] * len(PRODUCTS))
    try:
        yield
    finally:
        with LOCK:
            place = next(k for k, other in enumerate(FOUND) if other is found)
            del FOUND[place]
            if place < len(FOUND):
                FOUND[place][:] = found
            else:
                _set(*found[0])


def _precision() -> tuple[str | None, list[str]]:
    """Of float32 products, by torch's one name for all, None where there is none, and by its newer names."""
    try:
        name = torch.get_float32_matmul_precision()
    except RuntimeError:  # the newer names were set apart
        name = None
    return name, [product.fp32_precision for product in PRODUCTS]


def _set(dtype: torch.dtype, name: str | None, newer: list[str]) -> None:
    torch.set_default_dtype(dtype)
    if name:
        torch.set_float32_matmul_precision(name)  # or its getter complains of a mixture
    for product, value in zip(PRODUCTS, newer, strict=True):
        product.fp32_precision = value


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
