"""``dpmot status``: what of an experiment is done, runs, waits or failed, and how long the rest will take."""

import csv
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap

import psutil

from dpmot.experiment.cost import committed
from dpmot.experiment.layout import Layout
from dpmot.experiment.plan import Experiment
from dpmot.monitor import watch
from dpmot.monitor.folders import experiment
from dpmot.monitor.forecast import Forecast, Rates, Timing, duration, forecast
from dpmot.monitor.steps import Step, by_stage, steps
from dpmot.monitor.watch import Process, Seen
from dpmot.runtime.files import read_json

LOGGED = ("running", "failed", "stopped")  # what lines begin with that end in a line of a log
SHOWN = 12  # failed or running jobs, each on a line


def status(root: Path, *, width: int = 0) -> list[str]:
    """The lines of ``dpmot status`` for one results folder.

    Args:
        width: letters of a line; 0 asks the terminal, and cuts nothing where there is none.

    Raises:
        ValueError, OSError: as :func:`dpmot.monitor.folders.experiment`.
    """
    layout, given = Layout(root), experiment(root)
    running = watch.processes(root)
    cores = next((one.cores for one in running.values() if one.cores), None) or psutil.cpu_count() or 1
    found = steps(given, layout, cores=cores)
    state = Status(given, layout, watch.look(found, layout, running), running, cores)
    width = width or (shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000)
    return [line for told in state.lines() for line in _fitted(told, width)]


def _fitted(told: str, width: int) -> list[str]:
    """A line that fits: what a log says is cut, all else is wrapped."""
    if told.startswith(LOGGED):
        return [told if len(told) <= width else f"{told[: width - 1]}…"]
    return wrap(told, width, subsequent_indent=" " * 7, break_on_hyphens=False)


def before(given: Experiment, layout: Layout) -> dict[str, Timing]:
    """Timings by job of a run before this one: in the same folder, or the committed one of this configuration."""
    run = committed(given)
    paths = [layout.timings, *([run / "timings.csv"] if run else [])]
    found: dict[str, Timing] = {}
    for path in reversed([path for path in paths if path.is_file()]):
        found |= _walls(path)
    return found


