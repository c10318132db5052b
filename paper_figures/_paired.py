"""Two cells compared on their common samples."""

from math import isclose

from dpmot.results import CELL, cell_key
from dpmot.statistics.jackknife import Estimate
from dpmot.statistics.paired import difference, p_value
from paper_figures._comparison import Row
from paper_figures._results import Results


def compared(results: Results, row: Row, other: Row) -> tuple[Estimate, float] | None:
    """Paired difference of one metric of two cells, row - other, and its p-value; None without common replicates."""
    keys = [(cell_key(*(one[n] for n in CELL)), row["metric"], row["reference"]) for one in (row, other)]
    if not all(key in results.replicates for key in keys):
        return None
    (full, parts), (full_other, parts_other) = (results.replicates[key] for key in keys)
    if len(parts) != len(parts_other):
        return None
    both = (full, full_other), (parts, parts_other)
    # means have no bias, and of too few samples for one of 1/n the table has the plain values
    debias = not isclose(row["value"], full, rel_tol=1e-9)
    return difference(*both, debias=debias), p_value(*both, debias=debias)
