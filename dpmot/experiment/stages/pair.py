"""Solve the map from noise to clean images, by which networks are coupled in training; one fit serves all of them."""

import json
from functools import partial
from typing import TYPE_CHECKING

from tqdm import tqdm

from dpmot.couplings import SemiDiscrete
from dpmot.device import chosen
from dpmot.experiment.stages._prepared import read_data
from dpmot.experiment.stages.solve import by_class, fitted
from dpmot.runtime.session import session
from dpmot.transport import NoisyImages

if TYPE_CHECKING:
    from dpmot.experiment.jobs import Job, Pair
    from dpmot.experiment.layout import Layout

SHOWN = (80.0, 1000.0, 10_000.0)  # levels at which the noise end is looked at


def run(job: "Job[Pair]", layout: "Layout") -> None:
    """Write ``pairings/<name>.safetensors``: heights (N,), the certificate, and the share of the prior that is off it.

    That is of draws sigma z of the prior that are no point T(eps) + sigma eps, where a network has to extrapolate.
    """
    with session(job, layout) as stage:
        task = job.task
        part = read_data(layout.data)[0][task.problem.split]
        atoms = NoisyImages(part.raw, 0.0, 0, device=chosen(job.device))
        progress = tqdm([task.problem], desc=job.name, unit="problem", mininterval=5)
        fit = partial(fitted, job, stage, task.problem, progress=progress)
        labels = part.labels if task.problem.per_class else None
        heights, facts = fit(atoms) if labels is None else by_class(fit, task.problem, atoms, labels)
        with stage.watch.arithmetic():
            coupling = SemiDiscrete.of(part.raw, heights, labels)
            shares = {f"{sigma:g}": coupling.share_off(sigma) for sigma in SHOWN}
        facts = {**facts, "off": shares}
        listed = ", ".join(f"{share:.1%} at sigma {sigma}" for sigma, share in shares.items())
        print(f"{task.name}: prior draws that are no point of the coupling: {listed}")
        if not facts["converged"]:
            print(f"{task.name}: not converged: {facts['reason']}")
        stage.save(layout.pairing(task.name), {"heights": heights}, {"facts": json.dumps(facts)})
