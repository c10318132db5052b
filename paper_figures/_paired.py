"""Cells compared on their common samples: with each other, and with the best of a column.

Which methods may be the best is one rule, for bold numbers and for Table 5. Where replicates are known: multiple
comparisons with the best (:mod:`dpmot.statistics.best`), over all NFE budgets of a metric and reference at once, with
Holm's correction. Elsewhere a method may be the best where its interval overlaps that of the best value, which is no
test.
"""

from collections.abc import Iterable, Sequence
from math import isclose, nan

import numpy as np
import pandas as pd

from dpmot.results import CELL, cell_key, fact, matching, records
from dpmot.statistics.best import behind_best
from dpmot.statistics.paired import difference, holm, p_value
from paper_figures._results import Results, Row

ALPHA = 0.05
FOUND = ["behind", "behind_low", "behind_high", "p_holm"]
Replicates = tuple[float, np.ndarray]  # plain value of all samples, and without each group (G,)


def differences(results: Results, pairs: Iterable[tuple[Row, Row | None]], columns: list[str]) -> pd.DataFrame:
    """A row for each pair of cells: the first one's columns, and how far it lies from the second.

    Args:
        results: with replicates.
        pairs: what is compared, and with what; of two rows of one method, or without common replicates, nothing is.
        columns: of the table; ``difference``, ``difference_low``, ``difference_high``, ``p`` and ``p_holm``, which is
            corrected over the table, are empty where nothing is compared.
    """
    rows = [{**row, **_difference(results, row, other)} for row, other in pairs]
    table = pd.DataFrame(rows).reindex(columns=columns)
    tested = table["p"].notna()
    table.loc[tested, "p_holm"] = holm(table.loc[tested, "p"].to_numpy(float))
    return table


def _difference(results: Results, row: Row, other: Row | None) -> dict[str, float]:
    if other is None or row["method"] == other["method"]:
        return {}
    found = _replicates(results, (row, other))
    if found is None:
        return {}
    (full, parts), (full_other, parts_other) = found
    both = (full, full_other), (parts, parts_other)
    # means have no bias, and of too few samples for one of 1/n the table has the plain values
    debias = not isclose(row["value"], full, rel_tol=1e-9)
    estimate = difference(*both, debias=debias)
    bounds = {"difference": estimate.value, "difference_low": estimate.low, "difference_high": estimate.high}
    return bounds | {"p": p_value(*both, debias=debias)}


def against_best(panel: pd.DataFrame, results: Results) -> pd.DataFrame:
    """Ranked cells of one metric and reference, each beside the others of its NFE budget.

    Returns:
        The rows with ``behind``, ``behind_low`` and ``behind_high``, how far behind the best of the others, with an
        interval that holds for the whole panel (below 0: it leads); ``p_holm``, of "it is one of the best"; these are
        NaN where a budget has one method, or one without replicates. And ``may_be_best``, bool.

    Raises:
        ValueError: replicates that are cut, or of another run than metrics.csv.
    """
    sign = -1 if fact(panel["metric"].iloc[0]).direction == "higher" else 1
    columns = [rows for _, rows in panel.groupby("nfe_budget", sort=False)]
    known = [_replicates(results, records(rows)) if len(rows) > 1 else None for rows in columns]
    tested = [(rows, found) for rows, found in zip(columns, known, strict=True) if found is not None]
    family = sum(len(rows) for rows, _ in tested)
    panel = panel.assign(**dict.fromkeys(FOUND, nan), may_be_best=False)
    for rows, whole in tested:
        parts = sign * np.stack([leave_out for _, leave_out in whole])
        compared = behind_best(sign * rows["value"].to_numpy(float), parts, family=family, level=1 - ALPHA)
        panel.loc[rows.index, FOUND] = [(one.value, one.low, one.high, one.p) for one in compared]
    joint = panel["p_holm"].notna()
    panel.loc[joint, "p_holm"] = holm(panel.loc[joint, "p_holm"].to_numpy(float))
    panel.loc[joint, "may_be_best"] = panel.loc[joint, "p_holm"] > ALPHA
    for rows, found in zip(columns, known, strict=True):
        if found is None:
            panel.loc[rows.index, "may_be_best"] = _overlaps(rows, sign)
    return panel


def _overlaps(rows: pd.DataFrame, sign: int) -> pd.Series:
    """Whether the interval of each cell overlaps the best one's; without bounds, equal values alone do."""
    top = rows.iloc[int((sign * rows["value"]).argmin())]
    return ((rows["low"] <= top["high"]) & (rows["high"] >= top["low"])) | (rows["value"] == top["value"])


def _replicates(results: Results, rows: Sequence[Row]) -> list[Replicates] | None:
    """The replicates of cells of one NFE budget; None where one has none, or some are over training seeds, some not.

    Raises:
        ValueError: they have other groups, or are of another run than metrics.csv.
    """
    keys = [(cell_key(*(row[name] for name in CELL)), row["metric"], row["reference"]) for row in rows]
    over_trainings = {row["method"] in results.each.repeated for row in rows}
    if len(over_trainings) > 1 or not all(key in results.replicates for key in keys):
        return None
    found, file = [results.replicates[key] for key in keys], results.folder / "replicates.csv"
    for row, (full, parts) in zip(rows, found, strict=True):
        if len(parts) != len(found[0][1]):
            told = f"{len(found[0][1])} of {rows[0]['method']} and {len(parts)} of {row['method']}"
            raise ValueError(f"{file} is cut: {told} at NFE {row['nfe_budget']}; measure again")
        if not matching(row["value"], full, parts):
            told = f"{row['metric']} of {row['method']} at NFE {row['nfe_budget']}: not of one run"
            raise ValueError(f"{file} and metrics.csv differ in {told}")
    return found
