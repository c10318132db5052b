"""Solve every transport problem of the experiment in one job; one fit serves every network and sampler."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from torch import Tensor
from tqdm import tqdm

from dpmot.device import chosen
from dpmot.experiment.stages._prepared import read_data
from dpmot.runtime.session import Checkpoint, session
from dpmot.transport import NoisyImages, SemiDiscreteProblem, SemiDiscreteSolver
from dpmot.transport.problem import MEMORY
from dpmot.transport.watching import watching

if TYPE_CHECKING:
    from dpmot.experiment.cells import Problem
    from dpmot.experiment.jobs import Job, Solve
    from dpmot.experiment.layout import Layout


def run(job: "Job[Solve]", layout: "Layout") -> None:
    """Write ``transport.safetensors``: heights (N,) and the certificate of each problem."""
    with session(job, layout) as stage:
        parts, _, _ = read_data(layout.data)
        heights, facts = {}, {}
        progress = tqdm(job.task.problems, desc="transport", unit="problem", mininterval=5)
        for problem in progress:
            kept = stage.kept(problem.name)
            if kept is None:
                images = parts[problem.split].first(job.task.num_atoms)
                with stage.watch.arithmetic():
                    solved, fact = _solve(job, problem, images, stage.checkpoint(f"{problem.name}.fit"), progress)
                kept = {"heights": solved}, {"facts": json.dumps(fact)}
                stage.keep(problem.name, *kept)
            heights[problem.name], facts[problem.name] = kept[0]["heights"], json.loads(kept[1]["facts"])
        stage.save(layout.heights, heights, {"facts": json.dumps(facts)})
        missed = [name for name, fact in facts.items() if not fact["converged"]]
        named = f": {', '.join(missed)}" if missed else ""
        print(f"{len(facts)} transport problems, {len(missed)} not converged{named}")


def _solve(
    job: "Job[Solve]", problem: "Problem", images: Tensor, checkpoint: Checkpoint, progress: tqdm
) -> tuple[Tensor, dict[str, Any]]:
    task, device = job.task, chosen(job.device)
    atoms = NoisyImages(images, problem.sigma, task.atom_seed, noises_per_image=problem.noises, device=device)
    options = task.solver.plain()
    memory = options.pop("memory", MEMORY)
    target = SemiDiscreteProblem(atoms, source_measure=problem.law, memory=memory)
    solver = SemiDiscreteSolver(**options)
    before, watch = checkpoint.load(), watching(progress, solver.chi2, name=problem.name, checkpoint=checkpoint)
    solution = solver(target, seed=task.fit_seed, callback=watch, resume=before and before[0], name=problem.name)
    floats = (2 if target.rounds else 4) * len(atoms) * atoms.dim
    if floats > memory:
        told = f"{floats} bytes of them as floats are more than transport.memory = {memory} allows"
        print(f"{problem.name}: atoms streamed, {told}")
    look = asdict(solution.certificate)
    seconds = solution.seconds, look.pop("seconds")  # printed, not stored: the file is the same bits on every run
    if solution.duplicates:
        print(f"{problem.name}: {solution.duplicates} atoms are duplicates of others and share their cells")
    print(f"{problem.name}: {solution.noises} noises, {seconds[0]:.2f} s of which certificate {seconds[1]:.2f} s")
    fact = {"name": problem.name, "split": problem.split, "law": problem.law, "sigma": problem.sigma}
    found = {"converged": solution.converged, "reason": solution.reason, "noises": solution.noises}
    return solution.potential.heights.cpu(), {**fact, **found, "certificate": look}
