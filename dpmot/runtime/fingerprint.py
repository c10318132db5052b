"""Fingerprints: hashes of values and files, and the description of the machine that a number depends on."""

import hashlib
import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    *("diffusers", "numpy", "onnxruntime", "scikit-learn", "scipy", "torch", "torch-fidelity", "torchvision"),
    "transformers",
)


def digest(value: object) -> str:
    """sha256 of the canonical JSON of ``value``, 16 hex digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes, 16 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def environment(threads: int, device: str = "cpu") -> dict[str, str]:
    """Everything about the machine that may change the last bit: packages, processor features, threads, device."""
    import torch

    from dpmot.device import chosen, cpu_multiplies_bfloat16, described

    def installed(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return "not installed"

    rounds = " bfloat16" if cpu_multiplies_bfloat16() else ""  # a fit rounds there
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()} {torch.backends.cpu.get_cpu_capability()}{rounds}",
        "threads": str(threads),
        **({} if chosen(device).type == "cpu" else {"device": described(chosen(device))}),
        **{package: installed(package) for package in PACKAGES},
    }
