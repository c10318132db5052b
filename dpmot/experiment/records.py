"""What a stage leaves on disk: files that appear whole or not at all, timings, fingerprints, resume points."""

import errno
import fcntl
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
from typing import IO

import psutil

MANIFEST = "identity.json"
PACKAGES = ("numpy", "scikit-learn", "scipy", "torch", "torch-fidelity", "torchvision")


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``; on success it is synced to disk and renamed onto ``path``."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())  # some writers make files that only their owner may read
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict:
    """Read a JSON object.

    Raises:
        ValueError: the file holds none; the message names it.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}; delete it and run again") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged: it holds no JSON object; delete it and run again")
    return found


def digest(value: object) -> str:
    """sha256 of the canonical JSON of ``value``, 16 hex digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes, 16 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def environment(threads: int) -> dict[str, str]:
    """Everything about the machine that may change the last bit: packages, processor features, threads."""
    import torch

    def installed(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return "not installed"

    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "threads": str(threads),
        **{package: installed(package) for package in PACKAGES},
    }


class Stopwatch:
    """Where a job's wall time went: start-up (interpreter and imports), arithmetic, input and output."""

    def __init__(self, job: str) -> None:
        self.job = job
        self.born = psutil.Process().create_time()
        self.startup = time.time() - self.born
        self.seconds = {"arithmetic": 0.0, "io": 0.0}

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
        """Write ``folder/<job>.json``: seconds (start-up, arithmetic, io, wall) and peak memory in MB."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
        row = {
            "job": self.job,
            "startup_s": round(self.startup, 3),
            "arithmetic_s": round(self.seconds["arithmetic"], 3),
            "io_s": round(self.seconds["io"], 3),
            "wall_s": round(time.time() - self.born, 3),
            "peak_mb": round(peak, 1),
        }
        write_json(Path(folder) / f"{self.job}.json", row)


def _locked(folder: Path) -> IO:
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = folder.with_name(f"{folder.name}.lock")
    while True:
        lock = open(path, "w")  # noqa: SIM115 - held as long as the process lives
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(lock.fileno()), path.stat()):
                return lock  # and not a file that its last holder has just removed
        except OSError as error:
            lock.close()
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            raise ValueError(f"{folder} is in use by another process: wait until it ends, or stop it") from None
        lock.close()


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
        self._lock = _locked(self.folder)
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
