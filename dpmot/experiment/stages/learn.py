"""Learn what a method leaves open: options of its sampler (a solver's coefficients), or its grid; see the plan's part,
:mod:`dpmot.experiment.learning`."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from tqdm import tqdm

from dpmot import seeds
from dpmot.diffusion import gits
from dpmot.diffusion import learning as teaching
from dpmot.diffusion.modes import modules_in
from dpmot.experiment import grid, learning
from dpmot.experiment.cells import Cell
from dpmot.experiment.stages.sample import LoadedMethod
from dpmot.runtime.files import read_json
from dpmot.runtime.session import session

if TYPE_CHECKING:
    from dpmot.experiment.jobs import Job, Sample
    from dpmot.experiment.layout import Layout


def run(job: "Job[Sample]", layout: "Layout") -> None:
    """Write ``learned/<method>.json``: budget and level -> options, grid, and the evaluations spent."""
    with session(job, layout) as stage:
        method = LoadedMethod.load(job, layout)
        star = read_json(layout.star) if job.task.method.level == "star" else None
        found: dict[str, learning.Learned] = {}
        for planned in tqdm(job.task.cells, desc=f"learn {job.task.name}", unit="cell", mininterval=5):
            cell, key = grid.resolved(planned, star, method.network.chain), learning.key(planned)
            if cell.reason:
                continue
            kept = stage.kept_json(key)
            if kept is None:
                with stage.watch.arithmetic():
                    kept = asdict(learned(method, cell))
                stage.keep_json(key, kept)
            found[key] = learning.Learned(**kept)
        learning.write(layout.learned(job.task.name), found)
        print(f"{job.task.name}: {'; '.join(learning.notes(found)) or 'no budget can be met'}")


def learned(method: LoadedMethod, cell: Cell) -> learning.Learned:
    """What is learned for one budget and level."""
    planned = method.task.method
    rows = seeds.sample_seeds(cell.sample_seed, method.task.num_samples)
    points = method.start(cell.sigma_atoms)(rows)
    denoiser = method.network.denoiser(cell.steps, planned.guidance)
    for module in modules_in(denoiser):
        module.requires_grad_(False)  # only coefficients are learned
    teacher = teaching.Teacher(denoiser, method.labels(points))
    x, sigmas = points.x.double(), torch.from_numpy(grid.sigmas(method.network.chain, cell).copy())
    chosen: Tensor | None = None
    if cell.family == "gits":
        with teacher.audit.running():
            finest = method.network.chain.sigma_min
            levels = gits.levels(teacher, x[: gits.STARTS], cell.steps, finest=finest, start=float(sigmas[0]))
        chosen = sigmas = torch.from_numpy(levels.copy())
    found = teaching.Learned({}, teacher.evaluations, 0)
    if planned.learned_options:
        found = teaching.learn(str(planned.sampler), teacher, x, sigmas, planned.options)
    return learning.Learned(
        found.options,
        None if chosen is None else tuple(chosen.tolist()),
        len(rows),
        found.evaluations,
        found.differentiated,
    )