def _walls(path: Path) -> dict[str, Timing]:
    """Seconds by job of a table of timings; nothing of one that is damaged: then less is known."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return {row["job"]: {"wall_s": float(row["wall_s"])} for row in csv.DictReader(file)}
    except (OSError, KeyError, TypeError, ValueError):
        return {}


def here(layout: Layout, found: Sequence[Step]) -> dict[str, Timing]:
    """Timings of the jobs that are done, by name."""
    rows = {step.name: watch.timing(layout, step.name) for step in found}
    return {name: row for name, row in rows.items() if {"wall_s", "arithmetic_s"} <= row.keys()}


@dataclass(frozen=True)
class Status:
    """What became of the jobs of an experiment."""

    given: Experiment
    layout: Layout
    seen: Sequence[Seen]
    running: Mapping[str, Process]
    cores: int

    def of(self, state: str) -> list[Seen]:
        """Jobs in a state, in order."""
        return [one for one in self.seen if one.state == state]

    def lines(self) -> Iterator[str]:
        """Everything, line by line; of a run that was not kept whole only that it is finished."""
        yield f"{self.given.experiment}: {self._word()}; {self.layout.root}, {self._fingerprint()}"
        if self._cleared:
            yield from self._shown()
            return
        yield f"jobs   {self._jobs()}"
        if any(one.step.cells for one in self.seen):
            yield f"cells  {self._cells()}"
        yield f"time   {self._time()}"
        for state in LOGGED:
            for number, one in enumerate(self.of(state)):
                if number == SHOWN:
                    yield f"         and {len(self.of(state)) - SHOWN} more"
                    break
                yield f"{state:7}  {self._line(one)}"
        for state in ("done", "waiting"):
            if grouped := by_stage(one.step for one in self.of(state)):
                yield f"{state:7}  {', '.join(f'{stage} ({len(some)})' for stage, some in grouped.items())}"
        yield from self._next()

    @property
    def _cleared(self) -> bool:
        """Whether it was measured, and what it was measured from is gone, as of the runs in results/reference/."""
        root = self.layout.root
        kept = any(path.exists() for path in (self.layout.data, root / "samples", root / "networks"))
        return self.layout.measured[-1].is_file() and not kept and len(self.of("waiting")) == len(self.seen)

    def _word(self) -> str:
        if self._cleared:
            return "finished; its samples and networks were not kept"
        if len(self.of("done")) == len(self.seen):
            return "finished"
        if not self.of("running"):
            return "failed" if self.of("failed") else "nothing runs"
        began = [one.run_started for one in self.running.values() if one.run_started]
        return f"running for {duration(time.time() - min(began))}" if began else "running"

    def _fingerprint(self) -> str:
        try:
            return f"fingerprint {read_json(self.layout.measured[-1])['fingerprint']}"
        except (OSError, ValueError, KeyError):
            return "not measured yet"

    def _jobs(self) -> str:
        counts = Counter(one.state for one in self.seen)
        told = [f"{counts[state]} {state}" for state in ("running", "waiting", "failed", "stopped") if counts[state]]
        return ", ".join([f"{counts['done']} of {len(self.seen)} done", *told])

    def _cells(self) -> str:
        """Cells are drawn one after the other: a job that runs has one in hand."""
        drawn, every = sum(one.drawn for one in self.seen), sum(len(one.step.cells) for one in self.seen)
        hand = sum(one.drawn < len(one.step.cells) for one in self.of("running"))
        lost = sum(len(one.step.cells) - one.drawn for one in self.of("failed"))
        waiting, skipped = every - drawn - hand - lost, sum(one.step.skipped for one in self.seen)
        told = [f"{drawn} of {every} done"]
        told += [f"{number} {word}" for number, word in ((hand, "running"), (waiting, "waiting"), (lost, "failed"))]
        told = [one for one in told if not one.startswith("0 ") or one.endswith("done")]
        return ", ".join(told) + (f"; {skipped} skipped, `dpmot plan` says why" if skipped else "")

    def _time(self) -> str:
        own = [
            one for one in self.seen if one.step.stage not in ("merge", "gather")
        ]  # which hold their shards' seconds
        spent = sum(one.seconds or 0.0 for one in own)
        told = f"{duration(spent)} of all jobs together so far"
        return told if len(self.of("done")) == len(self.seen) else f"{told}; {self.left()}"

    def left(self) -> Forecast:
        """What is left, as if a run went on now."""
        found = [one.step for one in self.seen]
        rates = Rates.of(found, here(self.layout, found), before(self.given, self.layout))
        todo = [one.step for one in self.seen if one.state != "done"]
        spent = {one.step.name: one.seconds or 0.0 for one in self.of("running")}
        return forecast(todo, rates, cores=self.cores, spent=spent)

    def _line(self, one: Seen) -> str:
        told = [duration(one.seconds)] if one.seconds is not None else []
        told += [f"{one.drawn} of {len(one.step.cells)} cells"] if one.step.cells else []
        return f"{one.step.name}  {'; '.join([*told, *([one.last] if one.last else [])])}"

    def _next(self) -> Iterator[str]:
        if self.of("failed"):
            yield f"logs in {self.layout.root / 'logs'}/JOB.log; run the same command again, and it goes on"
        elif not self.of("running") and len(self.of("done")) < len(self.seen):
            yield f"to go on: snakemake --cores all --configfile {self.layout.config}"
        elif not self.of("running"):
            yield from self._shown()

    def _shown(self) -> Iterator[str]:
        if any((self.layout.root / "tables").glob("table_1_*.csv")):
            yield f"dpmot show table_1 {self.layout.root} prints a table; words are explained in docs/glossary.md"
