"""Load a data set, split it, and store the three parts (protocol: A networks and atoms, B classifier, C reference)."""

import json
from typing import TYPE_CHECKING

import torch

from dpmot import plugins
from dpmot.data import DataSet
from dpmot.runtime.session import session

if TYPE_CHECKING:
    from dpmot.experiment.jobs import Job, Prepare
    from dpmot.experiment.layout import Layout

NO_NUMBER = "SMOKE RUN: no number means anything"  # in the note of the data, which tables and figures print


def run(job: "Job[Prepare]", layout: "Layout") -> None:
    """Write ``data.safetensors``: <part>/images, <part>/labels, and the mixture's parameters where there is one."""
    with session(job, layout) as stage:
        with stage.watch.io():
            task, module = job.task, plugins.find("data", job.task.dataset)
            if task.download and hasattr(module, "download"):
                module.download(task.root)
            data = module.load(root=task.root, **task.options)
        _check(task, data)
        tensors: dict[str, torch.Tensor] = {}
        for name in "ABC":
            images, labels = data.part(name)
            tensors |= {f"{name}/images": torch.from_numpy(images), f"{name}/labels": torch.from_numpy(labels)}
        if data.mixture is not None:
            tensors["mixture/means"] = torch.as_tensor(data.mixture.means, dtype=torch.float32)
            tensors["mixture/std"] = torch.tensor(float(data.mixture.std))
        note = f"{NO_NUMBER}; {data.note}" if task.scale == "smoke" else data.note
        print(f"{data.name}: {note}")
        facts = {"name": data.name, "num_classes": data.num_classes, "note": note, "sha256": data.sha256}
        stage.save(layout.data, tensors, {"facts": json.dumps(facts)})


def _check(task: "Prepare", data: DataSet) -> None:
    """Whether the images are what the experiment will ask for.

    Raises:
        ValueError: too few classes or images; one line.
    """
    if task.classes and data.num_classes < 2:
        raise ValueError(
            f"{data.name} has one class, its classifier would need two: give `features:` without classifier, e.g. "
            "[thumbnails] or [inception], or classes (subfolders of a folder, attributes of celeba)"
        )
    if task.classes and (unknown := {*range(data.num_classes)} - {*data.part("B")[1].tolist()}):
        raise ValueError(
            f"{data.name}: no image of class {', '.join(map(str, sorted(unknown)))} is in split B, so its classifier "
            f"could not know it: give each of the {data.num_classes} classes more images, leave it out, or give "
            "`features:` without classifier"
        )
    for split, number in task.atoms.items():
        if number > (held := int((data.split == split).sum())):
            told = f"split {split} of {data.name} holds {held} images; give at most that"
            raise ValueError(f"num_atoms = {number}, but {told}")
    for name, classes in task.labelled.items():
        if classes != data.num_classes:
            told = f"a network of {classes} classes does not fit a data set of {data.num_classes}"
            raise ValueError(f"networks.{name}.unet: {told}; give {data.num_classes} or leave `classes` out")
