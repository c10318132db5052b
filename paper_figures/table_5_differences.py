"""Table 5: how far each ranked method is behind the best one, by NFE budget, as a paired difference.

FD against the held-out split C. Group k of the jackknife holds the same samples' numbers of every method, and methods
with one start share their noise, so the difference of leave-out replicates cancels what they have in common:
d = G (f - f') - (G - 1) mean (f_(g) - f'_(g)), its interval from the same replicates. p-values are Holm-corrected over
all cells of the table. The best method is chosen on the same samples, which favours it.
"""

import sys
from collections.abc import Mapping, Sequence

import pandas as pd
from pandas.core.groupby import DataFrameGroupBy

from dpmot.statistics.paired import difference, holm, p_value
from paper_figures import _comparison as comparison
from paper_figures import _tables as tables
from paper_figures._command import run
from paper_figures._results import Results, quality_name, sigma_key
from paper_figures._tables import Cell, Document, Panel

NAME = "table_5_differences"
OUTPUTS = tuple(f"tables/{NAME}.{suffix}" for suffix in ("md", "tex", "csv"))
COLUMNS = [
    "metric", "reference", "nfe_budget", "method", "best", "difference", "low", "high", "p", "p_holm", "fingerprint",
]  # fmt: skip
ALPHA = 0.05


def make(results: Results) -> pd.DataFrame:
    """One row per (metric, NFE budget, ranked method that is not the best), COLUMNS."""
    rows = []
    for (metric, reference, nfe), column in _columns(results):
        top = column.loc[column["value"].idxmin()]
        for row in column[column["method"] != top["method"]].to_dict("records"):
            found = [results.replicates(_cell(one), metric, reference) for one in (row, top)]
            if None in found or len(found[0][1]) != len(found[1][1]):
                continue
            (full, parts), (other, others) = found
            debias = row["value"] != full  # too few samples for a bias of 1/n: the table has the plain values
            estimate = difference((full, other), (parts, others), debias=debias)
            p = p_value((full, other), (parts, others), debias=debias)
            values = (estimate.value, estimate.low, estimate.high, p)
            rows.append([metric, reference, nfe, row["method"], top["method"], *values, row["fingerprint"]])
    found = pd.DataFrame(rows, columns=[name for name in COLUMNS if name != "p_holm"])
    return found.assign(p_holm=holm(found["p"].to_numpy(float)) if len(found) else []).reindex(columns=COLUMNS)


def _compared(results: Results) -> list[tuple[str, str, str]]:
    """(metric, reference, title), lower is better in all of them."""
    distances = [(f"fd_{family}", "test", quality_name("fd", family)) for family in results.families]
    mixture = ("mmr_0.1", results.reference("mmr_0.1"), "MMR at t = 0.1")
    return [*distances, *([mixture] if mixture[0] in set(results.metrics["metric"]) else [])]


def _columns(results: Results) -> DataFrameGroupBy:
    """The ranked cells of each (metric, reference, NFE budget)."""
    table = comparison.long_form(results, [(metric, reference) for metric, reference, _ in _compared(results)])
    table = table[(table["status"] == "measured") & table["ranked"].astype(bool)]
    table = table[table["nfe_budget"].isin(results.budgets) & table["method"].isin(comparison.main_methods(results))]
    table = table[table["num_samples"] == comparison.table_n(table, results)]
    return table.groupby(["metric", "reference", "nfe_budget"], sort=False)


def _cell(row: dict) -> str:
    return f"{row['method']}/{row['nfe_budget']}/{sigma_key(row['sigma_start'])}"


def _entry(row: pd.Series | None, best: str | None, method: str) -> Cell:
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
        return Panel(title, (), (), ("not run: no two ranked methods with replicates.",))
    found = {(row["method"], row["nfe_budget"]): row for _, row in chosen.iterrows()}
    listed = set(chosen["method"]) | set(best.values())
    rows: list[str | tuple[Cell, ...]] = []
    for heading, methods in comparison.grouped(results, comparison.main_methods(results)):
        lines = [
            (
                Cell(results.label(method)),
                Cell(results.attribute(method, "network") or "–"),
                *(_entry(found.get((method, nfe)), best.get(nfe), method) for nfe in results.budgets),
            )
            for method in methods
            if method in listed
        ]
        rows += [heading, *lines] if lines else []
    return Panel(title, ("method", "network", *(f"NFE {nfe}" for nfe in results.budgets)), tuple(rows))


def layout(table: pd.DataFrame, results: Results) -> Document:
    """The printed table."""
    best: dict[str, dict[str, str]] = {}
    for (metric, _, nfe), column in _columns(results):
        best.setdefault(metric, {})[nfe] = column.loc[column["value"].idxmin(), "method"]
    panels = [_panel(table, results, best.get(metric, {}), metric, title) for metric, _, title in _compared(results)]
    prints = ", ".join(dict.fromkeys(table["fingerprint"])) or "none"
    return Document(
        name=NAME,
        title="Table 5. Paired differences to the best ranked method",
        caption=f"{results.source}; 95 % intervals of the difference in brackets; fingerprint: {prints}",
        panels=tuple(panels),
        notes=(
            f"≈ not different from the best at {ALPHA}, Holm-corrected over the {len(table)} cells of the table.",
            "The best method of a column is chosen on these samples, which favours it. Unranked methods are left out.",
            "– skipped, unranked, or without replicates.",
        ),
    )


def produce(results: Results) -> dict[str, bytes]:
    """File contents of OUTPUTS."""
    table = make(results)
    document = layout(table, results)
    numbers = table.to_csv(index=False, lineterminator="\n").encode()
    contents = tables.markdown(document).encode(), tables.latex(document).encode(), numbers
    return dict(zip(OUTPUTS, contents, strict=True))


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    return run(NAME, __doc__, produce, arguments)


if __name__ == "__main__":
    sys.exit(main())
