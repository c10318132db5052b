"""One recipe trained several times, as a table of each training alone would have it, and how much of a value is luck.

Members of a method at several training seeds are measured and audited by themselves. :func:`of_training` is the results
folder of one of them, on which every rule of the pages (ranked rows, paired tests, Holm's correction) runs unchanged.
:func:`spread` splits the variance of each cell's value into training and samples (:mod:`dpmot.statistics.components`).
"""

from collections.abc import Iterator
from math import nan, sqrt
from typing import Any

import numpy as np
import pandas as pd

from dpmot.results import COPY, FRESH, OVER_TRAININGS, POOLED, SKIPPED, by_key, records
from dpmot.statistics.components import Components, components
from dpmot.statistics.jackknife import Estimate, interval, leave_out_of_means
from paper_figures._results import Results, Row

KEY = ["method", "nfe_budget", "sigma_start", "metric", "reference"]
NOTHING = Estimate(nan, nan, nan)


def of_training(results: Results, seed: int) -> Results:
    """The same folder as if the network had been trained with this seed alone."""
    names = {one: owner for one, owner in results.owner.items() if results.each.seeds[one] in (seed, None)}
    experiment = results.experiment.but(training_seed=seed, training_seeds=None)
    drawn = results.drawn
    rows = drawn[drawn["method"].isin(names) | ~drawn["method"].isin(results.owner)]
    rows = rows.assign(method=rows["method"].map(lambda name: names.get(name, name)))
    alone = Results(results.folder, rows, experiment, rows)
    # what it would read from the folder has the members' names
    audit = results.audit
    if audit is not None:
        audit = audit[audit["method"].isin(names)]
        audit = audit.assign(method=audit["method"].map(names))
    parts: dict[tuple[str, str, str], Any] = {}
    for (cell, metric, reference), values in results.replicates.items():
        name, _, rest = cell.partition("/")
        if name in names or (name not in results.owner and name not in results.each.repeated):
            parts[f"{names.get(name, name)}/{rest}", metric, reference] = values
    alone.__dict__.update(audit=audit, replicates=parts)
    return alone


def spread(results: Results) -> Iterator[dict[str, Any]]:
    """One row per cell and metric of a method at several training seeds: its intervals, and the parts of its variance.

    ``over_samples`` is half the width of the interval over the samples of one network, in the mean; ``of_one`` is that
    of the value of one network as an answer for all trainings, Student's t times the spread of the members' values.
    """
    over = by_key(results.pooled(), *KEY)
    drawn = results.drawn[results.drawn["method"].isin(results.owner) & (results.drawn["metric"] != SKIPPED)]
    drawn = drawn[~drawn["metric"].str.startswith((COPY, FRESH)) & drawn["value"].notna()]
    drawn = drawn.assign(member=drawn["method"], method=drawn["method"].map(results.owner))
    drawn = drawn[drawn["method"].isin(results.each.repeated)]
    for key, part in drawn.groupby(KEY, sort=False):
        row = over.get(key)  # type: ignore[call-overload]
        if row is not None and row["training_seed"] == OVER_TRAININGS and row["value"] == row["value"]:
            yield _of_cell(results, row, part)


def _of_cell(results: Results, row: Row, part: pd.DataFrame) -> dict[str, Any]:
    whole = part[part["sample_seed"] == POOLED]
    single = part[part["sample_seed"] != POOLED]
    values = whole["value"].to_numpy(float)
    one = interval(values.mean(), leave_out_of_means(values, np.arange(len(values))), debias=False)
    of_one = (one.high - one.low) / 2 * sqrt(len(values))
    parted = _components(single, len(values))
    n = int(single["num_samples"].iloc[0]) if len(single) else int(row["num_samples"])
    found: dict[str, Any] = {name: row[name] for name in (*KEY, "value", "low", "high", "ranked", "fingerprint")}
    found |= {"label": results.label(row["method"]), "trainings": len(values), "num_samples": row["num_samples"]}
    found |= {"of_one": of_one, "over_samples": float((whole["high"] - whole["low"]).mean()) / 2}
    return found | {"draws": parted.draws if parted else 1, "samples_a_draw": n} | _parts(parted, n)


def _components(single: pd.DataFrame, trainings: int) -> Components | None:
    """Of the values of single sample seeds; None where a training lacks some, or has one."""
    table = [part["value"].to_numpy(float) for _, part in single.groupby("member", sort=False)]
    draws = {len(values) for values in table}
    whole = len(table) == trainings and len(draws) == 1 and draws != {1}
    return components(np.array(table)) if whole else None


def _parts(parted: Components | None, n: int) -> dict[str, float]:
    training, sampling, share = (
        (parted.training, parted.sampling, parted.share) if parted else (NOTHING, NOTHING, NOTHING)
    )
    return {
        **{f"sd_training{end}": _root(value) for end, value in _ends(training)},
        **{f"sd_samples{end}": _root(value) for end, value in _ends(sampling)},
        **{f"share{end}": value for end, value in _ends(share)},
        "samples_alike": n * sampling.value / training.value if training.value > 0 else nan,
    }


def _ends(estimate: Estimate) -> tuple[tuple[str, float], ...]:
    return ("", estimate.value), ("_low", estimate.low), ("_high", estimate.high)


def _root(value: float) -> float:
    return sqrt(max(0.0, value)) if value == value else nan


def by_metric(table: pd.DataFrame) -> list[dict[str, Any]]:
    """What rows of :func:`spread` say of each metric: medians over its rows, and where training is shown to matter."""
    found = []
    for (metric, reference), part in table.groupby(["metric", "reference"], sort=False):
        known = part[part["share"].notna()]
        over = part["over_samples"].to_numpy(float)
        wide = part["of_one"].to_numpy(float)[over > 0] / over[over > 0]
        found.append({
            "metric": metric, "reference": reference, "rows": len(known),
            "share": float(known["share"].median()), "least": float(known["share"].min()),
            "most": float(known["share"].max()), "shown": int((known["share_low"] > 0).sum()),
            "wider": float(np.median(wide)) if len(wide) else nan,
        })  # fmt: skip
    return records(pd.DataFrame(found))
