"""Measure every cell: metrics.csv with intervals, replicates.csv for paired tests, the audit and the identity test."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import groupby
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from dpmot import plugins, results
from dpmot.device import chosen
from dpmot.experiment.cells import AUDITED_SPACE, Cell
from dpmot.experiment.stages._estimates import NUM_GROUPS, Measurement, as_seen, held_out, measure
from dpmot.experiment.stages._feature_cache import Extractors
from dpmot.experiment.stages._prepared import read_data
from dpmot.features import Extractor, Features, Offer, joined
from dpmot.metrics import AUDITED
from dpmot.results import POOLED, SKIPPED
from dpmot.runtime import seals
from dpmot.runtime.closure import code_digest
from dpmot.runtime.files import atomic, write_json
from dpmot.runtime.fingerprint import digest, environment, file_digest
from dpmot.runtime.session import Session, session
from dpmot.statistics.audit import audit
from dpmot.statistics.jackknife import Estimate
from dpmot.statistics.paired import equivalence, holm

if TYPE_CHECKING:
    from dpmot.experiment.jobs import Job, Measure
    from dpmot.experiment.layout import Layout
    from dpmot.experiment.plan import Identity

ALPHA = 0.05
STORED = {"A": "train", "C": "test"}


def run(job: "Job[Measure]", layout: "Layout", *, cores: int = 1) -> None:
    """Write metrics.csv, replicates.csv, audit.csv, identity.csv and fingerprint.json.

    Methods are measured side by side, as many as there are cores for, which changes no number: each has ``threads`` of
    the job. Where features are extracted on a GPU, it is one method at a time.
    """
    task = job.task
    with session(job, layout) as stage:
        parts, mixture, facts = read_data(layout.data)
        environ = environment(job.threads, job.device)
        mark = {"environment": environ, "config": task.config, "code": code_digest(task.all_code), "data": facts}
        extractors = _extractors(task, layout, mixture)
        extract = Extractors(extractors, layout.features, threads=job.threads, device=job.device)
        networks = sorted({method.network for method in task.experiment.methods.values()})
        weights = {name: layout.network(name) for name in networks}
        weights |= {f"{one.name}: {path.name}": path for one in extractors for path in one.files()}
        mark["weights"] = {name: file_digest(path) for name, path in weights.items()}
        with stage.watch.arithmetic():
            references = _references(extract, parts)
        measured = _measured(job, layout, stage, extract, references, cores=cores)
        rows, replicates = ([row for each in measured for row in each[key]] for key in ("rows", "replicates"))
        unsolved = {name: cells for each in measured for name, cells in each.get("unsolved", {}).items()}
        with stage.watch.io():
            common = {key: getattr(task.experiment, key) for key in ("experiment", "dataset", "training_seed")}
            metrics = pd.DataFrame(rows).assign(**common, fingerprint=digest(mark))
            tables = {"metrics": metrics.reindex(columns=results.METRICS.columns)}
            tables["replicates"] = pd.DataFrame(replicates, columns=results.REPLICATES.columns)
            tables["audit"] = _audit(task, tables["metrics"], references[AUDITED_SPACE], unsolved)
            tables["identity"] = _identity(task.experiment.identity, tables["metrics"])
            for name, table in tables.items():
                with atomic(layout.root / f"{name}.csv") as temporary:
                    table.to_csv(temporary, index=False)
            write_json(layout.root / "fingerprint.json", {"fingerprint": digest(mark), **mark})


def _measured(
    job: "Job[Measure]", layout: "Layout", stage: Session, extract: Extractors, references: Mapping, *, cores: int
) -> list[dict]:
    """Rows and replicates of the floors and of every method, in order; those that were kept are not measured again.

    Where one fails, those under way are finished and kept, the others not begun.
    """
    task = job.task
    failed: list[Exception] = []

    def one(name: str) -> tuple[str, dict | None]:
        try:
            if not failed and name in results.FLOORS:
                return name, _real(name, references, task.experiment.metrics, num_atoms=task.experiment.num_atoms)
            if not failed:
                return name, _method(task, layout, name, extract, references)
        except Exception as error:  # raised below
            failed.append(error)
        return name, None

    names = [*results.FLOORS, *task.experiment.methods]
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
    return [kept[name] for name in names]


def _extractors(task: "Measure", layout: "Layout", mixture: Mapping[str, torch.Tensor]) -> list[Extractor]:
    known = {name: tensor.numpy() for name, tensor in mixture.items()} or None
    root, download = task.experiment.data_root, task.experiment.download
    offer = Offer(classifier=layout.classifier, root=Path(root) if root else None, download=download, mixture=known)
    return [Extractor(name, replace(offer, given=options)) for name, options in task.extractors.items()]


def _references(extract: Extractors, parts: Mapping) -> dict[str, dict[str, Features]]:
    train, test = (extract(parts[name].raw, labels=parts[name].labels.numpy()) for name in "AC")
    return {name: {"train": train[name], "test": test[name]} for name in train}


def _real(name: str, references: Mapping, names: Sequence[str], *, num_atoms: int | None) -> dict:
    """The floors: real images as if they were samples (split A is "train", split C is "test")."""
    generated = {extractor: by_name[name.removeprefix("real_")] for extractor, by_name in references.items()}
    group = np.arange(len(next(iter(generated.values())))) % NUM_GROUPS
    cell: dict[str, Any] = {"method": name, "start": "data", "sampler": "none", "nfe_budget": 0, "nfe_counted": 0}
    found = (one for one in measure(generated, references, group, names=names) if results.fact(one.metric).floor)
    other = [one for one in found if one.reference != name.removeprefix("real_")]
    rows = _rows({**cell, "sample_seed": POOLED, "num_samples": len(group)}, other)
    if name == results.REAL_TRAIN:
        stored, seen = num_atoms or len(group), other
        if stored < len(group):  # a start hands back the atoms, which are the first images of the split
            kept = {extractor: features.subset(np.arange(stored)) for extractor, features in generated.items()}
            facts = {metric: plugins.find("metrics", metric).FACTS.values() for metric in names}
            few = [metric for metric, known in facts.items() if any(one.copier for one in known)]
            seen = list(measure(kept, references, group[:stored], names=few)) if stored >= NUM_GROUPS else []
        copied = [_copied(one) for one in seen if results.fact(one.metric).copier and one.reference == "test"]
        rows += _rows({**cell, "sample_seed": POOLED, "num_samples": stored}, copied)
        other += copied
    return {"rows": rows, "replicates": _replicates(results.cell_key(name, 0, None), other)}


def _copied(one: Measurement) -> Measurement:
    """FD of the training images as a finite law, which is what an exact copier of them tends to.

    Resampling one finite set any number of times leaves its plain distance: there is no bias to remove.
    """
    return replace(one, metric=f"{results.COPY}{one.metric}", estimate=Estimate(one.full, one.full, one.full))


def _method(task: "Measure", layout: "Layout", name: str, extract: Extractors, references: Mapping) -> dict:
    path, method = layout.samples(name), task.experiment.methods[name]
    drawn, texts = seals.load(path, name=path.name)
    cells = [Cell(**cell) for cell in json.loads(texts["cells"])]
    described = {"method": name, "start": method.start, "network": method.network, "sampler": method.sampler}
    rows: list[dict] = []
    replicates: list[list] = []
    measured_of = partial(measure, references=references, stored=STORED[method.split], names=task.experiment.metrics)
    for setting, group_of_cells in groupby(cells, key=lambda cell: (str(cell.nfe_budget), cell.sigma_start or 0.0)):
        members = list(group_of_cells)
        first = members[0]
        cell: dict[str, Any] = {**described, "nfe_budget": first.nfe_budget, "nfe_counted": first.nfe_counted}
        cell |= {"sigma_start": first.sigma_start, "sigma_atoms": first.sigma_atoms}
        if first.reason:
            skipped = {"sample_seed": POOLED, "metric": SKIPPED, "reference": "none", "reason": first.reason}
            rows.append({**cell, **skipped, "num_samples": 0})
            continue
        sources = [drawn[f"{one.key}/source"].numpy() if f"{one.key}/source" in drawn else None for one in members]
        features = [
            extract(drawn[f"{one.key}/images"], source=source, num_sources=task.experiment.num_atoms)
            for one, source in zip(members, sources, strict=True)
        ]
        group = np.arange(len(drawn[f"{first.key}/images"])) % NUM_GROUPS
        for member, one in zip(members, features, strict=True):
            measured = list(measured_of(one, group=group))
            rows += _rows({**cell, "sample_seed": member.sample_seed, "num_samples": len(group)}, measured)
        if len(features) > 1:  # one seed is its own pool
            pooled = {extractor: joined([one[extractor] for one in features]) for extractor in features[0]}
            measured = list(measured_of(pooled, group=np.tile(group, len(features))))
        rows += _rows({**cell, "sample_seed": POOLED, "num_samples": len(group) * len(features)}, measured)
        replicates += _replicates(results.cell_key(name, *setting), measured)
    unsolved = {f"{cell.nfe_budget}/{cell.sigma_start:.6g}": cell.unsolved for cell in cells if cell.unsolved}
    return {"rows": rows, "replicates": replicates, "unsolved": {name: unsolved}}


def _rows(cell: Mapping, measured: Iterable[Measurement]) -> list[dict]:
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


def _replicates(cell: str, measured: Sequence[Measurement]) -> list[list]:
    return [
        [cell, one.metric, one.reference, group, value]
        for one in measured
        if one.estimate is not None
        and not one.metric.startswith(results.PLAIN)  # the replicates are plain values anyway
        for group, value in [("all", one.full), *enumerate(one.leave_out)]
    ]


def _audit(task: "Measure", metrics: pd.DataFrame, references: Mapping, unsolved: Mapping) -> pd.DataFrame:
    """One row per pooled cell: ranked, or the reasons why not."""
    rows, floors = [], {stored: held_out(as_seen(references, stored)) for stored in references}
    pooled = metrics[(metrics.sample_seed == POOLED) & (metrics.metric != SKIPPED) & (metrics.start != "data")]
    for (method, budget, sigma), cell in pooled.groupby(["method", "nfe_budget", "sigma_start"], sort=False):
        stored = STORED[task.experiment.methods[str(method)].split]
        by_metric = cell[cell.reference == stored].set_index("metric")
        found = {key: _estimate(by_metric, name) for key, name in AUDITED.items()}
        reasons = audit(held_out=floors[stored], **found)
        missed = unsolved[method].get(f"{budget}/{sigma:.6g}")
        reasons += [f"transport not converged: {missed}"] if missed else []
        rows.append([method, budget, sigma, not reasons, "; ".join(reasons)])
    return pd.DataFrame(rows, columns=results.AUDIT.columns)


def _estimate(rows: pd.DataFrame, metric: str) -> Estimate | None:
    """None where it was not measured, or could not be."""
    found = rows.loc[rows.index == metric, list(results.INTERVAL)].dropna()
    return Estimate(*found.iloc[0].astype(float)) if len(found) else None


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
