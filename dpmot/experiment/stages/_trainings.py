"""Rows over several training seeds: m_1, ..., m_S, a metric of each member over all its sample seeds, are the units.

    value = mean m_t,    low, high = value -+ t_{S-1} sqrt(s^2 / S),    s^2 = sum_t (m_t - value)^2 / (S - 1).

Members share no noise, so the interval holds training and sampling; not the reference images, atoms and heights, which
all members share. In replicates.csv the group t of such a row is the mean without member t: the jackknife of a mean
over S units is Student's t, and so the tests of pairs are those of members in pairs.

t knows nothing where all members have one value (a share of 0, say), and nothing of what an interval tells that is not
of sampling, as those of the audit: there the ends reach as far as those of members do in the mean.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dpmot import results
from dpmot.experiment.members import Members
from dpmot.results import OVER_TRAININGS, PLAIN, POOLED, SKIPPED, cell_key, fact, records
from dpmot.statistics import jackknife
from dpmot.statistics.audit import RANKED, VERDICTS

KEYS = ["nfe_budget", "sigma_start", "features", "reference", "metric"]


def assembled(rows: list[dict[str, Any]], each: Members, *, fingerprint: str) -> tuple[pd.DataFrame, list[list]]:
    """All rows of metrics.csv, with those over training seeds last, and the replicates of the latter."""
    common = {"experiment": each.experiment.experiment, "dataset": each.experiment.dataset, "fingerprint": fingerprint}
    metrics = pd.DataFrame(rows)
    metrics = metrics.assign(**common, training_seed=[each.training_seed(name) for name in metrics.method])
    metrics = metrics.reindex(columns=results.METRICS.columns)
    over: list[dict[str, Any]] = []
    replicates: list[list] = []
    for name, members in each.repeated.items():
        own = metrics[metrics.method.isin(members) & (metrics.sample_seed == POOLED)]
        for _, part in own.groupby(KEYS, sort=False, dropna=False):
            units = records(part)
            row = {**units[0], "method": name, "network": each.origin[units[0]["network"]], **_cost(units)}
            over.append({**row, "training_seed": OVER_TRAININGS, **_pooled(units, members)})
            replicates += _replicates(over[-1], part.value.to_numpy(float))  # of all members, where it has a value
    return pd.concat([metrics, pd.DataFrame(over, columns=metrics.columns)]) if over else metrics, replicates


def _cost(units: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean of the members' evaluations, rounded up: one that throws samples away pays at each training anew."""
    spent = [int(unit["nfe_counted"]) for unit in units if pd.notna(unit["nfe_counted"])]
    return {"nfe_counted": math.ceil(sum(spent) / len(spent))} if spent else {}


def _pooled(units: Sequence[Mapping[str, Any]], members: Sequence[str]) -> dict[str, Any]:
    """Value, interval and reason over the members' rows of one metric."""
    known_of = {unit["method"]: unit["value"] for unit in units}
    values = np.array([known_of.get(name) for name in members], dtype=float)  # NaN for None
    reasons = dict.fromkeys(unit["reason"] for unit in units if isinstance(unit["reason"], str) and unit["reason"])
    if units[0]["metric"] == SKIPPED:
        return {"reason": "; ".join(reasons)}
    if missing := [name for name, value in zip(members, values, strict=True) if np.isnan(value)]:
        told = f"no value at {len(missing)} of {len(members)} training seeds, first {missing[0]}"
        return dict.fromkeys(results.INTERVAL) | {"reason": "; ".join([told, *reasons])}
    estimate = jackknife.interval(values.mean(), _without_each(values), debias=False)
    low, high, known = estimate.low, estimate.high, fact(units[0]["metric"])
    if not known.replicates or np.ptp(values) == 0:
        low = min(low, float(np.mean([unit["low"] for unit in units])))
        high = max(high, float(np.mean([unit["high"] for unit in units])))
    if known.share:
        low, high = max(low, 0.0), min(high, 1.0)
    return {"value": estimate.value, "low": low, "high": high, "reason": "; ".join(reasons) or None}


def _without_each(values: np.ndarray) -> np.ndarray:
    return jackknife.leave_out_of_means(values, np.arange(len(values)))


def _replicates(row: Mapping[str, Any], values: np.ndarray) -> list[list]:
    metric = row["metric"]
    if row["value"] is None or pd.isna(row["value"]) or metric.startswith(PLAIN) or not fact(metric).replicates:
        return []
    cell = cell_key(row["method"], row["nfe_budget"], row["sigma_start"])
    parts = [("all", row["value"]), *enumerate(_without_each(values))]
    return [[cell, metric, row["reference"], group, value] for group, value in parts]


def verdicts(audit: pd.DataFrame, each: Members) -> pd.DataFrame:
    """The audit with a row over all members of a method: ranked where each of them is, else the gravest word.

    Whoever uses a method trains it once: one that copies at one training in ten is no method without copies.
    """
    rows = []
    for name, members in each.repeated.items():
        for (budget, sigma), part in audit[audit.method.isin(members)].groupby(
            ["nfe_budget", "sigma_start"], sort=False, dropna=False
        ):
            marked = part[~part.ranked.astype(bool)]
            word = next((word for word in VERDICTS[1:] if (marked.verdict == word).any()), RANKED)
            first = next(iter(records(marked[marked.verdict == word])), None)
            told = f"{len(marked)} of {len(members)} training seeds, first {first['method']}: " if first else ""
            rows.append([name, budget, sigma, word, first is None, told + (first["reasons"] if first else "")])
    over = pd.DataFrame(rows, columns=results.AUDIT.columns)
    return pd.concat([audit, over], ignore_index=True) if rows else audit
