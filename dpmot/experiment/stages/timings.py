"""Gather where the time of every job went into timings.csv."""

import csv
from collections.abc import Mapping

from dpmot.runtime.files import atomic, read_json

FIELDS = ["job", "startup_s", "arithmetic_s", "io_s", "wall_s", "peak_mb", "images_per_s"]


def run(job: Mapping, layout) -> None:
    """Write timings.csv: one row per job, and their sum with the share of arithmetic in the wall time printed."""
    rows = [read_json(layout.timing(name)) for name in job["jobs"]]
    with atomic(layout.root / "timings.csv") as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    wall, arithmetic = (sum(row[key] for row in rows) for key in ("wall_s", "arithmetic_s"))
    print(f"{len(rows)} jobs, {wall:.0f} s of wall time in all, {100 * arithmetic / wall:.1f} % of it arithmetic")
