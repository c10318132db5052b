"""Fit one start to images: a sealed file of tensors, and what is known of it beside, as JSON."""

import json
import time
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dpmot import plugins, seeds
from dpmot.experiment.stages._prepared import read_data
from dpmot.runtime.files import write_json
from dpmot.runtime.session import session

if TYPE_CHECKING:
    from dpmot.experiment.fits import Fit
    from dpmot.experiment.jobs import Job
    from dpmot.experiment.layout import Layout


def run(job: "Job[Fit]", layout: "Layout") -> None:
    """Write ``fits/<name>.safetensors`` and ``fits/<name>.json``.

    Raises:
        ValueError: what the start refuses of its options for these images.
    """
    with session(job, layout) as stage:
        task, name = job.task, job.task.name
        parts, _, _ = read_data(layout.data)
        images, labels = parts[task.split].first(task.num_atoms), parts[task.split].labels[: task.num_atoms]
        held_out = parts["B"].raw
        if task.part == "half":
            images, labels, held_out = halves(images, labels, task.seed)
        plugin = plugins.find("starts", task.start)
        with stage.watch.arithmetic():
            began = time.process_time()
            try:
                fitted = plugin.fit(images, labels, **task.options, seed=task.seed)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
            seconds = time.process_time() - began
            judged = plugin.judge(fitted, images, held_out) if hasattr(plugin, "judge") else {}
        facts: dict[str, Any] = {"start": task.start, "options": dict(task.options)}
        facts |= {"part": task.part, "split": task.split}
        facts |= {"images": len(images), "bytes_of_images": images.numel() * images.element_size(), **judged}
        file = layout.fit(name)
        stage.save(file, fitted, {"facts": json.dumps(facts)})  # no seconds: the same bits on every run
        facts |= {"bytes": file.stat().st_size, "seconds": round(seconds, 2)}
        write_json(layout.facts_of_fit(name), facts)
        told = f"{facts['bytes']:,} bytes for {facts['bytes_of_images']:,} of {len(images):,} images"
        print(f"{name}: {told}, {seconds:.1f} s of processor time; {json.dumps(judged)}")


def halves(images: Tensor, labels: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Half of the images with their labels, and the images of the other half, each in their order."""
    order = torch.from_numpy(seeds.generator(seed, "half").permutation(len(images)))
    one, other = (half.sort().values for half in (order[: len(order) // 2], order[len(order) // 2 :]))
    return images[one], labels[one], images[other]
