"""The jobs of an experiment as its results folder knows them: what they wait for, write and weigh."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dpmot.diffusion.schedule import Schedule
from dpmot.experiment import measuring_jobs
from dpmot.experiment.jobs import Jobs
from dpmot.experiment.layout import Layout
from dpmot.experiment.plan import Experiment
from dpmot.experiment.tasks import Merge, Sample, Shard, Train
from dpmot.runtime.job import Job

PRIORITY = {"classify": 20, "fit": 15, "pair": 15, "train": 10, "solve": 5, "select": 5}  # as the rules have it
RULES = {"read": "sample", "merge": "sample", "gather": "measure"}  # stage -> the rule that has another name
READ = ("sample", "merge", "read", "classify", "prepare")  # what is measured, and by what
QUICK = ("timings", "trainings", "merge", "gather")  # seconds; those of the last two hold those of all shards


@dataclass(frozen=True)
class Step:
    """One job.

    Attributes:
        name: of the job, its log, its timing and its resume point.
        stage: the verb that runs it, or "page"; of shards "sample_shard" and "measure_shard", and of what puts these
            together "merge" and "gather".
        needs: steps whose outputs it reads.
        outputs: files; of shards those that stay.
        threads: that it asks for, of all its processes.
        cells: names of the cells that it draws.
        skipped: cells that it skips, each with a reason.
        work: images seen or network evaluations, by which two steps of one stage compare; 1 where nothing is counted.
    """

    name: str
    stage: str
    needs: tuple[str, ...]
    outputs: tuple[Path, ...]
    threads: int = 1
    cells: tuple[str, ...] = ()
    skipped: int = 0
    work: float = 1.0


def steps(experiment: Experiment, layout: Layout, *, cores: int = 1) -> list[Step]:
    """Every job of the workflow, in the order of the paper.

    Raises:
        ValueError: parts of the configuration, which nobody has checked since it was written, do not fit together.
    """
    try:
        return _steps(experiment, layout, cores)
    except (KeyError, AttributeError, TypeError) as error:
        told = f"{layout.config} is no configuration that this version reads: {type(error).__name__} {error}"
        raise ValueError(told) from None


def _steps(experiment: Experiment, layout: Layout, cores: int) -> list[Step]:
    jobs = Jobs(experiment, layout)
    shards = [shard for name in jobs.each.experiment.methods for shard in jobs.shards(name)]
    computed = [*shards, *jobs.compute(), *jobs.beside()]
    pages = jobs.pages()
    made = {path: job.name for job in (*computed, *pages) for path in job.outputs}
    made |= dict.fromkeys(layout.measured, "measure")
    found = [_step(job, made) for job in computed]
    found += _measuring(jobs, [step.name for step in found if step.stage in READ], cores)
    if any(layout.trainings in page.inputs for page in pages):
        gathered = jobs.trainings()
        found.append(_step(gathered, made))
        made[layout.trainings] = gathered.name
    found += [_step(job, made) for job in pages]
    before = tuple(step.name for step in found)
    return [*found, Step("timings", "timings", before, (layout.timings,))]


def _measuring(jobs: Jobs, read: Sequence[str], cores: int) -> list[Step]:
    """What measures; made without its job, which asks features for their files."""
    layout, parts = jobs.layout, measuring_jobs.parts(jobs.each.experiment)
    outputs, threads = (*layout.measured, layout.timing("measure")), min(4, cores)
    if not parts:
        return [Step("measure", "measure", tuple(read), outputs, threads)]
    drawn, shards = {f"sample_{name}" for name in jobs.each.experiment.methods}, []
    for k, names in enumerate(parts, 1):
        name = f"measure_{k}-of-{len(parts)}"
        needs = tuple(one for one in read if one not in drawn or one.removeprefix("sample_") in names)
        shards.append(Step(name, "measure_shard", needs, (layout.timing(name),), threads, work=len(names)))
    return [*shards, Step("measure", "gather", tuple(one.name for one in shards), outputs)]


def _step(job: Job, made: dict[Path, str]) -> Step:
    needs = tuple(dict.fromkeys(made[path] for path in job.inputs if path in made))
    stage = {Shard: "sample_shard", Merge: "merge"}.get(type(job.task), job.stage)
    cells = getattr(job.task, "cells", ()) if stage in ("sample", "sample_shard", "merge", "read") else ()
    drawn = tuple(cell.key for cell in cells if not cell.reason)
    own = () if stage == "merge" else drawn
    stay = job.outputs[-1:] if stage == "sample_shard" else job.outputs
    return Step(job.name, stage, needs, stay, job.cores, own, len(cells) - len(drawn), _work(job) or 1.0)


def _work(job: Job) -> float:
    task = job.task
    if isinstance(task, Sample) and job.stage == "sample":
        return task.num_samples * sum(cell.nfe for cell in task.cells if not cell.reason)
    if isinstance(task, Shard):
        return sum((piece.last - piece.first) * piece.cell.nfe for piece in task.pieces)
    if isinstance(task, Train) and task.network.training:
        training = task.network.training
        return len(task.network.step_counts or (1,)) * training.steps * (training.batch or Schedule.batch)
    return 1.0


def by_stage(found: Iterable[Step]) -> dict[str, list[Step]]:
    """rule, or "page" -> its steps, in order."""
    grouped: dict[str, list[Step]] = {}
    for step in found:
        grouped.setdefault(RULES.get(step.stage, step.stage), []).append(step)
    return grouped


def named(found: Sequence[Step]) -> dict[str, Step]:
    """name -> step."""
    return {step.name: step for step in found}
