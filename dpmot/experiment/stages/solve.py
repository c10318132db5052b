"""Solve every transport problem of the experiment in one job; one fit serves every network and sampler."""

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from dpmot.device import chosen
from dpmot.experiment.stages._prepared import read_data
from dpmot.runtime.session import Checkpoint, Session, session
from dpmot.starts._maps import numbers_of
from dpmot.transport import Atoms, Certificate, NoisyImages, SemiDiscreteProblem, SemiDiscreteSolver
from dpmot.transport.certificate import joined
from dpmot.transport.copies import ChosenAtoms
from dpmot.transport.problem import MEMORY
from dpmot.transport.watching import watching

if TYPE_CHECKING:
    from dpmot.experiment.cells import Problem
    from dpmot.experiment.jobs import Job, Pair, Solve
    from dpmot.experiment.layout import Layout

Solved = tuple[Tensor, dict[str, Any]]  # heights (N,), and what is known of them


def run(job: "Job[Solve]", layout: "Layout") -> None:
    """Write ``transport.safetensors``: heights (N,) and the certificate of each problem, of one per class those too."""
    with session(job, layout) as stage:
        parts, _, _ = read_data(layout.data)
        heights, facts = {}, {}
        progress = tqdm(job.task.problems, desc="transport", unit="problem", mininterval=5)
        for problem in progress:
            part, task = parts[problem.split], job.task
            images, noises = part.first(task.num_atoms), problem.noises
            device = chosen(job.device)
            atoms = NoisyImages(images, problem.sigma, task.atom_seed, noises_per_image=noises, device=device)
            fit = partial(fitted, job, stage, problem, progress=progress)
            found = by_class(fit, problem, atoms, part.labels[: len(images)]) if problem.per_class else fit(atoms)
            heights[problem.name], facts[problem.name] = found
        stage.save(layout.heights, heights, {"facts": json.dumps(facts)})
        missed = [name for name, fact in facts.items() if not fact["converged"]]
        named = f": {', '.join(missed)}" if missed else ""
        print(f"{len(facts)} transport problems, {len(missed)} not converged{named}")


def by_class(
    fit: Callable[..., Solved], problem: "Problem", atoms: NoisyImages, labels: Tensor
) -> tuple[Tensor, dict[str, Any]]:
    """Heights (N,) of one map per class, those of each class in its own gauge, and what is known of all and of each.

    ``converged`` only if all are.
    """
    heights, looks, shares, facts = torch.zeros(len(atoms), dtype=torch.float64), {}, {}, {}
    for label, numbers in numbers_of(labels, problem.noises).items():
        heights[numbers], fact = fit(ChosenAtoms(atoms, numbers), label=label)
        looks[label], shares[label] = Certificate(**fact["certificate"], seconds=0), len(numbers) / len(atoms)
        facts[label] = {key: fact[key] for key in ("converged", "reason", "noises", "certificate")}
    reasons = [f"class {label}: {fact['reason']}" for label, fact in facts.items() if not fact["converged"]]
    whole = {
        "converged": not reasons,
        "reason": "; ".join(reasons) or None,
        "noises": sum(fact["noises"] for fact in facts.values()),
        "certificate": _without_seconds(joined(looks, shares)),
    }
    return heights, {**_described(problem), **whole, "classes": facts}


def named(problem: "Problem", label: int | None) -> str:
    """A problem, or the part of it that is one class."""
    return problem.name if label is None else f"{problem.name}-{label}"


def fitted(
    job: "Job[Solve] | Job[Pair]",
    stage: Session,
    problem: "Problem",
    atoms: Atoms,
    *,
    progress: tqdm,
    label: int | None = None,
) -> Solved:
    """One fit, or what was kept of it; ``label`` is of atoms that are one class."""
    name = named(problem, label)
    kept = stage.kept(name)
    if kept is None:
        with stage.watch.arithmetic():
            solved, fact = _solve(job, problem, atoms, name, stage.checkpoint(f"{name}.fit"), progress)
        kept = {"heights": solved}, {"facts": json.dumps(fact)}
        stage.keep(name, *kept)
    return kept[0]["heights"], json.loads(kept[1]["facts"])


def _solve(
    job: "Job[Solve] | Job[Pair]", problem: "Problem", atoms: Atoms, name: str, checkpoint: Checkpoint, progress: tqdm
) -> Solved:
    task = job.task
    options = task.solver.plain()
    memory = options.pop("memory", MEMORY)
    target = SemiDiscreteProblem(atoms, source_measure=problem.law, memory=memory)
    solver = SemiDiscreteSolver(**options)
    before, watch = checkpoint.load(), watching(progress, solver.chi2, name=name, checkpoint=checkpoint)
    solution = solver(target, seed=task.fit_seed, callback=watch, resume=before and before[0], name=name)
    floats = (2 if target.rounds else 4) * len(atoms) * atoms.dim
    if floats > memory:
        told = f"{floats} bytes of them as floats are more than transport.memory = {memory} allows"
        print(f"{name}: atoms streamed, {told}")
    seconds = solution.seconds, solution.certificate.seconds
    if solution.duplicates:
        print(f"{name}: {solution.duplicates} atoms are duplicates of others and share their cells")
    print(f"{name}: {solution.noises} noises, {seconds[0]:.2f} s of which certificate {seconds[1]:.2f} s")
    facts = facts_of(problem, solution.certificate, solution.noises, solution.converged, solution.reason)
    return solution.potential.heights.cpu(), facts


def facts_of(problem: "Problem", look: Certificate, noises: int, converged: bool, reason: str | None) -> dict[str, Any]:
    """What is kept beside the heights of a problem."""
    found = {"converged": converged, "reason": reason, "noises": noises}
    return {**_described(problem), **found, "certificate": _without_seconds(look)}


def _described(problem: "Problem") -> dict[str, Any]:
    return {"name": problem.name, "split": problem.split, "law": problem.law, "sigma": problem.sigma}


def _without_seconds(look: Certificate) -> dict[str, Any]:
    """Seconds are printed, not stored: the file is the same bits on every run."""
    return {key: value for key, value in asdict(look).items() if key != "seconds"}
