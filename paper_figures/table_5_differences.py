"""Table 5: how far each ranked method is behind the best one, by NFE budget, as a paired difference.

FD against the held-out split C. Group k of the jackknife holds the same samples' numbers of every method, and methods
with one start share their noise, so the difference of leave-out replicates cancels what they have in common:
d = G (f - f') - (G - 1) mean (f_(g) - f'_(g)), its interval from the same replicates. p-values are Holm-corrected over
all cells of the table. The best method is chosen on the same samples, which favours it.
"""

import pandas as pd
from pandas.core.groupby import DataFrameGroupBy

from dpmot.results import by_key, printed_name, records
from paper_figures import _comparison as comparison
from paper_figures import _tables as tables
from paper_figures._paired import ALPHA, differences
from paper_figures._results import Results
from paper_figures._tables import Cell, Document, Panel, not_run

READS = ("replicates",)
COLUMNS = [
    "metric", "reference", "nfe_budget", "method", "best", "difference", "low", "high", "p", "p_holm", "fingerprint",
]  # fmt: skip
BOUNDS = {"low": "difference_low", "high": "difference_high"}
MIXTURE = "mmr_0.1"


def make(results: Results) -> pd.DataFrame:
    """One row per (metric, NFE budget, ranked method that is not the best), COLUMNS."""
    tops = [(column, comparison.leader(column)) for _, column in _columns(results)]
    pairs = [({**row, "best": top["method"]}, top) for column, top in tops for row in records(column)]
    table = differences(results, pairs, [BOUNDS.get(name, name) for name in COLUMNS])
    return table.dropna(subset="p").set_axis(COLUMNS, axis="columns")


def _compared(results: Results) -> list[tuple[str, str, str]]:
    """(metric, reference, title), lower is better in all of them."""
    distances = [(f"fd_{family}", "test", printed_name(f"fd_{family}")) for family in results.families]
    mixture = (MIXTURE, results.reference(MIXTURE), "MMR at t = 0.1")
    return [*distances, *([mixture] if MIXTURE in set(results.metrics["metric"]) else [])]


def _columns(results: Results) -> DataFrameGroupBy:
    """The ranked cells of each (metric, reference, NFE budget)."""
    table = comparison.long_form(results, [(metric, reference) for metric, reference, _ in _compared(results)])
    return comparison.ranked_cells(table, results).groupby(["metric", "reference", "nfe_budget"], sort=False)


def _panel(table: pd.DataFrame, results: Results, best: dict[str, str], title: str) -> Panel:
    """The differences of one metric; ``best`` has the best method of each budget."""
    title = f"{title} behind the best ranked method, paired"
    if table.empty:
        return not_run(title, "no two ranked methods with replicates.")
    found, listed = by_key(table, "method", "nfe_budget"), {*table["method"], *best.values()}

    def entry(method: str, nfe: str) -> Cell:
        row = found.get((method, nfe))
        if row is None:
            return Cell("best", bold=True) if method == best.get(nfe) else Cell("–")
        return Cell(comparison.interval(row, "difference"), marks=() if row["p_holm"] <= ALPHA else ("≈",))

    methods = [method for method in comparison.main_methods(results) if method in listed]
    return comparison.by_method(results, title, entry, methods=methods)


def layout(table: pd.DataFrame, results: Results) -> Document:
    """The printed table."""
    best: dict[str, dict[str, str]] = {}
    for (metric, _, nfe), column in _columns(results):
        best.setdefault(metric, {})[nfe] = comparison.leader(column)["method"]
    panels = (
        _panel(table[table["metric"] == metric], results, best.get(metric, {}), title)
        for metric, _, title in _compared(results)
    )
    return Document(
        title="Table 5. Paired differences to the best ranked method",
        caption=results.caption("95 % intervals of the difference in brackets", table["fingerprint"]),
        panels=tuple(panels),
        notes=(
            f"≈ not different from the best at {ALPHA}, Holm-corrected over the {len(table)} cells of the table.",
            "The best method of a column is chosen on these samples, which favours it. Unranked methods are left out.",
            "– skipped, unranked, or without replicates.",
        ),
    )


PAGE = tables.page(__file__, __doc__, make, layout)

if __name__ == "__main__":
    raise SystemExit(PAGE.main())
