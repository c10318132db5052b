"""What became of every job, read from the files of a results folder and from the processes of this machine.

A job is done where its outputs are there, none older than what it read, and all that it needs is done; running where a
process of this machine runs it, or its log still shows new progress (as on a cluster); failed where its log ends in
something else than progress; stopped where a process left off in the middle, as after Ctrl-C. Nothing is written.
"""

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from dpmot.experiment.layout import Layout
from dpmot.monitor.steps import Step
from dpmot.runtime.files import read_json

State = Literal["done", "running", "failed", "stopped", "waiting"]
FRESH = 120  # seconds in which the log of a job that runs elsewhere moves
SHARDS = ("sample_shard", "measure_shard")
TAIL = 8192  # bytes of a log that are looked at
PROGRESS = re.compile(r"\d+%\||\d+/\d+ \[|it/s|s/it")
LEFT_OFF = re.compile(r"^KeyboardInterrupt$|: interrupted\b")  # last lines after Ctrl-C


@dataclass(frozen=True)
class Process:
    """A process that runs a job, and the run of Snakemake that started it."""

    job: str
    started: float
    run_started: float | None = None
    cores: int | None = None


@dataclass(frozen=True)
class Seen:
    """What became of one job.

    Attributes:
        step: the job.
        state: see the module.
        seconds: it took, or has run so far; None where that is not known.
        drawn: of its cells, those that are drawn.
        last: the last line of its log.
    """

    step: Step
    state: State
    seconds: float | None = None
    drawn: int = 0
    last: str = ""


def look(found: list[Step], layout: Layout, processes: Mapping[str, Process]) -> list[Seen]:
    """What became of every step, in the same order; ``processes`` by job."""
    seen: dict[str, Seen] = {}
    written = {step.name: _oldest(step) for step in found}
    latest = {step.name: max(map(_changed, step.outputs), default=0.0) for step in found}
    for step in found:
        ready = all(seen[need].state == "done" for need in step.needs if need in seen)
        newest = max((latest[need] for need in step.needs if need in latest), default=0.0)
        process = _process_of(step, processes)
        made = written[step.name] is not None and process is None
        if made and ready and (written[step.name] or 0) >= newest - 1:  # clocks of file systems differ by less
            seen[step.name] = Seen(step, "done", wall(layout, step.name), len(step.cells))
        else:
            seen[step.name] = _unfinished(step, layout, process, started=not made)
    return list(seen.values())


def _unfinished(step: Step, layout: Layout, process: Process | None, *, started: bool) -> Seen:
    log = layout.root / "logs" / f"{step.name}.log"
    drawn, last = min(_drawn(layout, step), len(step.cells)), last_line(log)
    if process:
        return Seen(step, "running", time.time() - process.started, drawn, last)
    if not (log.is_file() and started):
        return Seen(step, "waiting", drawn=drawn)
    moving, left_off = not last or PROGRESS.search(last), LEFT_OFF.search(last)
    if moving and time.time() - log.stat().st_mtime < FRESH:
        return Seen(step, "running", None, drawn, last)
    return Seen(step, "stopped" if moving or left_off else "failed", None, drawn, last)


def _drawn(layout: Layout, step: Step) -> int:
    """Cells that an unfinished job has kept."""
    return sum((layout.resume(step.name) / f"{key}.safetensors").is_file() for key in step.cells)


def _changed(path: Path) -> float:
    return path.stat().st_mtime if path.is_file() else 0.0


def _oldest(step: Step) -> float | None:
    """When the oldest output was written; None where one is not there."""
    times = [_changed(path) for path in step.outputs]
    return min(times) if all(times) else None


def wall(layout: Layout, name: str) -> float | None:
    """Seconds that a finished job took."""
    return timing(layout, name).get("wall_s")


def timing(layout: Layout, name: str) -> Mapping[str, float]:
    """Where the time of a finished job went; empty where it is not known."""
    try:
        return read_json(layout.timing(name))
    except (OSError, ValueError):
        return {}


def last_line(log: Path) -> str:
    """The last line of a log that is not empty; of a bar that was drawn over and over, its last state."""
    lines = [line.strip() for line in tail(log) if line.strip()]
    return lines[-1] if lines else ""


def tail(log: Path) -> list[str]:
    """The last lines of a log, those of a progress bar one by one."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL))
            return re.split(r"[\r\n]+", file.read().decode("utf-8", "replace"))
    except OSError:
        return []


def processes(root: Path) -> dict[str, Process]:
    """Jobs of a results folder that run on this machine now, by name."""
    return {one.job: one for one in _running(root.resolve())}


def _running(root: Path) -> Iterator[Process]:
    for process in psutil.process_iter(["cmdline", "create_time"]):
        job, path = _job(process.info["cmdline"] or [])
        if not job:
            continue
        try:
            here = Path(process.cwd())
            if (here / path).resolve() not in (root, root / "experiment.json"):
                continue
            started, cores = _run_of(process)
        except (psutil.Error, OSError):
            continue  # it has ended, or is another user's
        yield Process(job, process.info["create_time"], started, cores)


def _job(words: list[str]) -> tuple[str, str]:
    """The job that a command line runs, and the path by which it is told its folder; "" for another command."""
    for place, word in enumerate(words[:4]):
        given = words[place + 1 :]
        if word.startswith("paper_figures.") and "--results" in given:
            return word.removeprefix("paper_figures."), _after(given, "--results")
        if re.split(r"[/\\]", word)[-1] in ("dpmot", "dpmot.exe") and "--configfile" in given:
            names = [one for one in given[: given.index("--configfile")] if not one.startswith("-") and one.strip()]
            names = names[:2] if names[:1] != ["measure"] else names[:1]
            shard = _after(given, "--shard")
            return _shard("_".join(names), shard) if shard else "_".join(names), _after(given, "--configfile")
    return "", ""


def _after(words: list[str], option: str) -> str:
    rest = words[words.index(option) + 1 :] if option in words else []
    return rest[0] if rest else ""


def _shard(job: str, number: str) -> str:
    """A shard by its beginning: its process does not say of how many it is one."""
    return f"{job}_{number}-of-" if job == "measure" else f"{job}-{number}-of-"


def _process_of(step: Step, processes: Mapping[str, Process]) -> Process | None:
    name = f"{step.name.rpartition('-of-')[0]}-of-" if step.stage in SHARDS else step.name
    return processes.get(name)


def _run_of(process: psutil.Process) -> tuple[float | None, int | None]:
    """When the run of Snakemake began that a process belongs to, and its cores."""
    for parent in process.parents():
        words = parent.cmdline()
        if any(re.split(r"[/\\]", word)[-1] == "snakemake" for word in words[:4]):
            given = next((words[k + 1] for k, word in enumerate(words[:-1]) if word in ("--cores", "-c", "-j")), "")
            cores = int(given) if given.isdecimal() else psutil.cpu_count()
            return parent.create_time(), cores
    return None, None
