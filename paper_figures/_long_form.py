"""Cells compared at equal n, in long form: what competes, and what may be the best.

Rows that are copies, not audited, not converged, noise or collapsed are kept, and never best. Frechet distances depend
on n (bias ~ 1/n), so a cell whose n differs from the table's is never best either.
"""

from collections.abc import Iterable
from itertools import product
from math import nan
from typing import Any

import numpy as np
import pandas as pd

from dpmot.results import AUTHENTICITY, CT, FLOORS, RECOVERY, by_key, fact, records, stem
from paper_figures._numbers import interval
from paper_figures._paired import against_best
from paper_figures._reported import reported
from paper_figures._results import Results
from paper_figures._verdicts import REAL

OF_STORED = (RECOVERY, AUTHENTICITY, CT, "distinct_neighbours_pixels")  # of the images that a method stores
LIKELIHOOD = "fld"
BEYOND = "better than real images"
NO_BOUND = ("recall", "coverage", "exact_duplicates", "near_duplicates")  # grow with n, or count copies
NO_SOURCE = "this start has no source image"
COLUMNS = [
    "dataset", "method", "label", "group", "network", "start", "sampler", "nfe_budget", "nfe_counted",
    "sigma_start", "sigma_atoms", "num_samples", "features", "metric", "reference", "value", "low", "high",
    "status", "ranked", "verdict", "audit", "best", "reason", "fingerprint",
]  # fmt: skip


def long_form(
    results: Results, wanted: Iterable[tuple[str, str]], *, also: Iterable[tuple[str, str]] = ()
) -> pd.DataFrame:
    """One row per (cell, metric, reference), for every pooled cell outside the identity test, with COLUMNS.

    A ``wanted`` (metric, reference) that metrics.csv lacks becomes a row "not run" or "skipped"; ``also`` are taken
    where they exist. ``best`` marks the ranked methods that may be the best of their (metric, reference, NFE budget).
    """
    wanted = list(dict.fromkeys(wanted))
    place = {pair: index for index, pair in enumerate(dict.fromkeys([*wanted, *also]))}
    order = {method: index for index, method in enumerate([*results.methods, *FLOORS])}
    rows = results.pooled()
    listed = [pair in place for pair in zip(rows["metric"], rows["reference"], strict=True)]
    rows = rows[np.array(listed, bool) & ~results.of_groups(rows, ("identity",))].copy()
    why_empty = np.where(rows["reason"] == "", "not run", "skipped")
    rows["status"] = np.where(rows["value"].isna(), why_empty, "measured")
    table = pd.DataFrame([*records(rows), *_absent(results, rows, wanted)], columns=rows.columns)
    table["label"] = table["method"].map(results.label)
    table["group"] = ["floor" if method in FLOORS else results.group(method) for method in table["method"]]
    table["_order"] = table["method"].map(order)
    table["_nfe"] = pd.to_numeric(table["nfe_budget"], errors="coerce")  # "full" comes last
    table["_pair"] = [place[pair] for pair in zip(table["metric"], table["reference"], strict=True)]
    table = table.sort_values(["_order", "_nfe", "sigma_start", "_pair"], kind="stable", ignore_index=True)
    _beyond_real(table)
    table["best"] = _may_be_best(table, results)
    return table[COLUMNS]


def _beyond_real(table: pd.DataFrame) -> None:
    """Unrank values better than real images', beyond both intervals: what is wrong there pleases the metric."""
    real = by_key(table[table["group"] == "floor"], "method", "metric", "reference")
    for index, row in zip(table.index, records(table), strict=True):
        floor = real.get((REAL[row["reference"]], row["metric"], row["reference"]))
        known = fact(row["metric"])
        if floor is None or stem(row["metric"]) in NO_BOUND or not (row["ranked"] and known.quality):
            continue
        better = {"lower": row["high"] < floor["low"], "higher": row["low"] > floor["high"]}
        if better.get(known.direction):
            told = f"{BEYOND} {interval(floor)}"
            table.loc[index, ["ranked", "verdict", "audit"]] = False, BEYOND, told


