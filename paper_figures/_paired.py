"""Cells compared in pairs, on their common samples."""

from collections.abc import Iterable
from math import isclose

import pandas as pd

from dpmot.results import CELL, cell_key, matching
from dpmot.statistics.paired import difference, holm, p_value
from paper_figures._comparison import Row
from paper_figures._results import Results

ALPHA = 0.05


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
    keys = [(cell_key(*(one[n] for n in CELL)), row["metric"], row["reference"]) for one in (row, other)]
    if not all(key in results.replicates for key in keys):
        return {}
    (full, parts), (full_other, parts_other) = (results.replicates[key] for key in keys)
    if len(parts) != len(parts_other):
        told = f"{len(parts)} of {row['method']} and {len(parts_other)} of {other['method']}"
        raise ValueError(
            f"{results.folder / 'replicates.csv'} is cut: {told} at NFE {row['nfe_budget']}; measure again"
        )
    for one, key in zip((row, other), keys, strict=True):
        if not matching(one["value"], *results.replicates[key]):
            told = f"{one['metric']} of {one['method']} at NFE {one['nfe_budget']}: not of one run"
            raise ValueError(f"{results.folder / 'replicates.csv'} and metrics.csv differ in {told}")
    both = (full, full_other), (parts, parts_other)
    # means have no bias, and of too few samples for one of 1/n the table has the plain values
    debias = not isclose(row["value"], full, rel_tol=1e-9)
    found = difference(*both, debias=debias)
    bounds = {"difference": found.value, "difference_low": found.low, "difference_high": found.high}
    return bounds | {"p": p_value(*both, debias=debias)}
