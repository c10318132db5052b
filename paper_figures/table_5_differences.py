"""Table 5: how far each ranked method is behind the best of the others, by NFE budget.

FD against the held-out split C, and the mode-mixture ratio. Group k of the jackknife holds the same samples' numbers of
every method, and methods with one start share their noise, so the difference of leave-out replicates cancels what they
have in common. Every method is compared with every other one (multiple comparisons with the best: Hsu 1984), so none
gains by looking best on these samples; intervals hold for a panel at once, and the p-values of "it is one of the best"
are Holm-corrected over the panel (``dpmot/statistics/best.py``).
"""

from dataclasses import replace

import pandas as pd

from dpmot.results import by_key, printed_name
from paper_figures import _tables as tables
from paper_figures._comparison import by_method, of_number
from paper_figures._headline import across, chosen, how_chosen
from paper_figures._long_form import long_form, ranked_cells
from paper_figures._numbers import quantity
from paper_figures._paired import ALPHA, against_best
from paper_figures._panels import Cell, Document, Panel, not_run
from paper_figures._results import Results, fingerprints

READS = ("replicates",)
COLUMNS = [
    "metric", "reference", "nfe_budget", "method", "value", "behind", "low", "high", "p_holm", "may_be_best",
    "fingerprint",
]  # fmt: skip
BOUNDS = {"low": "behind_low", "high": "behind_high"}
MIXTURE = "mmr_0.1"


def make(results: Results) -> pd.DataFrame:
    """One row per (metric, NFE budget, ranked method), COLUMNS; those without others to compare with come first."""
    table = long_form(results, [(metric, reference) for metric, reference, _ in _compared(results)])
    cells = ranked_cells(table, results)
    panels = [against_best(panel, results) for _, panel in cells.groupby(["metric", "reference"], sort=False)]
    if not panels:
        return pd.DataFrame(columns=COLUMNS)
    found = pd.concat(panels, ignore_index=True)
    alone = found.groupby(["metric", "nfe_budget"])["method"].transform("size") == 1
    found = found[found["behind"].notna() | alone]  # of a budget without replicates this table says nothing
    return found[[BOUNDS.get(name, name) for name in COLUMNS]].set_axis(COLUMNS, axis="columns")


def _compared(results: Results) -> list[tuple[str, str, str]]:
    """(metric, reference, title), lower is better in all of them."""
    distances = [(f"fd_{family}", "test", printed_name(f"fd_{family}")) for family in results.families]
    mixture = (MIXTURE, results.reference(MIXTURE), "MMR at t = 0.1")
    return [*distances, *([mixture] if MIXTURE in set(results.metrics["metric"]) else [])]


def _panel(table: pd.DataFrame, results: Results, title: str) -> Panel:
    """The distances of one metric."""
    title = f"{title} behind the best of the others"
    if not table["behind"].notna().any():
        return not_run(title, "no two ranked methods with replicates.")
    found, listed = by_key(table, "method", "nfe_budget"), set(table["method"])

    def entry(method: str, nfe: str) -> Cell:
        row = found.get((method, nfe))
        if row is None:
            return Cell("–")
        if pd.isna(row["behind"]):
            return Cell("the only one", bold=row["may_be_best"])
        return of_number(quantity(row, "behind"), bold=row["may_be_best"])

    methods = [method for method in results.main_methods if method in listed]
    return by_method(results, title, entry, methods=methods)


def _headline(table: pd.DataFrame, results: Results) -> Panel | None:
    """Chosen methods of the first metric, NFE budgets across."""
    known = _compared(results)
    table = table[(table["metric"] == known[0][0]) & table["behind"].notna()] if known else table[:0]
    if table.empty:
        return None
    found = by_key(table, "method", "nfe_budget")
    methods = chosen(results, table.assign(ranked=True))

    def entry(method: str, nfe: str) -> Cell:
        row = found.get((method, nfe))
        if row is None:
            return Cell("–")
        number = quantity(row, "behind")
        return Cell(number.short, bool(row["may_be_best"]), number=number)

    panel, _ = across(results, f"{known[0][2]} behind the best of the others ↓ by NFE", methods, entry)
    sure = f"{1 - ALPHA:.0%}".replace("%", " %")
    notes = (
        "Bold: may be the best of its column, as no other is shown to be better (multiple comparisons with the best). "
        "Below 0: it leads.",
        f"Data set {results.experiment.dataset}; paired by {results.units}; ±: half an interval's width, which holds "
        f"at {sure} for all entries at once; fingerprint {fingerprints(table['fingerprint'], 1)}.",
        how_chosen(results).replace("– not run", "– unranked or not run"),
    )
    return replace(panel, notes=notes)


def layout(table: pd.DataFrame, results: Results) -> Document:
    """The printed table."""
    panels = (_panel(table[table["metric"] == metric], results, title) for metric, _, title in _compared(results))
    told = f"intervals in brackets, which hold for all entries of a panel at once at {1 - ALPHA:.0%}"
    return Document(
        title=f"Table 5. Behind the best of the others: ranked methods, paired by {results.units}",
        caption=results.caption(told.replace("%", " %"), table["fingerprint"]),
        panels=tuple(panels),
        notes=(
            "Bold: may be the best of its column, as no other is shown to be better. At most "
            f"{ALPHA:g} is the chance that a panel loses a best method, however many are equally good (multiple "
            "comparisons with the best, Holm-corrected over the panel). Holm's steps can exclude a method whose "
            "interval still reaches below 0.",
            "Below 0: the method leads by that much. The only one: no other is ranked at that budget.",
            "– skipped, unranked, or without replicates.",
        ),
        headline=_headline(table, results),
    )


PAGE = tables.page(__file__, __doc__, make, layout)

if __name__ == "__main__":
    raise SystemExit(PAGE.main())
