"""What a stage leaves on disk: files that appear whole or not at all, timings, fingerprints, resume points."""

import hashlib
import json
import platform
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from dpmot.files import atomic, locked, read_json, write_json  # noqa: F401 - stages take them from here

MANIFEST = "identity.json"
PACKAGES = ("numpy", "scikit-learn", "scipy", "torch", "torch-fidelity", "torchvision", "transformers")


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

    from dpmot.device import chosen, described

    def installed(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return "not installed"

    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "threads": str(threads),
        **({} if chosen(device).type == "cpu" else {"device": described(chosen(device))}),
        **{package: installed(package) for package in PACKAGES},
    }


class Stopwatch:
    """Where a job's wall time went: start-up (interpreter and imports), arithmetic, input and output.

    ``images`` counts those that a training has seen since it was started or resumed.
    """

    def __init__(self, job: str) -> None:
        self.job = job
        self.born = psutil.Process().create_time()
        self.startup = time.time() - self.born
        self.seconds, self.images = {"arithmetic": 0.0, "io": 0.0}, 0

    @contextmanager
    def _measure(self, kind: str) -> Iterator[None]:
        begin, before = time.perf_counter(), sum(self.seconds.values())
        try:
            yield
        finally:
            inside = sum(self.seconds.values()) - before  # measured by contexts within this one
            self.seconds[kind] += time.perf_counter() - begin - inside

    def arithmetic(self):
        """Context: network evaluations and matrix arithmetic."""
        return self._measure("arithmetic")

    def io(self):
        """Context: reading and writing files."""
        return self._measure("io")

    def write(self, folder: Path) -> None:
        """Write ``folder/<job>.json``: seconds (start-up, arithmetic, io, wall), peak memory in MB, images a second."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
        row = {
            "job": self.job,
            "startup_s": round(self.startup, 3),
            "arithmetic_s": round(self.seconds["arithmetic"], 3),
            "io_s": round(self.seconds["io"], 3),
            "wall_s": round(time.time() - self.born, 3),
            "peak_mb": round(peak, 1),
        }
        if self.images:
            row["images_per_s"] = round(self.images / self.seconds["arithmetic"], 1)
        write_json(Path(folder) / f"{self.job}.json", row)


class ResumePoint:
    """A side folder with the finished pieces of one stage, valid for one identity only.

    ``identity`` names everything the pieces depend on (config, code, input files). State that was made
    by another identity is refused, said so, and removed. No rule of the workflow declares the folder, so
    Snakemake never deletes it. One process at a time: a lock that the system takes back when the process ends.

    Raises:
        ValueError: another process uses the folder.
    """

    def __init__(self, folder: Path, identity: Mapping[str, object]) -> None:
        self.folder = Path(folder)
        self._lock = locked(self.folder)
        manifest = self.folder / MANIFEST
        current = {key: digest(value) for key, value in identity.items()}
        if self.folder.exists():
            try:
                stored = read_json(manifest)
            except (OSError, ValueError):
                stored = {}
            if stored != current:
                changed = ", ".join(sorted(k for k in {*stored, *current} if stored.get(k) != current.get(k)))
                print(
                    f"resume: {self.folder} was made with another {changed or 'manifest'}; starting afresh", flush=True
                )
                self.clear()
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(manifest, current)

    def path(self, name: str) -> Path:
        """The file of piece ``name``; it exists once the piece was finished."""
        return self.folder / name

    def finish(self) -> None:
        """The stage is done: remove the folder, its pieces, and the lock."""
        self.clear()
        self.folder.with_name(f"{self.folder.name}.lock").unlink(missing_ok=True)
        self._lock.close()

    def clear(self) -> None:
        """Remove the folder and its pieces."""
        if self.folder.exists():
            # the manifest last: pieces without one are nobody's
            for file in sorted(self.folder.iterdir(), key=lambda file: file.name == MANIFEST):
                file.unlink(missing_ok=True)
            self.folder.rmdir()
