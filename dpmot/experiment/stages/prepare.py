"""Load a data set, split it, and store the three parts (protocol: A networks and atoms, B classifier, C reference)."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from dpmot import plugins
from dpmot.runtime.session import session

NO_NUMBER = "SMOKE RUN: no number means anything"  # in the note of the data, which tables and figures print


def run(job: Mapping, layout) -> None:
    """Write ``data.safetensors``: <part>/images, <part>/labels, and the mixture's parameters where there is one."""
    with session(job, layout) as stage:
        with stage.watch.io():
            module, root = plugins.find("data", job["dataset"]), Path(job["root"]) if job["root"] else None
            if job["download"] and hasattr(module, "download"):
                module.download(root)
            data = module.load(root=root, **job["options"])
        if job["classes"] and data.num_classes < 2:
            raise ValueError(
                f"{data.name} has one class, its classifier would need two: give `features:` without classifier, e.g. "
                "[thumbnails] or [inception], or classes (subfolders of a folder, attributes of celeba)"
            )
        tensors = {}
        for name in "ABC":
            images, labels = data.part(name)
            tensors |= {f"{name}/images": torch.from_numpy(images), f"{name}/labels": torch.from_numpy(labels)}
        if data.mixture is not None:
            tensors["mixture/means"] = torch.as_tensor(data.mixture.means, dtype=torch.float32)
            tensors["mixture/std"] = torch.tensor(float(data.mixture.std))
        note = f"{NO_NUMBER}; {data.note}" if job["scale"] == "smoke" else data.note
        facts = {"name": data.name, "num_classes": data.num_classes, "note": note, "sha256": data.sha256}
        stage.save(layout.data, tensors, {"facts": json.dumps(facts)})
