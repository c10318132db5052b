"""Measure real images and methods, side by side, each to rows and replicates that a stage writes or gathers."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import groupby
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from dpmot import plugins, results
from dpmot.device import chosen
from dpmot.evaluation.copying import searched, shares
from dpmot.evaluation.estimates import NUM_GROUPS, Measurement, measure, real_groups
from dpmot.evaluation.feature_cache import Extractors
from dpmot.evaluation.mixed import most_mixed
from dpmot.experiment.cells import Cell
from dpmot.experiment.methods import Method
from dpmot.experiment.stages._audit import STORED
from dpmot.experiment.stages._ends import MOVED
from dpmot.experiment.stages._fresh import Fresh, as_law, fresh, of_fresh
from dpmot.experiment.stages.read import TRAIN
from dpmot.features import Extractor, Features, Offer, joined
from dpmot.metrics.copies import SEARCHED, Copies
from dpmot.results import POOLED, SKIPPED
from dpmot.runtime import seals
from dpmot.runtime.session import Session

if TYPE_CHECKING:
    from dpmot.experiment.jobs import Measure
    from dpmot.experiment.layout import Layout
    from dpmot.experiment.plan import Experiment
    from dpmot.runtime.job import Job


@dataclass(frozen=True, eq=False)
class Real:
    """What samples are compared with.

    Attributes:
        references: extractor -> "train" (split A) and "test" (split C) features.
        fresh: images of split B, as many as are stored or drawn; None where no metric asks for them.
        copies: all real images, ready to be searched; None where nobody asks for copies.
        splits: the images of each split, as stored.
    """

    references: Mapping[str, Mapping[str, Features]]
    fresh: Fresh | None = None
    copies: Copies | None = None
    splits: Mapping[str, np.ndarray] = field(default_factory=dict)


def measured(
    job: "Job[Measure]",
    names: Sequence[str],
    layout: "Layout",
    stage: Session,
    extract: Extractors,
    real: Real,
    *,
    cores: int,
) -> dict[str, dict]:
    """Rows, replicates and flags of floors and methods by name, in order; what was kept is not measured again.

    Methods are measured side by side, as many as there are cores for, which changes no number: each has ``threads`` of
    the job. Where features are extracted on a GPU, it is one method at a time. Where one fails, those under way are
    finished and kept, the others not begun.
    """
    task = job.task
    failed: list[Exception] = []

    def one(name: str) -> tuple[str, dict | None]:
        try:
            if not failed and name in results.FLOORS:
                return name, of_floor(name, real, task.experiment)
            if not failed:
                return name, of_method(task, layout, name, extract, real)
        except Exception as error:  # raised below
            failed.append(error)
        return name, None

    kept = {name: stage.kept_json(name) for name in names}
    wanted = [name for name in names if kept[name] is None]
    progress = partial(tqdm, total=len(names), initial=len(names) - len(wanted), desc="measure", unit="method")
    shared = chosen(job.device).type != "cpu" and any(Extractor(name).slow for name in task.extractors)
    workers = 1 if shared else max(1, cores // job.threads)
    with (
        stage.watch.arithmetic(),
        threadpool_limits(job.threads),
        ThreadPool(workers, torch.set_num_threads, [job.threads]) as pool,  # daemons: an interruption is not delayed
    ):
        for name, found in progress(pool.imap_unordered(one, wanted), mininterval=5):
            if found is not None:
                stage.keep_json(name, found)
                kept[name] = json.loads(json.dumps(found))  # as it is read, when a run goes on
    if failed:
        raise failed[0]
    return kept


def extractors_of(task: "Measure", layout: "Layout", mixture: Mapping[str, torch.Tensor]) -> list[Extractor]:
    """The feature extractors of a measuring job, each with its options and what a stage offers it."""
    known = {name: tensor.numpy() for name, tensor in mixture.items()} or None
    root, download = task.experiment.data_root, task.experiment.download
    offer = Offer(classifier=layout.classifier, root=Path(root) if root else None, download=download, mixture=known)
    return [Extractor(name, replace(offer, given=options)) for name, options in task.extractors.items()]


def compared_with(task: "Measure", extract: Extractors, parts: Mapping) -> Real:
    """The real images of splits A, B and C, their features, and the gallery where copies are sought."""
    train, test = (extract(parts[name].raw, labels=parts[name].labels.numpy()) for name in "AC")
    copies, splits = None, {name: part.raw.numpy() for name, part in parts.items()}
    if "copies" in task.experiment.metrics:
        copies = Copies(splits)
        copies.ratios(copies.held_out)  # now, before methods ask side by side
    references = {name: {"train": train[name], "test": test[name]} for name in train}
    return Real(references, fresh(task.experiment, extract, parts), copies, splits)


def of_floor(name: str, real: Real, experiment: "Experiment") -> dict:
    """Real images as if they were samples (split A is "train", split C is "test"), and fresh ones."""
    names, num_atoms, references, copies = experiment.metrics, experiment.num_atoms, real.references, real.copies
    generated = {extractor: by_name[name.removeprefix("real_")] for extractor, by_name in references.items()}
    first = next(iter(generated.values()))
    group = real_groups(first.labels, len(first))
    cell: dict[str, Any] = {"method": name, "start": "data", "sampler": "none", "nfe_budget": 0, "nfe_counted": 0}
    found = measure(generated, references, group, names=names, real=True)
    floors = (one for one in found if results.fact(one.metric).floor)
    other = [one for one in floors if one.reference != name.removeprefix("real_")]
    rows = rows_of({**cell, "sample_seed": POOLED, "num_samples": len(group)}, other)
    if name == results.REAL_TRAIN:
        stored, seen = num_atoms or len(group), other
        if stored < len(group):  # a start hands back the atoms, which are the first images of the split
            kept = {extractor: features.subset(np.arange(stored)) for extractor, features in generated.items()}
            facts = {metric: plugins.find("metrics", metric).FACTS.values() for metric in names}
            few = [metric for metric, known in facts.items() if any(one.copier for one in known)]
            seen = list(measure(kept, references, group[:stored], names=few)) if stored >= NUM_GROUPS else []
        copied = [one for one in seen if results.fact(one.metric).copier and one.reference == "test"]
        copied = [replace(as_law(one), metric=f"{results.COPY}{one.metric}") for one in copied]
        rows += rows_of({**cell, "sample_seed": POOLED, "num_samples": stored}, copied)
        other += copied
        for number, fresh_ones in of_fresh(real.fresh, references, names) if real.fresh else ():
            rows += rows_of({**cell, "sample_seed": POOLED, "num_samples": number}, fresh_ones)
            other += fresh_ones
    if copies:
        own = copies.rows("A" if name == results.REAL_TRAIN else "C")[:SEARCHED]
        nearest = copies.of_real(own)
        told = shares(copies, nearest, copies.flags(nearest))
        told = [one for one in told if one.reference != name.removeprefix("real_")]
        rows += rows_of({**cell, "sample_seed": POOLED, "num_samples": len(own)}, told)
    replicates = replicates_of(results.cell_key(name, 0, None), other)
    return {"rows": rows, "replicates": replicates, "flags": [], "mixed": []}


def of_method(task: "Measure", layout: "Layout", name: str, extract: Extractors, real: Real) -> dict:
    """A method's samples, measured: its rows, replicates, flags of copies and most mixed samples."""
    path, method = layout.samples(name), task.experiment.methods[name]
    drawn, texts = seals.load(path, name=path.name)
    cells = [Cell(**cell) for cell in json.loads(texts["cells"])]
    notes = json.loads(texts.get("notes", "[]"))  # of samples from elsewhere, or what was learned
    kept_by_class = isinstance(method, Method) and method.balanced  # by the classifier, which says nothing of them then
    real = _beside(real, drawn[TRAIN], extract, name) if TRAIN in drawn else real
    described = {"method": name, "start": method.start, "network": method.network, "sampler": method.sampler}
    rows: list[dict] = []
    replicates: list[list] = []
    flags: list[list] = []
    mixed: list[list] = []
    measured_of = partial(
        measure, references=real.references, stored=STORED[method.split], names=task.experiment.metrics
    )
    for setting, group_of_cells in groupby(cells, key=lambda cell: (str(cell.nfe_budget), cell.sigma_start or 0.0)):
        members = list(group_of_cells)
        first = members[0]
        cell: dict[str, Any] = {**described, "nfe_budget": first.nfe_budget, "nfe_counted": first.nfe_counted}
        cell |= {"sigma_start": first.sigma_start, "sigma_atoms": first.sigma_atoms}
        if first.reason:
            skipped = {"sample_seed": POOLED, "metric": SKIPPED, "reference": "none", "reason": first.reason}
            rows.append({**cell, **skipped, "num_samples": 0})
            continue
        features = [
            extract(
                drawn[f"{one.key}/images"],
                source=_of_each(drawn, f"{one.key}/source"),
                num_sources=task.experiment.num_atoms,
                drawn_for=None if kept_by_class else _of_each(drawn, f"{one.key}/labels"),
                trajectory_variance=_of_each(drawn, f"{one.key}/{MOVED}"),
            )
            for one in members
        ]
        group = np.arange(len(drawn[f"{first.key}/images"])) % NUM_GROUPS
        for member, one in zip(members, features, strict=True):
            measured = list(measured_of(one, group=group))
            rows += rows_of({**cell, "sample_seed": member.sample_seed, "num_samples": len(group)}, measured)
            place = [name, first.nfe_budget, first.sigma_start, member.sample_seed]
            mixed += [[*place, *told] for told in most_mixed(one)]
        if len(features) > 1:  # one seed is its own pool
            pooled = {extractor: joined([one[extractor] for one in features]) for extractor in features[0]}
            measured = list(measured_of(pooled, group=np.tile(group, len(features))))
        rows += rows_of({**cell, "sample_seed": POOLED, "num_samples": len(group) * len(features)}, measured)
        if real.copies:
            samples = {one.sample_seed: drawn[f"{one.key}/images"] for one in members}
            number, found, told = searched(real.copies, samples)
            rows += rows_of({**cell, "sample_seed": POOLED, "num_samples": number}, found)
            flags += [[name, first.nfe_budget, first.sigma_start, *one] for one in told]
        replicates += replicates_of(results.cell_key(name, *setting), measured)
    for row in rows if notes else ():
        if row["metric"] != SKIPPED:  # beside what else is said of a value, as of one with a bias
            row["reason"] = "; ".join([*([row["reason"]] if row["reason"] else []), *notes])
    unsolved = {f"{cell.nfe_budget}/{cell.sigma_start:.6g}": cell.unsolved for cell in cells if cell.unsolved}
    kept = {"rows": rows, "replicates": replicates, "flags": flags, "mixed": mixed}
    return {**kept, "unsolved": {name: unsolved}}


