"""Solve every transport problem of the experiment in one job; one fit serves every network and sampler."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict

from torch import Tensor
from tqdm import tqdm

from dpmot.device import chosen
from dpmot.experiment.stages._prepared import read_data
from dpmot.runtime.session import Checkpoint, session
from dpmot.transport import NoisyImages, SemiDiscreteProblem, SemiDiscreteSolver
from dpmot.transport.problem import MEMORY

CHECKPOINT_SECONDS = 20


def run(job: Mapping, layout) -> None:
    """Write ``transport.safetensors``: heights (N,) and the certificate of each problem."""
    with session(job, layout, [layout.data]) as stage:
        parts, _, _ = read_data(layout.data)
        heights, facts = {}, {}
        progress = tqdm(job["problems"], desc="transport", unit="problem", mininterval=5)
        for problem in progress:
            kept = stage.kept(problem["name"])
            if kept is None:
                with stage.watch.arithmetic():
                    checkpoint = stage.checkpoint(f"{problem['name']}.fit")
                    solved, fact = _solve(
                        job, problem, parts[problem["split"]].first(job["num_atoms"]), checkpoint, progress
                    )
                kept = {"heights": solved}, {"facts": json.dumps(fact)}
                stage.keep(problem["name"], *kept)
            heights[problem["name"]], facts[problem["name"]] = kept[0]["heights"], json.loads(kept[1]["facts"])
        stage.save(layout.heights, heights, {"facts": json.dumps(facts)})
        missed = [name for name, fact in facts.items() if not fact["converged"]]
        print(
            f"{len(facts)} transport problems, {len(missed)} not converged{': ' if missed else ''}{', '.join(missed)}"
        )


def _solve(
    job: Mapping, problem: Mapping, images: Tensor, checkpoint: Checkpoint, progress: tqdm
) -> tuple[Tensor, dict]:
    options, noises = {"device": chosen(job["device"])}, problem.get("noises", 1)
    atoms = NoisyImages(images, problem["sigma"], job["atom_seed"], noises_per_image=noises, **options)
    options = dict(job["solver"])
    memory = options.pop("memory", MEMORY)
    target = SemiDiscreteProblem(atoms, source=problem["source"], memory=memory)
    solver = SemiDiscreteSolver(**options)
    before = checkpoint.load()
    solution = solver(
        target,
        seed=job["fit_seed"],
        callback=_watch(progress, problem["name"], checkpoint, solver.chi2),
        resume=None if before is None else before[0],
    )
    floats = (2 if target.rounds else 4) * len(atoms) * atoms.dim
    if floats > memory:
        told = f"{floats} bytes of them as floats are more than transport.memory = {memory} allows"
        print(f"{problem['name']}: atoms streamed, {told}")
    look = asdict(solution.certificate)
    seconds = solution.seconds, look.pop("seconds")  # printed, not stored: the file is the same bits on every run
    print(f"{problem['name']}: {solution.noises} noises, {seconds[0]:.2f} s of which certificate {seconds[1]:.2f} s")
    fact = {**problem, "converged": solution.converged, "reason": solution.reason, "noises": solution.noises}
    return solution.potential.heights.cpu(), {**fact, "certificate": look}


def _watch(progress: tqdm, name: str, checkpoint: Checkpoint, target: float) -> Callable[[dict], None]:
    """Show chi2 after every look; keep the state of a long fit."""
    saved = time.monotonic()

    def watch(seen: dict) -> None:
        nonlocal saved
        left = "" if seen["left"] is None else f", {seen['left']:.0f} s left"
        progress.set_postfix_str(f"{name}: chi2 {seen['chi2']:.3g} of {target:g}{left}", refresh=False)
        progress.update(0)  # redraws at its own pace
        if seen["state"] is not None and time.monotonic() - saved > CHECKPOINT_SECONDS:
            checkpoint.save(seen["state"](), {"noises": seen["noises"]})
            saved = time.monotonic()

    return watch
