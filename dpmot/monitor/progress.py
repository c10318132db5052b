"""The lines of a run in the terminal: one a finished job, with the percent and the time left of the whole run.

:class:`Progress` is told the events of Snakemake's logger (``snakemake_interface_logger_plugins.common.LogEvent``) and
says what is to be printed; ``snakemake_logger_plugin_dpmot`` is the plug-in that hands them over. Everything that
Snakemake says stays in its own log, .snakemake/log/.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dpmot.experiment.config import ConfigError, load
from dpmot.experiment.layout import Layout
from dpmot.monitor.folders import experiment
from dpmot.monitor.forecast import Forecast, Rates, duration, forecast
from dpmot.monitor.status import before, here
from dpmot.monitor.steps import Step, by_stage, steps
from dpmot.monitor.watch import LEFT_OFF, PROGRESS, last_line, tail

RAISED = "RuleException:\nCalledProcessError in file"  # of a job that failed, whose log is shown
NOISE = (  # what Snakemake says of itself
    *(
        "Assuming unrestricted shared",
        "Building DAG of jobs",
        "Using shell",
        "Provided ",
        "Rules claiming more threads",
    ),
    *("Singularity containers", "Conda environments", "Group jobs: inactive", "Select jobs to execute", "Complete log"),
    *("Removing output files of failed job", "Shutting down, this might", "Elapsed time", "Will exit after finishing"),
    *("Exiting because a job execution failed", "WorkflowError:\nAt least one job did not complete successfully"),
    RAISED,
    *("Storing output in storage", "Updating checkpoint", "Processed "),
)
UNTOLD = ("workflow_started", "job_started", "progress", "rulegraph")
ABSENT = re.compile(r"FileNotFoundError: \[Errno \d+\] .*: '(.*)'")
STOPPING = "Terminating processes on user request"
SHOWN = 25  # last lines of the log of a job that failed
SILENCE = 60.0  # seconds after which it is said what runs
Event = Mapping[str, Any]  # attributes of a record of Snakemake's logger


@dataclass(frozen=True)
class Outlook:
    """What is known of the jobs of a results folder when a run begins."""

    layout: Layout
    found: Sequence[Step]
    before: Mapping[str, Any]
    cores: int
    made: frozenset[str]

    @classmethod
    def of(cls, root: Path, cores: int) -> "Outlook":
        """Of a results folder; a ValueError or OSError where its configuration cannot be read."""
        layout, given = Layout(root), experiment(root)
        found = steps(given, layout, cores=cores)
        made = frozenset(step.name for step in found if all(path.is_file() for path in step.outputs))
        return cls(layout, found, before(given, layout), cores, made)

    @cached_property
    def by_rule(self) -> dict[str, list[Step]]:
        """rule -> its steps; those that were made before the run stand last."""
        rules = {"table": [], "figure": [], **by_stage(self.found)}
        for step in rules.pop("page", []):
            rules["table" if step.outputs[0].parent.name == "tables" else "figure"].append(step)
        return {rule: sorted(some, key=lambda step: step.name in self.made) for rule, some in rules.items()}

    def left(self, asked: Mapping[str, int], finished: Sequence[str], running: Mapping[str, float]) -> Forecast:
        """What is left of a run that was asked for so many jobs of each rule; seconds of those ``running``."""
        todo: list[Step] = []
        for rule, some in self.by_rule.items():
            number = asked.get(rule, 0) - sum(step.name in finished for step in some)
            rest = sorted((step for step in some if step.name not in finished), key=lambda s: s.name not in running)
            todo += rest[: max(0, number)]
        rates = Rates.of(self.found, here(self.layout, self.found), self.before)
        return forecast(todo, rates, cores=self.cores, spent=running)


class Progress:
    """What to print of a run, event by event; ``clock`` counts seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock, self.began = clock, clock()
        self.asked: dict[str, int] = {}
        self.cores = 1
        self.names: dict[int, str] = {}
        self.running: dict[str, float] = {}
        self.finished: list[str] = []
        self.outlook: Outlook | None = None
        self.raised, self.fault = "", False  # what Snakemake says of a job that failed; whether that was told
        self.stopping, self.percent, self.spoke = False, 0, clock()

    def told(self, event: Event, text: str) -> list[str]:
        """Lines to print after an event; ``text`` is what Snakemake says of it."""
        lines = self._told(event, text)
        if lines:
            self.spoke = self.clock()
        return lines

    def _told(self, event: Event, text: str) -> list[str]:
        kind = str(event.get("event") or "")
        if kind in UNTOLD:
            return []
        if known := getattr(self, f"_{kind}", None):
            return known(event, text)
        if text.startswith(STOPPING):
            self.stopping = True
            return ["interrupted: stopping what runs; the same command goes on where this run was"]
        return [] if text.startswith(NOISE) or not text.strip() else [text.rstrip()]

    def rest(self) -> list[str]:
        """Lines to print at the end: what Snakemake said of a job that failed, where nothing else told of it."""
        return [self.raised] if self.raised and not (self.fault or self.stopping) else []

    def beat(self, *, silence: float = SILENCE) -> str:
        """What runs, where nothing was said for so many seconds; else nothing."""
        now = self.clock()
        if not self.running or self.stopping or now - self.spoke < silence:
            return ""
        self.spoke = now
        return f"[{self.percent:3} %] running: {'; '.join(map(self._running, self.running))}"

    def _running(self, name: str) -> str:
        said = last_line(self.outlook.layout.root / "logs" / f"{name}.log") if self.outlook else ""
        return f"{name}, {duration(self.clock() - self.running[name])}" + (
            f" ({said})" if PROGRESS.search(said) else ""
        )

    def _error(self, event: Event, text: str) -> list[str]:
        if text.startswith(RAISED):
            self.raised = text.rstrip()  # comes before the job's own event, which --quiet rules hides
        absent = ABSENT.search(text) if "load_configfile" in text else None
        if absent is None:
            return [] if text.startswith(NOISE) else [text.rstrip()]
        try:
            load([absent[1]])
        except ConfigError as error:
            told = "--configfile takes all words after it: give targets before it"
            return [f"config: {error}{'' if absent[1].endswith(('yaml', 'yml', 'json')) else f'; {told}'}"]
        return [text.rstrip()]

    def _resources_info(self, event: Event, text: str) -> list[str]:
        self.cores = event.get("cores") or self.cores
        return []

    def _run_info(self, event: Event, text: str) -> list[str]:
        self.asked = {rule: number for rule, number in event["stats"].items() if rule not in ("total", "all")}
        return []

    def _job_info(self, event: Event, text: str) -> list[str]:
        log = [Path(path.split(" ")[0]) for path in event.get("log") or []]
        name = log[0].stem if log else str(event["rule_name"])
        self.names[event["jobid"]] = name
        if not log:
            return []
        self.running[name] = self.clock()
        if self.outlook is not None:
            return []
        root = log[0].parent.parent
        try:
            self.outlook = Outlook.of(root, self.cores)
        except (ValueError, OSError) as error:
            return [f"the time that is left is not known: {error}"]
        total, left = sum(self.asked.values()), self._left()
        told = f"{total} jobs, {left}; results go to {root}"
        return [f"{told}; `dpmot status` says more, in another terminal; words are explained in docs/glossary.md"]

    def _left(self) -> Forecast | None:
        if self.outlook is None:
            return None
        now = self.clock()
        return self.outlook.left(self.asked, self.finished, {name: now - at for name, at in self.running.items()})

    def _job_finished(self, event: Event, text: str) -> list[str]:
        name = self.names.get(event["job_id"], "")
        took = self.running.pop(name, None)
        if took is None:
            return []  # rule all, which only asks for the others
        self.finished.append(name)
        left, done, total = self._left(), len(self.finished), sum(self.asked.values())
        share = done / max(total, 1)
        if left and not left.unknown:
            spent = self.clock() - self.began
            share = spent / max(spent + left.seconds, 1e-9)
        self.percent = 100 if done == total else max(self.percent, min(99, int(100 * share)))
        told = f", {brief}" if left and done < total and (brief := left.briefly()) else ""
        return [f"[{self.percent:3} %] {name}  {duration(self.clock() - took)}; {done} of {total} jobs{told}"]

    def _job_error(self, event: Event, text: str) -> list[str]:
        name = self.names.get(event["jobid"], str(event["rule_name"]))
        self.running.pop(name, None)
        self.fault = True
        logs = [Path(path.split(" ")[0]) for path in event.get("log") or []]
        said = [line for log in logs for line in tail(log) if line.strip()]
        if self.stopping or (said and LEFT_OFF.search(said[-1].strip())):
            return [] if self.stopping else [f"stopped: {name}"]
        if not said:  # killed, or never begun, as on a cluster: Snakemake alone knows more
            where = f"{logs[0]} is empty" if logs else "it has no log"
            return [f"failed: {name}; {where}; Snakemake says", *(f"    {line}" for line in text.strip().splitlines())]
        shown = [f"    {line}" for line in said[-SHOWN:]]
        return [f"failed: {name}; {logs[0]} ends with", *shown]
