"""One job of the workflow: what it is given, and what its result depends on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

Task = TypeVar("Task")
Maker = TypeVar("Maker")
Made = TypeVar("Made")
Given = ParamSpec("Given")


@dataclass(frozen=True)
class Job(Generic[Task]):
    """One job of the workflow.

    Attributes:
        stage: the file of dpmot/experiment/stages/ that runs it.
        name: of the job, its resume point and its timing.
        task: what to do.
        inputs, outputs: files.
        code: modules whose import closure its result depends on.
        threads: of the processor, each process's own.
        device: "cpu", "cuda" or "auto".
        processes: that do it together.
    """

    stage: str
    name: str
    task: Task
    inputs: tuple[Path, ...] = ()
    outputs: tuple[Path, ...] = ()
    code: tuple[str, ...] = ()
    threads: int = 1
    device: str = "cpu"
    processes: int = 1

    @property
    def cores(self) -> int:
        """Of the processor, all processes together."""
        return self.threads * self.processes

    @property
    def identity(self) -> dict[str, Any]:
        """What the result depends on beside code and inputs, as JSON has it."""
        return self.identity_of_pieces | ({"processes": self.processes} if self.processes > 1 else {})

    @property
    def identity_of_pieces(self) -> dict[str, Any]:
        """The same of what an unfinished run keeps, from which any number of processes goes on."""
        return {"stage": self.stage, "task": plain(self.task), "threads": self.threads, "device": self.device}


def plain(value: Any) -> Any:
    """Objects of a plan as JSON has them, without fields that do not compare: these change no result."""
    if hasattr(value, "plain"):
        return value.plain()
    if is_dataclass(value) and not isinstance(value, type):
        return {entry.name: plain(getattr(value, entry.name)) for entry in fields(value) if entry.compare}
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value


def once(method: Callable[Concatenate[Maker, Given], Made]) -> Callable[Concatenate[Maker, Given], Made]:
    """A method whose answer is kept on its object, for each argument: Snakemake asks for a job many times."""

    @wraps(method)
    def kept(self: Maker, *given: Given.args, **named: Given.kwargs) -> Made:
        known = vars(self).setdefault(f"_once_{method.__name__}", {})
        key = given, tuple(sorted(named.items()))
        if key not in known:
            known[key] = method(self, *given, **named)
        return known[key]

    return kept
