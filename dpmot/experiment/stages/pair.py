"""Solve the map from noise to clean images, by which networks are coupled in training; one fit serves all of them.

The control has heights 0, which nothing solves; they are certified as solved ones are.
"""

import json
from functools import partial
from typing import TYPE_CHECKING

import torch
from tqdm import tqdm

from dpmot.couplings import SemiDiscrete
from dpmot.device import chosen
from dpmot.experiment.stages._prepared import read_data
from dpmot.experiment.stages.solve import Solved, by_class, facts_of, fitted, named
from dpmot.runtime.session import session
from dpmot.transport import Atoms, NoisyImages, SemiDiscreteProblem, certify

if TYPE_CHECKING:
    from dpmot.experiment.jobs import Job, Pair
    from dpmot.experiment.layout import Layout

SHOWN = (80.0, 1000.0, 10_000.0)  # levels at which the noise end is looked at


def zero(task: "Pair", atoms: Atoms, *, label: int | None = None) -> Solved:
    """Heights 0, and what :func:`dpmot.experiment.stages.solve.fitted` says of heights."""
    heights = torch.zeros(len(atoms), dtype=torch.float64)
    problem, name = SemiDiscreteProblem(atoms, source_measure=task.problem.law), named(task.problem, label)
    look = certify(problem, heights, seed=task.fit_seed, target=task.solver.chi2, name=name)
    reached = look.high < task.solver.chi2
    reason = None if reached else f"heights are 0, certified chi2 {look.chi2:.3g} [{look.low:.3g}, {look.high:.3g}]"
    return heights, facts_of(task.problem, look, 0, reached, reason)


def run(job: "Job[Pair]", layout: "Layout") -> None:
    """Write ``pairings/<name>.safetensors``: heights (N,), the certificate, and the share of the prior that is off it.

    That is of draws sigma z of the prior that are no point T(eps) + sigma eps, where a network has to extrapolate.
    """
    with session(job, layout) as stage:
        task = job.task
        part = read_data(layout.data)[0][task.problem.split]
        atoms = NoisyImages(part.raw, 0.0, 0, device=chosen(job.device))
        progress = tqdm([task.problem], desc=job.name, unit="problem", mininterval=5)
        fit = partial(fitted, job, stage, task.problem, progress=progress) if task.solved else partial(zero, task)
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
