"""Measure every cell: metrics.csv with intervals, replicates.csv for paired tests, audit, copies, identity test."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

from dpmot import results
from dpmot.evaluation.feature_cache import Extractors
from dpmot.experiment.members import Members
from dpmot.experiment.members import members as members_of
from dpmot.experiment.stages import _trainings
from dpmot.experiment.stages._audit import verdicts
from dpmot.experiment.stages._marks import check, mark
from dpmot.experiment.stages._measuring import compared_with, extractors_of, measured
from dpmot.experiment.stages._prepared import read_data
from dpmot.experiment.tasks import MeasureShard
from dpmot.features import Extractor
from dpmot.results import POOLED, SKIPPED
from dpmot.runtime.closure import code_digest
from dpmot.runtime.files import atomic, read_json, write_json
from dpmot.runtime.fingerprint import digest, environment, file_digest
from dpmot.runtime.session import session
from dpmot.runtime.stopwatch import Stopwatch
from dpmot.statistics.paired import equivalence, holm

if TYPE_CHECKING:
    from dpmot.experiment.jobs import Job, Measure
    from dpmot.experiment.layout import Layout
    from dpmot.experiment.plan import Identity

ALPHA = 0.05
KEPT = ("rows", "replicates", "flags", "mixed")  # what a method is measured to


def run(job: "Job[Measure | MeasureShard]", layout: "Layout", *, cores: int = 1) -> None:
    """Write metrics.csv, replicates.csv, audit.csv, identity.csv and fingerprint.json.

    A shard writes what it has found of its methods, which is gathered when all are there.

    Args:
        cores: for methods side by side.
    """
    shard = job.task if isinstance(job.task, MeasureShard) else None
    whole = job.task.measure if isinstance(job.task, MeasureShard) else job.task
    each = members_of(whole.experiment)
    task = replace(whole, experiment=each.experiment)
    with session(job, layout) as stage:
        parts, mixture, data = read_data(layout.data)
        extractors = extractors_of(task, layout, mixture)
        facts = {} if shard else _facts(job, task, layout, extractors, data)  # of the code as it is now
        if shard or not task.parts:
            names = shard.names if shard else [*results.FLOORS, *task.experiment.methods]
            extract = Extractors(extractors, layout.features, threads=job.threads, device=job.device)
            with stage.watch.arithmetic():
                real = compared_with(task, extract, parts)
            found = measured(
                cast("Job[Measure]", replace(job, task=task)), names, layout, stage, extract, real, cores=cores
            )
        else:
            found = _gathered(task, layout, stage.watch, code=job.code, extractors=extractors)
        with stage.watch.io():
            if shard:
                made = mark(shard, job.code, _behind(shard, layout, extractors))
                sealed = {**made, "content": digest(found), "found": found}
                write_json(layout.measured_shard(shard.name), sealed)
            else:
                _write(task, each, layout, list(found.values()), parts, facts)


def _behind(shard: MeasureShard, layout: "Layout", extractors: Sequence[Extractor]) -> list[Path]:
    """The files that a shard measures."""
    samples = [layout.samples(name) for name in shard.names if name not in results.FLOORS]
    return [layout.data, *samples, *(file for extractor in extractors for file in extractor.files())]


def _gathered(
    task: "Measure",
    layout: "Layout",
    watch: Stopwatch,
    *,
    code: Sequence[str] = (),
    extractors: Sequence[Extractor] = (),
) -> dict[str, dict]:
    """What shards have found, in order, with their seconds added to the watch's.

    Raises:
        ValueError: a file is damaged, of another task, or was made by other code or of other files.
    """
    found: dict[str, dict] = {}
    for number, names in enumerate(task.parts, 1):
        shard = MeasureShard(task, names, number, len(task.parts))
        path = layout.measured_shard(shard.name)
        stored = read_json(path)
        whole = stored if stored.get("content") == digest(stored.get("found")) else {}
        check(path, whole, mark(shard, code, _behind(shard, layout, extractors)))
        found |= stored["found"]
        watch.add(read_json(layout.timing(shard.name)))
    return found


def _facts(
    job: "Job", task: "Measure", layout: "Layout", extractors: Sequence[Extractor], data: Mapping[str, Any]
) -> dict[str, Any]:
    """What the numbers depend on, by which the fingerprint tells runs apart."""
    environ = environment(job.threads, job.device)
    facts = {"environment": environ, "config": task.config, "code": code_digest(task.all_code), "data": data}
    networks = sorted({method.network for method in task.experiment.drawn.values()})
    weights = {name: layout.network(name) for name in networks}
    weights |= {f"{one.name}: {path.name}": path for one in extractors for path in one.files()}
    facts["weights"] = {name: file_digest(path) for name, path in weights.items()}
    if given := task.experiment.elsewhere:
        facts["samples"] = {name: file_digest(layout.samples(name)) for name in given}
    return facts


def _write(
    task: "Measure",
    each: Members,
    layout: "Layout",
    found: Sequence[Mapping],
    parts: Mapping,
    facts: Mapping[str, Any],
) -> None:
    """The tables of all methods, each verdict and p-value over all of them.

    Raises:
        ValueError: nothing was measured.
    """
    rows, replicates, flags, mixed = ([row for one in found for row in one[key]] for key in KEPT)
    if not rows:
        asked = f"{', '.join(task.experiment.metrics)} in features {', '.join(task.extractors)}"
        raise ValueError(f"metrics: nothing is measured by {asked}; name metrics or features that go together")
    unsolved = {name: cells for one in found for name, cells in one.get("unsolved", {}).items()}
    metrics, over = _trainings.assembled(rows, each, fingerprint=digest(facts))
    parted = pd.DataFrame([*replicates, *over], columns=results.REPLICATES.columns)
    tables = {"metrics": metrics, "replicates": parted}
    own = metrics[metrics.training_seed != results.OVER_TRAININGS]
    tables["audit"] = _trainings.verdicts(verdicts(task.experiment, own, parts, unsolved), each)
    tables["identity"] = _identity(task.experiment.identity, tables["metrics"])
    tables["copies"] = pd.DataFrame(flags, columns=results.FLAGS.columns)
    tables["mixed"] = pd.DataFrame(mixed, columns=results.MIXED.columns)
    for name, table in tables.items():
        with atomic(layout.root / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False)
    write_json(layout.root / "fingerprint.json", {"fingerprint": digest(facts), **facts})


def _identity(plan: "Identity | None", metrics: pd.DataFrame) -> pd.DataFrame:
    """Equivalence of two methods over sample seeds (TOST), for each metric with a margin.

    A relative margin is a share of the second method's own mean. p_value is that of equivalence, p_difference the
    two-sided one against equal means, each Holm-corrected over the table; "equivalent" is the former at most .05.
    """
    rows: list[list] = []
    absolute, relative = (plan.margins, plan.relative_margins) if plan else ({}, {})
    seeds = metrics[(metrics.sample_seed != POOLED) & (metrics.metric != SKIPPED)]
    keys = ["nfe_counted", "reference", "sample_seed"]
    for first, second in plan.pairs if plan else ():
        for metric in [*absolute, *relative]:
            rated = seeds[seeds.metric == metric]
            both: list[Any] = [rated[rated.method == name].set_index(keys).value for name in (first, second)]
            one, two = (values.astype(float) for values in both)
            for (nfe, reference), values in (one - two).dropna().groupby(keys[:2], sort=False):
                margin = absolute.get(metric) or relative[metric] * abs(two.loc[nfe, reference].mean())
                test = equivalence(values.to_numpy(), margin)
                named = [f"{first} - {second}", metric, reference, int(nfe), len(values)]
                found = [test.mean, test.low, test.high, margin, test.p_value, test.equivalent, test.p_difference]
                rows.append([*named, *found])
    table = pd.DataFrame(rows, columns=results.IDENTITY.columns)
    for column in ("p_value", "p_difference"):
        table[column] = holm(table[column].to_numpy(float)) if len(table) else []
    return table.assign(equivalent=table.p_value <= ALPHA)
