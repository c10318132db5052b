"""Samples of a method that were drawn apart, put together in their order."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dpmot.experiment.cells import Cell
from dpmot.experiment.shards import shards_of
from dpmot.experiment.stages._marks import check, mark
from dpmot.experiment.tasks import Merge
from dpmot.runtime import seals
from dpmot.runtime.files import read_json
from dpmot.runtime.stopwatch import Stopwatch

if TYPE_CHECKING:
    from dpmot.experiment.layout import Layout
    from dpmot.runtime.job import Job

Samples = tuple[Mapping[str, Tensor], int]  # of one cell, by name, (n, ...), and the evaluations of each
Drawn = tuple[list[Cell], dict[str, Tensor], dict[str, str]]  # "<cell>/<name>" -> tensor; texts
FIRST = ("start", "prior")  # of which the first rows are kept, for the figures


def joined(parts: Sequence[Samples], *, shown: int) -> tuple[dict[str, Tensor], int]:
    """Samples of one cell, in the order of their parts, and the evaluations of the dearest part."""
    whole = {name: torch.cat([drawn[name] for drawn, _ in parts]) for name in parts[0][0]}
    counted = max(counted for _, counted in parts)
    return {name: one[:shown] if name in FIRST else one for name, one in whole.items()}, counted


def behind(job: "Job[Merge]", layout: "Layout") -> list[Path]:
    """The files that the shards were drawn from: those of the merging job that no shard has written."""
    names = [shard.name for shard in shards_of(job.task.sample, job.task.of)]
    written = {file for name in names for file in (layout.shard(name), layout.timing(f"sample_{name}"))}
    return [file for file in job.inputs if file not in written]


def gathered(
    task: Merge,
    layout: "Layout",
    watch: Stopwatch,
    *,
    shown: int,
    code: Sequence[str] = (),
    inputs: Sequence[Path] = (),
) -> Drawn:
    """All samples of a method from the files of its shards, whose seconds are added to the watch's.

    Args:
        task: the method and its shards.
        layout: of the files.
        watch: of this job.
        shown: first rows that are kept of starts and priors.
        code: modules by which shards are drawn.
        inputs: files of which they are drawn.

    Raises:
        ValueError: a file holds the samples of another task, or was made by other code or of other files.
    """
    parts: dict[str, list[tuple[Cell, Samples]]] = {}
    texts: dict[str, str] = {}
    for shard in shards_of(task.sample, task.of):
        path = layout.shard(shard.name)
        with watch.io():
            tensors, texts = seals.load(path, name=path.name)
        check(path, texts, mark(shard, code, inputs))
        texts = {name: text for name, text in texts.items() if name not in ("task", "made_of")}
        for cell in (Cell(**one) for one in json.loads(texts.pop("cells"))):
            own = {name.removeprefix(f"{cell.key}/"): one for name, one in tensors.items() if _of(cell, name)}
            parts.setdefault(cell.key, []).append((cell, (own, cell.nfe_counted or 0)))
        watch.add(read_json(layout.timing(f"sample_{shard.name}")))
    whole: dict[str, Tensor] = {}
    cells = []
    for planned in task.sample.cells:
        (cell, _), *_ = drawn = parts.get(planned.key) or [(planned, ({}, 0))]
        if not cell.reason:
            samples, counted = joined([samples for _, samples in drawn], shown=shown)
            whole |= {f"{cell.key}/{name}": one for name, one in samples.items()}
            cell = replace(cell, nfe_counted=counted)
        cells.append(cell)
    return cells, whole, texts


def _of(cell: Cell, name: str) -> bool:
    return name.rpartition("/")[0] == cell.key
