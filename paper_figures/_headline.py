"""The headline of a table: at most ten rows, chosen by a rule that knows no method, and notes of at most two lines.

The rule, unless the configuration names ``headline: [METHOD, ...]``: first the best ranked method at each NFE budget;
then, group by group in turn, the method that is most often the best of its group's ranked ones, the next, and so on,
and after them those that are most often the best of its unranked ones, marked. Rows keep the configuration's order.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest

import pandas as pd

from dpmot.results import FLOORS, fact, printed_name
from paper_figures._comparison import Comparison
from paper_figures._latex import LONGEST, fits
from paper_figures._long_form import BEYOND, has_best, table_n
from paper_figures._numbers import quantity
from paper_figures._panels import Cell, Panel
from paper_figures._results import GROUPS, Results, fingerprints
from paper_figures._verdicts import UNRANKED

MOST, BUDGETS = 10, 5  # rows, and NFE budgets
ARROWS = {"lower": " ↓", "higher": " ↑"}
CHOSEN = "Rows: chosen in the configuration. All rows are in the supplement."
RULE = (
    "Rows: the best ranked method at each NFE, then of each group those most often its best, ranked ones first; at "
    "most ten. – skipped or not run. All rows are in the supplement."
)


def chosen(results: Results, rows: pd.DataFrame, direction: str = "lower", most: int = MOST) -> list[str]:
    """Methods of a headline, in the configuration's order.

    Args:
        results: with the configuration.
        rows: measured cells of one metric, with ``method nfe_budget value ranked``.
        direction: "lower" or "higher" is better.
        most: methods.
    """
    there = [method for method in results.methods if method in set(rows["method"])]
    if given := [method for method in results.experiment.headline if method in there]:
        return given[:most]
    sign = -1 if direction == "higher" else 1
    rows = rows.assign(group=rows["method"].map(results.group), badness=sign * rows["value"])
    rows["place"] = rows["method"].map({method: place for place, method in enumerate(there)})
    rows = rows.sort_values(["badness", "place"], kind="stable")
    ranked = rows[rows["ranked"].astype(bool)]
    first = [_best(ranked, nfe) for nfe in results.budgets]
    winners: list[list[str]] = []
    for group in sorted(set(rows["group"]), key=lambda one: list(GROUPS).index(one) if one in GROUPS else len(GROUPS)):
        parts = (part[part["group"] == group] for part in (ranked, rows[~rows["ranked"].astype(bool)]))
        wins = [Counter(filter(None, (_best(part, nfe) for nfe in results.budgets))) for part in parts]
        winners.append(list(dict.fromkeys(method for count in wins for method, _ in count.most_common())))
    turns = zip_longest(*winners)
    found = dict.fromkeys(method for method in [*first, *(one for turn in turns for one in turn)] if method)
    kept = list(found)[:most]
    return [method for method in there if method in kept]


def _best(rows: pd.DataFrame, nfe: str) -> str:
    """The first method at a budget of rows that are sorted by quality; "" where there is none."""
    at = rows.loc[rows["nfe_budget"] == nfe, "method"]
    return str(at.iloc[0]) if len(at) else ""


def competing(cells: Comparison, metric: str, reference: str) -> pd.DataFrame:
    """Measured rows of main methods at a budget, with the table's n."""
    table, results = cells.table, cells.results
    return table[
        (table["metric"] == metric)
        & (table["reference"] == reference)
        & (table["status"] == "measured")
        & table["method"].isin(results.main_methods)
        & table["nfe_budget"].isin(results.budgets)
        & (table["num_samples"] == table_n(table, results))
    ]


def how_chosen(results: Results) -> str:
    """The note that says where the rows come from."""
    return CHOSEN if results.experiment.headline else RULE


def few(budgets: Sequence[str], most: int = BUDGETS) -> list[str]:
    """At most that many budgets, the first and the last, and evenly between them."""
    if len(budgets) <= most:
        return list(budgets)
    steps = max(most - 1, 1)
    return [budgets[round(k * (len(budgets) - 1) / steps)] for k in range(most)]


def half_width(results: Results) -> str:
    """What ± says, and over what."""
    return f"±: half the width of the 95 % interval over {results.units}"


def cell(cells: Comparison, row: Mapping[str, object] | None) -> Cell:
    """A headline's entry: value ± half-width and marks, – where there is none."""
    if row is None or row["status"] != "measured":
        return Cell("–")
    made = cells.cell(row, n=table_n(cells.table, cells.results))
    number = quantity(row)
    return Cell(number.short, made.bold, made.marks, number)


def brief(entry: Cell) -> Cell:
    """An entry of a full table as a headline has it: ± half the width of its interval."""
    return replace(entry, text=entry.number.short) if entry.number else entry


