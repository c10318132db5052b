"""Read the samples of a method that come from elsewhere, in the form in which the stage sample writes its own."""

import json
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dpmot.data import _given, verify
from dpmot.experiment.stages._prepared import read_data
from dpmot.runtime.session import session

if TYPE_CHECKING:
    from dpmot.experiment.jobs import Job, Read
    from dpmot.experiment.layout import Layout

LEAST = 20  # a jackknife's groups
TRAIN = "train/images"  # what the samples' model was trained on, where the configuration says


def run(job: "Job[Read]", layout: "Layout") -> None:
    """Write ``samples/<method>.safetensors``: <cell>/images, train/images, and what a reader should know of them.

    Raises:
        ValueError: samples of another shape or type, too few, of unequal numbers, or of another hash than stated.
    """
    with session(job, layout) as stage:
        task, given = job.task, job.task.given
        parts, _, _ = read_data(layout.data)
        read = partial(_given.read, shape=tuple(parts["A"].raw.shape[1:]), values=given.range, least=LEAST)
        tensors: dict[str, Tensor] = {}
        notes: list[str] = []
        with stage.watch.io():
            for cell, path, stated in zip(task.cells, map(Path, given.paths), given.hashes, strict=True):
                if stated:
                    verify(f"methods.{task.name}: sha256 of {path}", _given.file_sha256(path), stated.lower(), "")
                found = read(path, most=given.num_samples, name=task.name)
                tensors[f"{cell.key}/images"] = torch.from_numpy(found.images)
                notes += found.notes
            if given.train_reference:
                train = read(Path(given.train_reference), mixed=True, name=f"{task.name}.train_reference")
                tensors[TRAIN] = torch.from_numpy(train.images)
                notes.append(f"train is the {len(train.images)} images of {given.train_reference}, not split A")
        counts = [len(tensors[f"{cell.key}/images"]) for cell in task.cells]
        if len(set(counts)) > 1:
            told = f"{counts} images in {', '.join(given.paths)}; seeds have one number"
            raise ValueError(f"methods.{task.name}.samples: {told}: give num_samples: {min(counts)}")
        for note in notes:
            print(f"note: {note}")
        cells = [asdict(replace(cell, nfe_counted=cell.nfe)) for cell in task.cells]
        stage.save(layout.samples(task.name), tensors, {"cells": json.dumps(cells), "notes": json.dumps(notes)})
