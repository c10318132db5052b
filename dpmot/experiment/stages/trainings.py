"""Gather into trainings.csv what each network saw in training, as its own file says it, and what that took.

Of a network of several training seeds each member has a row. ``off`` is the share of prior draws that are no point of
its coupling (:mod:`dpmot.couplings`), ``chi2`` that of its map as certified, ``images_before`` what the network that it
rewires had seen, ``map_s`` the seconds of the map, which serves all networks of one name in ``map``. Seconds are of
arithmetic; of networks that are loaded they are not known here.
"""

import csv
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dpmot.diffusion.schedule import Schedule
from dpmot.results import NO_TRAINING, TRAININGS
from dpmot.runtime import seals
from dpmot.runtime.files import atomic, read_json

if TYPE_CHECKING:
    from dpmot.experiment.layout import Layout
    from dpmot.experiment.tasks import Trained
    from dpmot.runtime.job import Job


def run(job: "Job[tuple[Trained, ...]]", layout: "Layout") -> None:
    """Write trainings.csv: one row a network."""
    with atomic(layout.trainings) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, TRAININGS.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row_of(task, layout) for task in job.task)
    print(f"{len(job.task)} networks")


def row_of(task: "Trained", layout: "Layout") -> dict[str, Any]:
    """A row of trainings.csv; what a file does not say is None."""
    card = json.loads(seals.header(layout.network(task.name)).get("card", "{}"))
    coupling, before = card.get("coupling") or {}, card.get("rewired") or {}
    own = task.how in ("trained", "student")
    return {
        "network": task.name,
        "of": task.of,
        "training_seed": NO_TRAINING if task.seed is None else task.seed,
        "how": task.how,
        "rewires": before.get("network"),
        "coupling": coupling.get("kind"),
        **{key: coupling.get(key) for key in ("tau", "chi2", "off")},
        "map": task.map,
        "images_seen": _images_seen(card),
        "images_before": before.get("images_seen"),
        "train_s": _seconds(layout, f"train_{task.name}") if own else None,
        "map_s": _seconds(layout, f"pair_{task.map}") if task.map else None,
    }


def _images_seen(card: Mapping[str, Any]) -> int | None:
    """In its own training; a student's has a stage for each of its step counts."""
    student = card.get("distilled") or {}
    if "steps" not in student:
        return (card.get("trained") or {}).get("images_seen")
    return student["steps"] * student.get("batch", Schedule.batch) * max(1, len(card.get("step_counts", ())))


def _seconds(layout: "Layout", job: str) -> float:
    return float(read_json(layout.timing(job))["arithmetic_s"])