def by_budget(cells: Comparison, metric: str, reference: str, *, floors: str = "") -> Panel | None:
    """Chosen methods down, NFE budgets across, as many as fit a page; None where nothing was measured."""
    results, rows = cells.results, competing(cells, metric, reference)
    if rows.empty:
        return None
    direction = fact(metric).direction
    methods = chosen(results, rows, direction)
    against = "" if reference == "none" else f" against {reference}"
    title = f"{printed_name(metric)}{against}{ARROWS.get(direction, '')} by NFE"

    def entry(method: str, nfe: str) -> Cell:
        return cell(cells, cells.rows.get((method, nfe, metric, reference)))

    panel, budgets = across(results, title, methods, entry)
    notes = notes_of(cells, panel, [(metric, reference)], budgets, floors=floors)
    return replace(panel, notes=notes)


def across(
    results: Results, title: str, methods: Sequence[str], entry: Callable[[str, str], Cell]
) -> tuple[Panel, list[str]]:
    """Methods down, NFE budgets across, of which the widest choice that fits a page; and that choice."""
    panel, budgets = Panel(title, (), ()), list[str]()
    for most in range(BUDGETS, 0, -1):
        budgets = few(results.budgets, most)
        heads = [(Cell(results.label(one)), Cell(results.attribute(one, "network") or "–")) for one in methods]
        rows = tuple((*head, *(entry(one, nfe) for nfe in budgets)) for one, head in zip(methods, heads, strict=True))
        panel = Panel(title, ("method", "network", *(f"NFE {nfe}" for nfe in budgets)), rows, heads=2)
        if fits(panel, LONGEST[:1]):
            break
    return panel, budgets


def notes_of(
    cells: Comparison, panel: Panel, shown: Iterable[tuple[str, str]], budgets: Iterable[str], *, floors: str = ""
) -> tuple[str, ...]:
    """What a headline of a long form says: its marks, its samples and intervals, its rows."""
    results, labels = cells.results, {row[0].text for row in panel.rows if not isinstance(row, str)}
    table = cells.table
    of = pd.MultiIndex.from_arrays([table["metric"], table["reference"]]).isin(list(shown))
    rows = table[of & table["nfe_budget"].isin(list(budgets)) & table["method"].isin(results.main_methods)]
    rows = rows[rows["method"].map(results.label).isin(labels) & (rows["status"] == "measured")]
    entries = [entry for row in panel.rows if not isinstance(row, str) for entry in row]
    marks = {mark for entry in entries for mark in entry.marks}
    told = []
    if any(has_best(metric) for metric in rows["metric"].unique()):
        tested = {key[1:] for key in results.replicates}
        known = all(pair in tested for pair in zip(rows["metric"], rows["reference"], strict=True))
        how = (
            f"multiple comparisons with the best, paired by {results.units}" if known else "intervals overlap: no test"
        )
        told.append(f"Bold: the best of its column, and what is not shown to be worse ({how})")
    words = [word for word in UNRANKED if ((rows["verdict"] == word) & ~rows["ranked"].astype(bool)).any()]
    told += [f"† unranked ({', '.join(words)})"] * ("†" in marks)
    told += [f"¶ {BEYOND}: no quality"] * ("¶" in marks) + ["‡ another n"] * ("‡" in marks)
    n = table_n(table, results)
    measured = [
        f"Data set {results.experiment.dataset}, n = {n or '–'}",
        half_width(results),
        *([floors] if floors else []),
        f"fingerprint {fingerprints(rows['fingerprint'], 1)}",
    ]
    return (*([f"{'; '.join(told)}."] if told else []), f"{'; '.join(measured)}.", how_chosen(results))


def floor(cells: Comparison, metric: str, reference: str) -> str:
    """What real images of the other splits have in a metric, with half-widths; "" where it was not measured."""
    known = [(name, cells.rows.get((method, "0", metric, reference))) for method, name in FLOORS.items()]
    shown = [f"{name} {quantity(row).short}" for name, row in known if row is not None and row["status"] == "measured"]
    return ", ".join(shown)


def spread(pairs: Sequence[tuple[str, str]], methods: Sequence[str], most: int = MOST) -> list[tuple[str, str]]:
    """At most that many (method, budget) of ``pairs``: the smallest budget of every method, then the next."""
    of = {method: sorted((nfe for one, nfe in pairs if one == method), key=int) for method in methods}
    turns = zip_longest(*([(method, nfe) for nfe in of[method]] for method in methods))
    taken = [pair for turn in turns for pair in turn if pair is not None][:most]
    return [(method, nfe) for method in methods for nfe in of[method] if (method, nfe) in taken]
