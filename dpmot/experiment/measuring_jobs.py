"""The jobs that measure: one for all methods, or several over these, and one that gathers what they found."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from dpmot.experiment import grid
from dpmot.experiment.code import Plugin
from dpmot.experiment.plan import Experiment
from dpmot.experiment.shards import even
from dpmot.experiment.tasks import Measure, MeasureShard
from dpmot.features import Extractor, Offer
from dpmot.results import FLOORS
from dpmot.runtime.job import Job

if TYPE_CHECKING:
    from dpmot.experiment.jobs import Jobs


def measure(jobs: "Jobs") -> Job[Measure]:
    """The job that measures every cell, or gathers what shards have measured, and writes the tidy tables."""
    each = jobs.each.experiment
    networks = {method.network for method in each.drawn.values()}
    inputs = [*_read_for(jobs, each.methods), *map(jobs.layout.network, sorted(networks))]  # for the fingerprint
    inputs += [file for shard in jobs.measure_shards() for file in shard.outputs]
    return jobs.job("measure", _task(jobs), inputs, jobs.layout.measured, *_plugged(jobs))


def shards(jobs: "Jobs") -> tuple[Job[MeasureShard], ...]:
    """The jobs over which the methods are measured; none where one measures all."""
    whole, methods = _task(jobs), jobs.each.experiment.methods
    made = []
    for number, names in enumerate(whole.parts, 1):
        task = MeasureShard(whole, names, number, len(whole.parts))
        inputs, outputs = _read_for(jobs, filter(methods.__contains__, names)), [jobs.layout.measured_shard(task.name)]
        made.append(jobs.job("measure", task, inputs, outputs, *_plugged(jobs), of=f"{number}-of-{task.of}"))
    return tuple(made)


def parts(experiment: Experiment) -> tuple[tuple[str, ...], ...]:
    """The methods and real images that each shard measures, by their cells; none where one job measures all.

    Args:
        experiment: with every member among its methods.
    """
    if experiment.shards == 1:
        return ()
    names, weights = [*FLOORS, *experiment.methods], [1.0] * len(FLOORS)
    weights += [sum(not cell.reason for cell in grid.cells(experiment, name)) for name in experiment.methods]
    return tuple(tuple(names[i] for i in part) for part in even(weights, experiment.shards))


def _task(jobs: "Jobs") -> Measure:
    e = jobs.experiment
    extractors = {name: e.feature_options.get(name, {}) for name in jobs.extractors}
    code = tuple(sorted({module for job in jobs.compute() for module in job.code}))
    return Measure(e, e.scientific(), extractors, code, parts(jobs.each.experiment))


def _read_for(jobs: "Jobs", methods: Iterable[str]) -> list[Path]:
    """The files that these methods are measured from."""
    options, layout = jobs.experiment.feature_options, jobs.layout
    offered = (Extractor(name, Offer(given=options.get(name, {}))) for name in jobs.extractors)
    inputs = [layout.data, *(file for extractor in offered for file in extractor.inputs())]
    return [*inputs, *([layout.classifier] if jobs.needs_classifier else []), *map(layout.samples, methods)]


def _plugged(jobs: "Jobs") -> list[Plugin]:
    metrics = jobs.experiment.metrics
    return [*(("features", name) for name in jobs.extractors), *(("metrics", name) for name in metrics)]