def _of_each(drawn: Mapping[str, torch.Tensor], name: str) -> np.ndarray | None:
    """What a file of samples has of each sample, where it has that."""
    return drawn[name].numpy() if name in drawn else None


def _beside(real: Real, train: torch.Tensor, extract: Extractors, name: str) -> Real:
    """The same with other training images: those of samples whose model has seen others than split A."""
    own = extract(train)
    references = {one: {**known, "train": own[one]} for one, known in real.references.items()}
    try:
        copies = real.copies and Copies({**real.splits, "A": train.numpy()})
    except ValueError as error:
        raise ValueError(f"methods.{name}.train_reference: {error}") from None
    return replace(real, references=references, copies=copies)


def rows_of(cell: Mapping, measured: Iterable[Measurement]) -> list[dict]:
    """Rows of metrics.csv: the facts of a cell, then value, interval and reason of each measurement."""
    return [
        {
            **cell,
            "features": one.features,
            "reference": one.reference,
            "metric": one.metric,
            **(dict.fromkeys(results.INTERVAL) if one.estimate is None else asdict(one.estimate)),
            "reason": one.remark or None,
        }
        for one in measured
    ]


def replicates_of(cell: str, measured: Sequence[Measurement]) -> list[list]:
    """Rows of replicates.csv: cell, metric, reference, group left out ("all": none), value."""
    return [
        [cell, one.metric, one.reference, group, value]
        for one in measured
        if one.estimate is not None
        and not one.metric.startswith(results.PLAIN)  # the replicates are plain values anyway
        for group, value in [("all", one.full), *enumerate(one.leave_out)]
    ]
