"""Table 5: how far each ranked method is behind the best one, by NFE budget, as a paired difference.

FD against the held-out split C. Group k of the jackknife holds the same samples' numbers of every method, and methods
with one start share their noise, so the difference of leave-out replicates cancels what they have in common:
d = G (f - f') - (G - 1) mean (f_(g) - f'_(g)), its interval from the same replicates. p-values are Holm-corrected over
all cells of the table. The best method is chosen on the same samples, which favours it.
"""

from collections.abc import Mapping

import pandas as pd
from pandas.core.groupby import DataFrameGroupBy

from dpmot.results import by_key, printed_name, records
from dpmot.statistics.paired import holm
from paper_figures import _comparison as comparison
from paper_figures import _tables as tables
from paper_figures._comparison import Row
from paper_figures._paired import compared
from paper_figures._results import Results
from paper_figures._tables import Cell, Document, Panel, not_run

READS = ("replicates",)
COLUMNS = [
    "metric", "reference", "nfe_budget", "method", "best", "difference", "low", "high", "p", "p_holm", "fingerprint",
]  # fmt: skip
ALPHA = 0.05


def make(results: Results) -> pd.DataFrame:
    """One row per (metric, NFE budget, ranked method that is not the best), COLUMNS."""
    rows = []
    for (metric, reference, nfe), column in _columns(results):
        top = comparison.leader(column)
        for row in records(column[column["method"] != top["method"]]):
            if (behind := compared(results, row, top)) is not None:
                estimate, p = behind
                values = (estimate.value, estimate.low, estimate.high, p)
                rows.append([metric, reference, nfe, row["method"], top["method"], *values, row["fingerprint"]])
    table = pd.DataFrame(rows, columns=[name for name in COLUMNS if name != "p_holm"])
    return table.assign(p_holm=holm(table["p"].to_numpy(float)) if len(table) else []).reindex(columns=COLUMNS)


def _compared(results: Results) -> list[tuple[str, str, str]]:
    """(metric, reference, title), lower is better in all of them."""
    distances = [(f"fd_{family}", "test", printed_name(f"fd_{family}")) for family in results.families]
    mixture = ("mmr_0.1", results.reference("mmr_0.1"), "MMR at t = 0.1")
    return [*distances, *([mixture] if mixture[0] in set(results.metrics["metric"]) else [])]


def _columns(results: Results) -> DataFrameGroupBy:
    """The ranked cells of each (metric, reference, NFE budget)."""
    table = comparison.long_form(results, [(metric, reference) for metric, reference, _ in _compared(results)])
    return comparison.ranked_cells(table, results).groupby(["metric", "reference", "nfe_budget"], sort=False)


def _entry(row: Row | None, best: str | None, method: str) -> Cell:
    if method == best:
        return Cell("best", bold=True)
    if row is None:
        return Cell("–")
    digits = comparison.decimals(row["difference"], row["metric"])
    text = f"{row['difference']:.{digits}f} [{row['low']:.{digits}f}, {row['high']:.{digits}f}]"
    return Cell(text, marks=() if row["p_holm"] <= ALPHA else ("≈",))


def _panel(table: pd.DataFrame, results: Results, best: Mapping[str, str], metric: str, title: str) -> Panel:
    chosen = table[table["metric"] == metric]
    title = f"{title} behind the best ranked method, paired"
    if chosen.empty:
        return not_run(title, "no two ranked methods with replicates.")
    found = by_key(chosen, "method", "nfe_budget")
    listed = set(chosen["method"]) | set(best.values())
    return comparison.by_method(
        results,
        title,
        lambda method, nfe: _entry(found.get((method, nfe)), best.get(nfe), method),
        methods=[method for method in comparison.main_methods(results) if method in listed],
    )


def layout(table: pd.DataFrame, results: Results) -> Document:
    """The printed table."""
    best: dict[str, dict[str, str]] = {}
    for (metric, _, nfe), column in _columns(results):
        best.setdefault(metric, {})[nfe] = comparison.leader(column)["method"]
    panels = [_panel(table, results, best.get(metric, {}), metric, title) for metric, _, title in _compared(results)]
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