def _absent(results: Results, rows: pd.DataFrame, wanted: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """Rows for the (method, budget, metric) that the table has a place for and metrics.csv does not hold."""
    present, skipped = set(by_key(rows, "method", "nfe_budget", "metric", "reference")), results.skipped()
    pooled = results.pooled()
    audited = by_key(pooled[pooled["metric"] == AUTHENTICITY], "method", "nfe_budget")
    blank = dict.fromkeys(rows.columns, "") | dict.fromkeys(("value", "low", "high", "sigma_start", "sigma_atoms"), nan)
    blank |= {"dataset": results.experiment.dataset, "ranked": False}
    absent = []
    for method, nfe, (metric, reference) in product(results.main_methods, results.budgets, wanted):
        audit = audited.get((method, nfe))
        stored = audit and audit["reference"]  # the split that the atoms came from, which need not be A
        moved = stored == reference if stem(metric) == LIKELIHOOD else metric in OF_STORED and stored != reference
        if (stored and moved) or (method, nfe, metric, reference) in present:
            continue
        reason = skipped.get((method, nfe)) or (NO_SOURCE if stored and metric == RECOVERY else "")
        cell = {"method": method, "nfe_budget": nfe, "metric": metric, "reference": reference, "reason": reason}
        cell |= {name: results.attribute(method, name) for name in ("network", "start", "sampler")}
        absent.append(blank | cell | {"status": "skipped" if reason else "not run"})
    return absent


def table_n(table: pd.DataFrame, results: Results) -> str:
    """The number of samples most cells of main methods at a budget have, as text; "" where nothing is measured.

    Sweeps do not count: a frontier of one sample seed would outnumber the rows that are compared.
    """
    there = table[table["nfe_budget"].isin(results.budgets) & (table["status"] == "measured")]
    main = there[there["method"].isin(results.main_methods)]
    return str((main if len(main) else there)["num_samples"].mode().iloc[0]) if len(there) else ""


def ranked_cells(table: pd.DataFrame, results: Results) -> pd.DataFrame:
    """Rows that compete: measured and ranked, of a main method at a budget, with the table's n."""
    return table[
        (table["status"] == "measured")
        & table["ranked"].astype(bool)
        & table["method"].isin(results.main_methods)
        & table["nfe_budget"].isin(results.budgets)
        & (table["num_samples"] == table_n(table, results))
    ]


def _may_be_best(table: pd.DataFrame, results: Results) -> list[bool]:
    eligible = ranked_cells(table, results)
    best: set[object] = set()
    for _, panel in eligible[eligible["metric"].map(has_best).astype(bool)].groupby(["metric", "reference"]):
        compared = against_best(panel, results)
        best |= set(compared.index[compared["may_be_best"]])
    return [index in best for index in table.index]


def has_best(metric: str) -> bool:
    return fact(metric).quality and fact(metric).direction != "none"


def csv(table: pd.DataFrame, results: Results, *, mixture: bool = False) -> bytes:
    """Long form and published numbers, in columns of their own; a missing number is said in words."""
    out = table.rename(columns={"value": "measured"}).astype({"measured": object, "low": object, "high": object})
    out["measured"] = out["measured"].where(out["status"] == "measured", out["status"])
    out[["low", "high"]] = out[["low", "high"]].fillna("n/a")
    out["reported"], out["source"], out["grade"] = "no", "", ""
    numbers = reported(results, mixture=mixture)
    extra = numbers.rename(columns={"nfe": "nfe_budget"}).assign(
        label=numbers["method"], group="reported", measured="not run", low="n/a", high="n/a", status="reported",
        reported=numbers["value"].replace("", "not transcribed"),
    )  # fmt: skip
    whole = pd.concat([out, extra.reindex(columns=out.columns)], ignore_index=True)
    return whole.to_csv(index=False, lineterminator="\n").encode()
