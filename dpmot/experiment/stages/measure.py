"""Measure every cell: metrics.csv with intervals, replicates.csv for paired tests, the audit and the identity test."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from dpmot import plugins
from dpmot.device import chosen
from dpmot.experiment.stages._estimates import NUM_GROUPS, PLAIN, Measurement, as_seen, held_out, measure
from dpmot.experiment.stages._feature_cache import SLOW, Extractors
from dpmot.experiment.stages._prepared import read_data
from dpmot.features import Features, joined
from dpmot.runtime import seals
from dpmot.runtime.closure import code_digest
from dpmot.runtime.files import atomic, write_json
from dpmot.runtime.fingerprint import digest, environment, file_digest
from dpmot.runtime.session import session
from dpmot.statistics.audit import audit
from dpmot.statistics.jackknife import Estimate
from dpmot.statistics.paired import equivalence, holm

COLUMNS = [
    *("experiment", "dataset", "method", "network", "start", "sampler", "nfe_budget", "nfe_counted"),
    *("sigma_start", "sigma_atoms", "training_seed", "sample_seed", "num_samples", "features"),
    *("reference", "metric", "value", "low", "high", "reason", "fingerprint"),
]
ALPHA = 0.05
STORED = {"A": "train", "C": "test"}


def inputs(job: Mapping, layout) -> list[Path]:
    """Files that the measuring job reads."""
    classifier = [layout.classifier] if "classifier" in job["extractors"] else []
    return [layout.data, *classifier, *(layout.samples(name) for name in job["methods"])]


def run(job: Mapping, layout, *, cores: int = 1) -> None:
    """Write metrics.csv, replicates.csv, audit.csv, identity.csv and fingerprint.json.

    Methods are measured side by side, as many as there are cores for, which changes no number: each has ``threads`` of
    the job. Where features are extracted on a GPU, it is one method at a time.
    """
    with session(job, layout, inputs(job, layout)) as stage:
        parts, mixture, facts = read_data(layout.data)
        environ = environment(job["threads"], job["device"])
        mark = {"environment": environ, "config": job["config"], "code": code_digest(job["all_code"]), "data": facts}
        mark["weights"] = {path.stem: file_digest(path) for path in _weights(job, layout)}
        extract = Extractors(job, layout, mixture)
        with stage.watch.arithmetic():
            references = _references(extract, parts)
        found = _measured(job, layout, stage, extract, references, cores=cores)
        rows, replicates = ([one for each in found for one in each[key]] for key in ("rows", "replicates"))
        unsolved = {name: one for each in found for name, one in each.get("unsolved", {}).items()}
        with stage.watch.io():
            common = {key: job[key] for key in ("experiment", "dataset", "training_seed")}
            metrics = pd.DataFrame(rows).assign(**common, fingerprint=digest(mark)).reindex(columns=COLUMNS)
            _write(layout.root / "metrics.csv", metrics)
            _write(
                layout.root / "replicates.csv",
                pd.DataFrame(replicates, columns=["cell", "metric", "reference", "group", "value"]),
            )
            _write(layout.root / "audit.csv", _audit(job, metrics, references["pixels"], unsolved))
            _write(layout.root / "identity.csv", _identity(job, metrics))
            write_json(layout.root / "fingerprint.json", {"fingerprint": digest(mark), **mark})


def _measured(job: Mapping, layout, stage, extract: Extractors, references: Mapping, *, cores: int) -> list[dict]:
    """Rows and replicates of the floors and of every method, in order; those that were kept are not measured again.

    Where one fails, those under way are finished and kept, the others not begun.
    """
    failed: list[Exception] = []

    def one(name: str) -> tuple[str, dict | None]:
        try:
            if failed:
                return name, None
            if name.startswith("real_"):
                return name, _real(name, references, job.get("metrics"))
            return name, _method(job, layout, name, extract, references)
        except Exception as error:  # raised below
            failed.append(error)
            return name, None

    names = ["real_train", "real_test", *job["methods"]]
    kept = {name: stage.kept_json(name) for name in names}
    wanted = [name for name in names if kept[name] is None]
    progress = {"desc": "measure", "unit": "method", "mininterval": 5, "initial": len(names) - len(wanted)}
    shared = chosen(job["device"]).type != "cpu" and {*job["extractors"]} & {*SLOW}
    workers = 1 if shared else max(1, cores // job["threads"])
    with (
        stage.watch.arithmetic(),
        threadpool_limits(job["threads"]),
        ThreadPool(workers, torch.set_num_threads, [job["threads"]]) as pool,  # daemons: an interruption is not delayed
    ):
        for name, found in tqdm(pool.imap_unordered(one, wanted), total=len(names), **progress):
            if found is not None:
                stage.keep_json(name, found)
                kept[name] = json.loads(json.dumps(found))  # as it is read, when a run goes on
    if failed:
        raise failed[0]
    return [kept[name] for name in names]


def _weights(job: Mapping, layout) -> list[Path]:
    networks = [layout.network(name) for name in sorted({method["network"] for method in job["methods"].values()})]
    classifier = [layout.classifier] if "classifier" in job["extractors"] else []
    if "resnet56" in job["extractors"]:
        classifier.append(plugins.find("features", "resnet56").published(job["root"]))
    if "vit" in job["extractors"]:
        classifier += plugins.find("features", "vit").files(Path(job["vit"]["weights"]))
    return networks + classifier


def _references(extract: Extractors, parts: Mapping) -> dict[str, dict[str, Features]]:
    train, test = (extract(parts[name].raw, labels=parts[name].labels.numpy()) for name in "AC")
    return {name: {"train": train[name], "test": test[name]} for name in train}


def _real(name: str, references: Mapping, names: Sequence[str] | None) -> dict:
    """The floors: real images as if they were samples (split A is "train", split C is "test")."""
    generated = {extractor: by_name[name.removeprefix("real_")] for extractor, by_name in references.items()}
    group = np.arange(len(next(iter(generated.values())))) % NUM_GROUPS
    cell = {"method": name, "start": "data", "sampler": "none", "nfe_budget": 0, "nfe_counted": 0}
    # the training images are what FLD is fitted to: as samples they are an exact copier, and no floor
    found = (one for one in measure(generated, references, group, names=names) if not one.metric.startswith("fld_"))
    other = [one for one in found if one.reference != name.removeprefix("real_")]
    if name == "real_train":
        other += [_copied(one) for one in other if one.metric.startswith("fd_")]
    rows = _rows({**cell, "sample_seed": "pooled", "num_samples": len(group)}, other)
    return {"rows": rows, "replicates": _replicates(f"{name}/0", other)}


def _copied(one: Measurement) -> Measurement:
    """FD of the training images as a finite law, which is what an exact copier of them tends to.

    Resampling one finite set any number of times leaves its plain distance: there is no bias to remove.
    """
    return replace(one, metric=f"copy_{one.metric}", estimate=Estimate(one.full, one.full, one.full))


def _method(job: Mapping, layout, name: str, extract: Extractors, references: Mapping) -> dict:
    cells, drawn = _read_samples(layout.samples(name))
    described = {"method": name, "start": "prior", **{k: v for k, v in job["methods"][name].items() if k in COLUMNS}}
    rows, replicates = [], []
    asked = {"stored": STORED[job["splits"][name]], "names": job.get("metrics")}

    def setting(cell: Mapping) -> tuple:
        return str(cell["nfe_budget"]), cell["sigma_start"] or 0.0

    for key, members in groupby(cells, key=setting):
        members = list(members)
        cell = {
            **described,
            **{k: members[0].get(k) for k in ("nfe_budget", "nfe_counted", "sigma_start", "sigma_atoms")},
        }
        if members[0]["reason"]:
            skipped = {"sample_seed": "pooled", "metric": "all", "reference": "none", "reason": members[0]["reason"]}
            rows.append({**cell, **skipped, "num_samples": 0})
            continue
        features, group = _features(members, drawn, extract, num_sources=job["num_atoms"])
        for member, one in zip(members, features, strict=True):
            measured = list(measure(one, references, group, **asked))
            rows += _rows({**cell, "sample_seed": member["sample_seed"], "num_samples": len(group)}, measured)
        if len(features) > 1:  # one seed is its own pool
            pooled = {extractor: joined([one[extractor] for one in features]) for extractor in features[0]}
            measured = list(measure(pooled, references, np.tile(group, len(features)), **asked))
        rows += _rows({**cell, "sample_seed": "pooled", "num_samples": len(group) * len(features)}, measured)
        replicates += _replicates("/".join([name, key[0], f"{key[1]:.6g}"]), measured)
    unsolved = {f"{c['nfe_budget']}/{c['sigma_start']:.6g}": c["unsolved"] for c in cells if c.get("unsolved")}
    return {"rows": rows, "replicates": replicates, "unsolved": {name: unsolved}}


def _read_samples(path: Path) -> tuple[list[dict], dict[str, torch.Tensor]]:
    tensors, texts = seals.load(path, name=path.name)
    wanted = {name: one for name, one in tensors.items() if name.endswith(("/images", "/source"))}
    return json.loads(texts["cells"]), wanted


def _features(members: Sequence[Mapping], drawn: Mapping, extract: Extractors, *, num_sources: int | None):
    found = []
    for member in members:
        source = drawn.get(f"{member['key']}/source")
        images = drawn[f"{member['key']}/images"]
        found.append(extract(images, source=None if source is None else source.numpy(), num_sources=num_sources))
    return found, np.arange(len(next(iter(found[0].values())))) % NUM_GROUPS


def _rows(cell: Mapping, measured: Iterator[Measurement]) -> list[dict]:
    return [
        {
            **cell,
            "features": one.features,
            "reference": one.reference,
            "metric": one.metric,
            "value": one.estimate.value,
            "low": one.estimate.low,
            "high": one.estimate.high,
            "reason": one.remark or None,
        }
        for one in measured
    ]


def _replicates(cell: str, measured: Sequence[Measurement]) -> list[list]:
    found = []
    for one in measured:
        if one.metric.startswith(PLAIN):  # the replicates are plain values anyway
            continue
        found.append([cell, one.metric, one.reference, "all", one.full])
        found += [[cell, one.metric, one.reference, group, value] for group, value in enumerate(one.leave_out)]
    return found


def _audit(job: Mapping, metrics: pd.DataFrame, references: Mapping, unsolved: Mapping) -> pd.DataFrame:
    """One row per pooled cell: ranked, or the reasons why not."""
    floors = {stored: held_out(as_seen(references, stored)) for stored in references}
    names = {"recovery": "recovery_pixels", "authenticity": "authenticity_pixels", "ct": "ct_pixels"}
    pooled, rows = (
        metrics[(metrics.sample_seed == "pooled") & (metrics.metric != "all") & (metrics.start != "data")],
        [],
    )
    for (method, budget, sigma), cell in pooled.groupby(["method", "nfe_budget", "sigma_start"], sort=False):
        stored = STORED[job["splits"][method]]
        by_metric = cell[cell.reference == stored].set_index("metric")
        found = {key: _estimate(by_metric, name) for key, name in names.items()}
        reasons = audit(held_out=floors[stored], **found)
        missed = unsolved[method].get(f"{budget}/{sigma:.6g}")
        reasons += [f"transport not converged: {missed}"] if missed else []
        rows.append([method, budget, sigma, not reasons, "; ".join(reasons)])
    return pd.DataFrame(rows, columns=["method", "nfe_budget", "sigma_start", "ranked", "reasons"])


def _estimate(rows: pd.DataFrame, metric: str) -> Estimate | None:
    return Estimate(*rows.loc[metric, ["value", "low", "high"]].astype(float)) if metric in rows.index else None


def _identity(job: Mapping, metrics: pd.DataFrame) -> pd.DataFrame:
    """Equivalence of two methods over sample seeds (TOST), for each metric with a margin.

    A relative margin is a share of the second method's own mean. p_value is that of equivalence, p_difference the
    two-sided one against equal means, each Holm-corrected over the table; "equivalent" is the former at most .05.
    """
    columns = ["pair", "metric", "reference", "nfe", "seeds"]
    columns += ["mean_difference", "low", "high", "margin", "p_value", "equivalent", "p_difference"]
    plan, rows = job["identity"] or {"pairs": []}, []
    absolute, relative = plan.get("margins", {}), plan.get("relative_margins", {})
    seeds = metrics[(metrics.sample_seed != "pooled") & (metrics.metric != "all")]
    keys = ["nfe_counted", "reference", "sample_seed"]
    for first, second in plan["pairs"]:
        for metric in [*absolute, *relative]:
            rated = seeds[seeds.metric == metric]
            one, two = (rated[rated.method == name].set_index(keys).value.astype(float) for name in (first, second))
            for (nfe, reference), values in (one - two).dropna().groupby(keys[:2], sort=False):
                margin = absolute.get(metric) or relative[metric] * abs(two.loc[nfe, reference].mean())
                test = equivalence(values.to_numpy(), margin)
                named = [f"{first} - {second}", metric, reference, int(nfe), len(values)]
                found = [test.mean, test.low, test.high, margin, test.p_value, test.equivalent, test.p_difference]
                rows.append([*named, *found])
    table = pd.DataFrame(rows, columns=columns)
    for column in ("p_value", "p_difference"):
        table[column] = holm(table[column].to_numpy(float)) if len(table) else []
    return table.assign(equivalent=table.p_value <= ALPHA)


def _write(path: Path, table: pd.DataFrame) -> None:
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False)
