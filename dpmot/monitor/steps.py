"""The jobs of an experiment as its results folder knows them: what they wait for, write and weigh."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dpmot.diffusion.schedule import Schedule
from dpmot.experiment.jobs import Jobs
from dpmot.experiment.layout import Layout
from dpmot.experiment.plan import Experiment
from dpmot.experiment.tasks import Sample, Train
from dpmot.runtime.job import Job

PRIORITY = {"classify": 20, "fit": 15, "pair": 15, "train": 10, "solve": 5, "select": 5}  # as the rules have it


@dataclass(frozen=True)
class Step:
    """One job.

    Attributes:
        name: of the job, its log, its timing and its resume point.
        stage: the verb that runs it, or "page".
        needs: steps whose outputs it reads.
        outputs: files.
        threads: that it asks for.
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
    computed = [*jobs.compute(), *([jobs.couple()] if experiment.coupling else [])]
    pages = jobs.pages()
    made = {path: job.name for job in (*computed, *pages) for path in job.outputs}
    made |= dict.fromkeys(layout.measured, "measure")
    found = [_step(job, made) for job in computed]
    read = [step.name for step in found if step.stage in ("sample", "read", "classify", "prepare")]
    outputs = (*layout.measured, layout.timing("measure"))
    found.append(Step("measure", "measure", tuple(read), outputs, min(4, cores)))
    if any(layout.trainings in page.inputs for page in pages):
        gathered = jobs.trainings()
        found.append(_step(gathered, made))
        made[layout.trainings] = gathered.name
    found += [_step(job, made) for job in pages]
    before = tuple(step.name for step in found)
    return [*found, Step("timings", "timings", before, (layout.timings,))]


def _step(job: Job, made: dict[Path, str]) -> Step:
    needs = tuple(dict.fromkeys(made[path] for path in job.inputs if path in made))
    cells = getattr(job.task, "cells", ()) if job.stage in ("sample", "read") else ()
    drawn = tuple(cell.key for cell in cells if not cell.reason)
    return Step(job.name, job.stage, needs, job.outputs, job.threads, drawn, len(cells) - len(drawn), _work(job) or 1.0)


def _work(job: Job) -> float:
    task = job.task
    if isinstance(task, Sample) and job.stage == "sample":
        return task.num_samples * sum(cell.nfe for cell in task.cells if not cell.reason)
    if isinstance(task, Train) and task.network.training:
        training = task.network.training
        return len(task.network.step_counts or (1,)) * training.steps * (training.batch or Schedule.batch)
    return 1.0


def by_stage(found: Iterable[Step]) -> dict[str, list[Step]]:
    """stage -> its steps, in order."""
    grouped: dict[str, list[Step]] = {}
    for step in found:
        grouped.setdefault("sample" if step.stage == "read" else step.stage, []).append(step)
    return grouped


def named(found: Sequence[Step]) -> dict[str, Step]:
    """name -> step."""
    return {step.name: step for step in found}
