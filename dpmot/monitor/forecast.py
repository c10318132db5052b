"""How long what is left will take, from what was timed.

A job that was timed before is expected to take that time again, times the ratio of this machine's seconds to those
for the jobs that both have finished. A job of a stage that was timed here is expected to take s + r w: s the mean of
start-up, input and output, w its images or evaluations, r the seconds of arithmetic that one took here. Whatever else
is left is unknown, and said to be. The seconds left are those of list scheduling (Graham 1966): whenever cores are
free, the first job that may begin takes them.
"""

import heapq
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from statistics import mean

from dpmot.monitor.steps import PRIORITY, QUICK, Step

Timing = Mapping[str, float]  # wall_s, arithmetic_s, ... of one job


@dataclass(frozen=True)
class Forecast:
    """What is left.

    Attributes:
        seconds: until all steps are done whose duration is known.
        cores: on which they run.
        unknown: stages whose duration is not known.
    """

    seconds: float
    cores: int
    unknown: tuple[str, ...] = ()

    def __str__(self) -> str:
        known = f"about {duration(self.seconds)} left" if self.seconds or not self.unknown else "time left unknown"
        untimed = f" ({', '.join(self.unknown)}: not timed yet)" if self.unknown else ""
        return f"{known} on {self.cores} core{'s' if self.cores > 1 else ''}{untimed}"

    def briefly(self) -> str:
        """As "about 3 min left", "more than 3 min left" where some jobs were never timed; "" where nothing is known."""
        return (
            ""
            if self.unknown and self.seconds < 1
            else f"{'more than' if self.unknown else 'about'} {duration(self.seconds)} left"
        )


@dataclass(frozen=True)
class Rates:
    """Seconds of steps by what was timed; see the module."""

    before: Mapping[str, float]
    speed: float
    stages: Mapping[str, tuple[float, float]]

    @classmethod
    def of(cls, found: Iterable[Step], here: Mapping[str, Timing], before: Mapping[str, Timing]) -> "Rates":
        """From timings of this run by job, and of one before; both may be empty."""
        both = [name for name in here if name in before]
        speed = sum(here[name]["wall_s"] for name in both) / (sum(before[name]["wall_s"] for name in both) or 1)
        stages: dict[str, list[Step]] = {}
        for step in found:
            if step.name in here:
                stages.setdefault(step.stage, []).append(step)
        rates = {stage: _rate([here[step.name] for step in timed], timed) for stage, timed in stages.items()}
        return cls({name: row["wall_s"] for name, row in before.items()}, speed if both else 1.0, rates)

    def __call__(self, step: Step) -> float:
        """Seconds from the start of a step to its end; NaN where nothing like it was timed."""
        if step.stage in QUICK:
            return 0.0
        if step.name in self.before:
            return self.before[step.name] * self.speed
        if step.stage in self.stages:
            fixed, each = self.stages[step.stage]
            return fixed + each * step.work
        return float("nan")


def _rate(rows: Sequence[Timing], timed: Sequence[Step]) -> tuple[float, float]:
    fixed = mean(max(0.0, row["wall_s"] - row["arithmetic_s"]) for row in rows)
    return fixed, sum(row["arithmetic_s"] for row in rows) / sum(step.work for step in timed)


def forecast(
    todo: Sequence[Step], seconds: Callable[[Step], float], *, cores: int, spent: Mapping[str, float] | None = None
) -> Forecast:
    """What is left of ``todo`` on so many cores; of a running step, whose name is in ``spent``, so much is over."""
    spent = spent or {}
    known = {step.name: seconds(step) for step in todo}
    unknown = tuple(dict.fromkeys(step.stage for step in todo if known[step.name] != known[step.name]))
    # what ran longer than expected may end at any moment
    left = {name: max(0.0, one - spent.get(name, 0.0)) for name, one in known.items() if one == one}
    left |= {name: 0.0 for name, one in known.items() if one != one}
    return Forecast(makespan(todo, left, cores=cores, running=spent), cores, unknown)


def makespan(todo: Sequence[Step], left: Mapping[str, float], *, cores: int, running: Collection[str] = ()) -> float:
    """Seconds until all steps have ended, by list scheduling: running ones first, then by priority and order."""
    names = {step.name for step in todo}
    waiting = sorted(todo, key=lambda step: (step.name not in running, -PRIORITY.get(step.stage, 0)))
    free, now = cores, 0.0
    ends: list[tuple[float, int, Step]] = []  # when, the how manieth to begin, what
    begun = count()
    done: set[str] = set()
    while waiting or ends:
        for step in list(waiting):
            asked = min(step.threads, cores)
            ready = step.name in running or all(need in done for need in step.needs if need in names)
            if ready and asked <= free:
                free -= asked
                heapq.heappush(ends, (now + left[step.name], next(begun), step))
                waiting.remove(step)
        if not ends:  # what waits for itself would never begin
            return now
        now, _, ended = heapq.heappop(ends)
        free += min(ended.threads, cores)
        done.add(ended.name)
    return now


def duration(seconds: float) -> str:
    """As "45 s", "3 min 20 s", "2 h 5 min", "3 d 4 h"."""
    seconds = round(seconds)
    for size, small, names in ((86400, 3600, "d h"), (3600, 60, "h min"), (60, 1, "min s")):
        if seconds >= size:
            whole, rest = divmod(seconds, size)
            (large, little), rest = names.split(), rest // small
            return f"{whole} {large}" + (f" {rest} {little}" if rest else "")
    return f"{seconds} s"
