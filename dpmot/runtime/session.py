"""A running stage: its threads, its timings, and a resume point that is bound to config, code and inputs."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from dpmot.device import keep_freed_memory
from dpmot.runtime import seals
from dpmot.runtime.closure import code_digest
from dpmot.runtime.files import atomic, read_json, write_json
from dpmot.runtime.fingerprint import digest, environment, file_digest
from dpmot.runtime.job import Job
from dpmot.runtime.resume import ResumePoint
from dpmot.runtime.stopwatch import Stopwatch

SPENT = ".spent"  # seconds of the parts of an interrupted job; no piece has such a name


class Fault(ArithmeticError):
    """Numbers that are NaN or infinite; ``batch`` holds the tensors they came from, for whoever looks for the cause."""

    def __init__(self, message: str, batch: Mapping[str, Tensor]) -> None:
        super().__init__(message)
        self.batch = dict(batch)


class Layout(Protocol):
    """What a session needs of a results folder; see :class:`dpmot.experiment.layout.Layout`."""

    @property
    def root(self) -> Path: ...
    def resume(self, job: str) -> Path: ...


@contextmanager
def session(job: Job, layout: Layout) -> Iterator["Session"]:
    """Run a stage: sets the thread count, opens its resume point, and on success writes timings and clears up.

    Raises:
        ArithmeticError: after a :class:`Fault`, whose batch is then in ``faults/<job>.safetensors``.
    """
    watch = Stopwatch(job.name)
    torch.set_num_threads(job.threads)
    keep_freed_memory()
    for path in job.inputs:
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path} is not there: run the stage that writes it, or all with `snakemake`")
    read = [*map(file_digest, job.inputs)]
    identity = {"config": job.identity_of_pieces, "code": code_digest(job.code), "inputs": read}
    identity["environment"] = environment(job.threads, job.device)
    running = Session(watch, ResumePoint(layout.resume(job.name), identity))
    watch.go_on(running.kept_json(SPENT) or {})
    try:
        yield running
    except Fault as fault:
        path = layout.root / "faults" / f"{job.name}.safetensors"
        try:
            running.save(path, fault.batch, {"facts": json.dumps({"message": str(fault)})})
        except (OSError, RuntimeError) as error:
            raise ArithmeticError(f"{fault}; the batch could not be kept: {error}") from None
        raise ArithmeticError(f"{fault}; the batch is in {path}") from None
    watch.write(layout.root / "timings")
    running.resume.finish()


@dataclass(frozen=True)
class Session:
    """A running stage."""

    watch: Stopwatch
    resume: ResumePoint

    def save(self, path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
        """Write a safetensors file whole or not at all."""
        with self.watch.io(), atomic(path) as temporary:
            seals.save(temporary, tensors, metadata, name=path.name)

    def keep(self, name: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
        """Put a piece under the resume point; the one before it stays until the next."""
        path = self.resume.path(f"{name}.safetensors")
        if path.exists():
            os.replace(path, _previous(path))
        self.save(path, tensors, metadata)
        self._keep_json(SPENT, self.watch.spent())

    def kept(self, name: str) -> tuple[dict[str, Tensor], dict[str, str]] | None:
        """A piece under the resume point, the one before it if that is damaged, or None; what is damaged is said."""
        path = self.resume.path(f"{name}.safetensors")
        for candidate in (path, _previous(path)):
            try:
                return seals.load(candidate, name=path.name)
            except FileNotFoundError:
                continue
            except seals.Damaged as error:
                print(f"resume: {error}; going back", flush=True)
                candidate.unlink()  # lest it replace the whole one before it
        return None

    def keep_json(self, name: str, value: object) -> None:
        """Put a value under the resume point, in JSON."""
        self._keep_json(name, value)
        self._keep_json(SPENT, self.watch.spent())

    def _keep_json(self, name: str, value: object) -> None:
        write_json(self.resume.path(f"{name}.json"), {"content": digest(value), "value": value})

    def kept_json(self, name: str) -> Any:
        """A value that was kept, or None; what is damaged is said."""
        path = self.resume.path(f"{name}.json")
        if not path.exists():
            return None
        try:
            stored = read_json(path)
            if stored["content"] == digest(stored["value"]):
                return stored["value"]
        except (ValueError, KeyError, TypeError):
            pass
        print(f"resume: {path} is damaged; going back", flush=True)
        return None

    def checkpoint(self, name: str) -> "Checkpoint":
        """Training state under the resume point."""
        return Checkpoint(self, name)


@dataclass(frozen=True)
class Checkpoint:
    """Training state in one safetensors file; see :class:`dpmot.runtime.seals.Checkpoint`."""

    session: Session
    name: str

    def load(self) -> tuple[dict[str, Tensor], dict] | None:
        """The last state, or None."""
        if (state := self.session.kept(self.name)) is None:
            return None
        print(f"resume: continuing {self.name} from {self.session.resume.folder}", flush=True)
        return state[0], json.loads(state[1]["facts"])

    def save(self, tensors: Mapping[str, Tensor], facts: Mapping) -> None:
        """Replace the state."""
        self.session.keep(self.name, tensors, {"facts": json.dumps(facts)})


def _previous(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")
