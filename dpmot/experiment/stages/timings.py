"""Gather where the time of every job went into timings.csv."""

import csv
from typing import TYPE_CHECKING

from dpmot.results import TIMINGS
from dpmot.runtime.files import atomic, read_json

if TYPE_CHECKING:
    from dpmot.experiment.layout import Layout
    from dpmot.runtime.job import Job


def run(job: "Job[tuple[str, ...]]", layout: "Layout") -> None:
    """Write timings.csv: one row per job, and their sum with the share of arithmetic in the wall time printed."""
    rows = [read_json(layout.timing(name)) for name in job.task]
    with atomic(layout.timings) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, TIMINGS.columns)
        writer.writeheader()
        writer.writerows(rows)
    wall, arithmetic = (sum(row[key] for row in rows) for key in ("wall_s", "arithmetic_s"))
    print(f"{len(rows)} jobs, {wall:.0f} s of wall time in all, {100 * arithmetic / wall:.1f} % of it arithmetic")
