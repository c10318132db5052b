"""Solve every transport problem of the experiment in one job; one fit serves every network and sampler."""

import json
from collections.abc import Mapping
from dataclasses import asdict

from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm

from dpmot.experiment.stages._session import metadata, read_data, session
from dpmot.starts import latents
from dpmot.transport import SemiDiscreteProblem, SemiDiscreteSolver


def run(job: Mapping, layout) -> None:
    """Write ``transport.safetensors``: heights (N,) and the certificate of each problem."""
    with session(job, layout, [layout.data]) as stage:
        parts, _, _ = read_data(layout.data)
        heights, facts = {}, {}
        progress = tqdm(job["problems"], desc="transport", unit="problem", mininterval=5)
        for problem in progress:
            piece = stage.resume.path(f"{problem['name']}.safetensors")
            if not piece.exists():
                with stage.watch.arithmetic():
                    solved, fact = _solve(job, problem, parts[problem["split"]].floats)
                stage.save(piece, {"heights": solved}, {"facts": json.dumps(fact)})
            heights[problem["name"]], facts[problem["name"]] = load_file(piece)["heights"], metadata(piece)
        stage.save(layout.heights, heights, {"facts": json.dumps(facts)})
        missed = [name for name, fact in facts.items() if not fact["converged"]]
        print(
            f"{len(facts)} transport problems, {len(missed)} not converged{': ' if missed else ''}{', '.join(missed)}"
        )


def _solve(job: Mapping, problem: Mapping, images: Tensor) -> tuple[Tensor, dict]:
    atoms = latents(images, problem["sigma"], job["atom_seed"]).flatten(1)
    solver = SemiDiscreteSolver(**job["solver"])
    solution = solver(SemiDiscreteProblem(atoms, source=problem["source"]), seed=job["fit_seed"])
    look = asdict(solution.certificate)
    seconds = solution.seconds, look.pop("seconds")  # printed, not stored: the file is the same bits on every run
    print(f"{problem['name']}: {solution.noises} noises, {seconds[0]:.2f} s of which certificate {seconds[1]:.2f} s")
    fact = {**problem, "converged": solution.converged, "reason": solution.reason, "noises": solution.noises}
    return solution.potential.heights, {**fact, "certificate": look}
