"""Where the time and memory of a job went."""

import resource
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psutil

from dpmot.runtime.files import write_json


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

    def arithmetic(self) -> AbstractContextManager[None]:
        """Context: network evaluations and matrix arithmetic."""
        return self._measure("arithmetic")

    def io(self) -> AbstractContextManager[None]:
        """Context: reading and writing files."""
        return self._measure("io")

    def go_on(self, spent: Mapping[str, float]) -> None:
        """Add to what an earlier part of the job had :meth:`spent`."""
        self._before |= spent

    def add(self, row: Mapping[str, float]) -> None:
        """Add what another job had written, of which this one is the end."""
        for key in ("startup", "arithmetic", "io", "wall"):
            self._before[key] += row[f"{key}_s"]
        self._before["peak_mb"] = max(self._before["peak_mb"], row["peak_mb"])

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
        row: dict[str, str | float] = {"job": self.job}
        row |= {f"{key}_s": round(spent[key], 3) for key in ("startup", "arithmetic", "io", "wall")}
        row["peak_mb"] = round(spent["peak_mb"], 1)
        if spent["images"]:
            row["images_per_s"] = round(spent["images"] / spent["arithmetic"], 1)
        write_json(Path(folder) / f"{self.job}.json", row)
