"""What a stage leaves on disk: files that appear whole or not at all, timings, fingerprints, resume points."""

import hashlib
import json
import os
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
ASIDE = 3
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


class Stopwatch:
    """Where a job's wall time went: start-up (interpreter and imports), arithmetic, input and output.

    ``images`` counts those that a training has seen. What an interrupted job had spent at its last checkpoint is
    carried on.
    """

    def __init__(self, job: str) -> None:
        self.job = job
        self.born = psutil.Process().create_time()
        self.startup = time.time() - self.born
        self.seconds, self.images = {"arithmetic": 0.0, "io": 0.0}, 0
        self._doing: list[str] = []  # the contexts entered, the innermost last
        self._since = time.perf_counter()
        self._before = {"startup": 0.0, "arithmetic": 0.0, "io": 0.0, "wall": 0.0, "images": 0, "peak_mb": 0.0}

    def _account(self) -> None:
        now = time.perf_counter()
        if self._doing:
            self.seconds[self._doing[-1]] += now - self._since
        self._since = now

    @contextmanager
    def _measure(self, kind: str) -> Iterator[None]:
        self._account()
        self._doing.append(kind)
        try:
            yield
        finally:
            self._account()
            self._doing.pop()

    def arithmetic(self):
        """Context: network evaluations and matrix arithmetic."""
        return self._measure("arithmetic")

    def io(self):
        """Context: reading and writing files."""
        return self._measure("io")

    def go_on(self, spent: Mapping[str, float]) -> None:
        """Add to what an earlier part of the job had :meth:`spent`."""
        self._before |= spent

    def spent(self) -> dict[str, float]:
        """Seconds, images and peak memory so far, those before interruptions included."""
        self._account()
        now = {"startup": self.startup, **self.seconds, "wall": time.time() - self.born, "images": self.images}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
        summed = {key: self._before[key] + value for key, value in now.items()}
        return {**summed, "peak_mb": max(peak, self._before["peak_mb"])}

    def write(self, folder: Path) -> None:
        """Write ``folder/<job>.json``: seconds (start-up, arithmetic, io, wall), peak memory in MB, images a second."""
        spent = self.spent()
        row = {"job": self.job}
        row |= {f"{key}_s": round(spent[key], 3) for key in ("startup", "arithmetic", "io", "wall")}
        row["peak_mb"] = round(spent["peak_mb"], 1)
        if spent["images"]:
            row["images_per_s"] = round(spent["images"] / spent["arithmetic"], 1)
        write_json(Path(folder) / f"{self.job}.json", row)


class ResumePoint:
    """A side folder with the finished pieces of one stage, valid for one identity only.

    ``identity`` names everything the pieces depend on (config, code, input files). State that was made by another
    identity is not used: it is set aside, which is said, and found again by its own identity; of such states the last
    ``ASIDE`` are kept. No rule of the workflow declares the folder, so Snakemake never deletes it. One process at a
    time: a lock that the system takes back when the process ends.

    Raises:
        ValueError: another process uses the folder.
    """

    def __init__(self, folder: Path, identity: Mapping[str, object]) -> None:
        self.folder = Path(folder)
        self._lock = locked(self.folder)
        current = {key: digest(value) for key, value in identity.items()}
        if self.folder.exists():
            self._check(current)
        mine = self._aside(current)
        if mine.exists() and not self.folder.exists():
            mine.rename(self.folder)
            print(f"resume: going on with {mine.name}, which was set aside", flush=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / MANIFEST, current)

    def _check(self, current: Mapping[str, str]) -> None:
        """Set aside what another identity has made; remove what nobody has."""
        try:
            stored = read_json(self.folder / MANIFEST)
        except (OSError, ValueError):
            print(f"resume: {self.folder} has no identity; starting afresh", flush=True)
            return _remove(self.folder)
        if stored != current:
            changed = ", ".join(sorted(k for k in {*stored, *current} if stored.get(k) != current.get(k)))
            aside = self._aside(stored)
            _remove(aside)
            self.folder.rename(aside)
            os.utime(aside)
            others = {*self.folder.parent.glob(f"{self.folder.name}.{'[0-9a-f]' * 16}")} - {self._aside(current)}
            for old in sorted(others, key=lambda one: one.stat().st_mtime)[:-ASIDE]:
                _remove(old)
            print(
                f"resume: {self.folder} was made with another {changed}; set aside as {aside.name}, starting afresh",
                flush=True,
            )

    def _aside(self, identity: Mapping[str, str]) -> Path:
        return self.folder.with_name(f"{self.folder.name}.{digest(identity)}")

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
        _remove(self.folder)


def _remove(folder: Path) -> None:
    if folder.exists():
        # the manifest last: pieces without one are nobody's
        for file in sorted(folder.iterdir(), key=lambda file: file.name == MANIFEST):
            file.unlink(missing_ok=True)
        folder.rmdir()
