"""What every stage shares: threads, timings, the prepared data, and a resume point bound to config, code and inputs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from dpmot import images as pixels
from dpmot.experiment.records import ResumePoint, Stopwatch, atomic, environment, file_digest
from dpmot.experiment.sources import code_digest


class Fault(ArithmeticError):
    """Numbers that are NaN or infinite; ``batch`` is what they came from, kept for whoever looks for the cause."""

    def __init__(self, message: str, batch: Mapping[str, Tensor]) -> None:
        super().__init__(message)
        self.batch = dict(batch)


@contextmanager
def session(job: Mapping, layout, inputs: Sequence[Path] = ()) -> Iterator["Session"]:
    """Run a stage: sets the thread count, opens its resume point, and on success writes timings and clears up.

    Raises:
        ArithmeticError: after a :class:`Fault`, whose batch is then in ``faults/<job>.safetensors``.
    """
    watch = Stopwatch(job["name"])
    torch.set_num_threads(job.get("threads", 1))
    identity = {"config": job, "code": code_digest(job["code"]), "inputs": [file_digest(path) for path in inputs]}
    identity["environment"] = environment(job.get("threads", 1))
    running = Session(watch, ResumePoint(layout.resume(job["name"]), identity))
    try:
        yield running
    except Fault as fault:
        path = layout.root / "faults" / f"{job['name']}.safetensors"
        running.save(path, fault.batch, {"facts": json.dumps({"message": str(fault)})})
        raise ArithmeticError(f"{fault}; the batch is in {path}") from None
    watch.write(layout.root / "timings")
    running.resume.clear()


@dataclass(frozen=True)
class Session:
    """A running stage."""

    watch: Stopwatch
    resume: ResumePoint

    def save(self, path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
        """Write a safetensors file whole or not at all."""
        with self.watch.io(), atomic(path) as temporary:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, dict(metadata))

    def checkpoint(self, name: str) -> "Checkpoint":
        """Training state under the resume point."""
        return Checkpoint(self, name)


@dataclass(frozen=True)
class Checkpoint:
    """Training state in one safetensors file; see :class:`dpmot.diffusion.training.Checkpoint`."""

    session: Session
    name: str

    def load(self) -> tuple[dict[str, Tensor], dict] | None:
        """The last state, or None."""
        path = self.session.resume.path(f"{self.name}.safetensors")
        if not path.exists():
            return None
        print(f"resume: continuing {self.name} from {path}", flush=True)
        return load_file(path), metadata(path)

    def save(self, tensors: Mapping[str, Tensor], facts: Mapping) -> None:
        """Replace the state."""
        path = self.session.resume.path(f"{self.name}.safetensors")
        self.session.save(path, tensors, {"facts": json.dumps(facts)})


def metadata(path: Path) -> dict:
    """The facts stored beside the tensors of a safetensors file."""
    with safe_open(path, framework="pt") as file:
        return json.loads((file.metadata() or {}).get("facts", "{}"))


@dataclass(frozen=True)
class Part:
    """One split of the prepared data.

    Attributes:
        raw: as stored: uint8 (n, C, H, W), or float32 points (n, d).
        labels: (n,) int64.
    """

    raw: Tensor
    labels: Tensor

    @property
    def floats(self) -> Tensor:
        """In the units of networks and samplers: [-1, 1] for images."""
        return decode(self.raw)


def decode(raw: Tensor) -> Tensor:
    """Stored images or points as floats; points are left as they are."""
    return pixels.to_float(raw) if raw.dtype == torch.uint8 else raw


def encode(x: Tensor, like: Tensor) -> Tensor:
    """Floats as they are stored: rounded to uint8 where the data are images."""
    return pixels.to_uint8(x) if like.dtype == torch.uint8 else x.to(like.dtype)


def read_data(path: Path) -> tuple[dict[str, Part], dict[str, Tensor], dict]:
    """The prepared data: parts A, B, C; the mixture's tensors where the data are one; facts."""
    tensors = load_file(path)
    parts = {name: Part(tensors[f"{name}/images"], tensors[f"{name}/labels"]) for name in "ABC"}
    mixture = {name.removeprefix("mixture/"): t for name, t in tensors.items() if name.startswith("mixture/")}
    return parts, mixture, metadata(path)
