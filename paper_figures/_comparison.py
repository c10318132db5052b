"""Cells compared at equal n: what a table prints, what is best, what is marked.

A missing number prints "not run", a skipped one "–" with its reason. Rows that are copies, not audited, not converged,
noise or collapsed are printed, marked † and never best. Frechet distances depend on n (bias ~ 1/n), so a cell whose n
differs from the table's is marked ‡ and never best either. Bold are the methods that may be the best of their column
(:mod:`paper_figures._paired`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import Any

import pandas as pd

from dpmot.results import FLOORS, OTHER, by_key, printed_name, stem
from paper_figures._long_form import BEYOND, LIKELIHOOD, table_n
from paper_figures._notes import Notes, caption
from paper_figures._numbers import Number, quantity
from paper_figures._panels import Cell, Document, Panel, not_run
from paper_figures._results import GROUPS, Results, Row


def by_method(
    results: Results,
    title: str,
    entry: Callable[[str, str], Cell],
    notes: tuple[str, ...] = (),
    *,
    methods: Iterable[str] | None = None,
) -> Panel:
    """Methods down, by default those of the main tables, NFE budgets across: ``entry`` makes the cell of each pair.

    A method without any value has no row: a note says so.
    """
    methods = list(results.main_methods if methods is None else methods)
    cells = {method: tuple(entry(method, nfe) for nfe in results.budgets) for method in methods}

    def row(method: str) -> tuple[Cell, ...]:
        return Cell(results.label(method)), Cell(results.attribute(method, "network") or "–"), *cells[method]

    header = ("method", "network", *(f"NFE {nfe}" for nfe in results.budgets))
    shown = [method for method in methods if any(valued(cell) for cell in cells[method])]
    empty = [f"{results.title(method)} ({_why(cells[method])})" for method in methods if method not in shown]
    if not shown:
        return not_run(title, "no method has a value.")
    told = (f"Without a value: {', '.join(empty)}.",) if empty else ()
    return Panel(title, header, grouped(results, row, shown), (*notes, *told), heads=2)


def valued(cell: Cell) -> bool:
    """Whether a cell says a value."""
    return cell.text not in ("–", "not run", "not measured", "")


def _why(cells: Sequence[Cell]) -> str:
    """What cells without a value say: "not run", or the footnotes of skipped ones."""
    told = [" ".join(cell.marks) or {"–": "none"}.get(cell.text, cell.text) for cell in cells]
    return ", ".join(dict.fromkeys(told))


def grouped(
    results: Results, row: Callable[[str], tuple[Cell, ...]], methods: Iterable[str] | None = None
) -> tuple[str | tuple[Cell, ...], ...]:
    """The row of each method, default of the main tables, each run of one group under its heading."""
    lines: list[str | tuple[Cell, ...]] = []
    for group, members in groupby(results.main_methods if methods is None else methods, key=results.group):
        lines += [GROUPS.get(group, "Other methods"), *map(row, members)]
    return tuple(lines)


def coupling_panel(
    title: str, coupling: pd.DataFrame, column: str, headings: Mapping[Any, str], names: Mapping[str, str]
) -> Panel:
    """Rows of coupling.csv: ``names`` of methods down, ``headings`` of the entries of ``column`` across."""
    rows = by_key(coupling, "method", column)

    def entry(row: Row | None) -> Cell:
        return Cell("–") if row is None else of_number(Number(row["value"], row["low"], row["high"], 3))

    body = tuple((Cell(name), *(entry(rows.get((m, key))) for key in headings)) for m, name in names.items())
    return Panel(title, ("method", *headings.values()), body)


def of_number(number: Number, *, bold: bool = False, marks: tuple[str, ...] = ()) -> Cell:
    """The cell of a number with its interval."""
    return Cell(number.text, bold, marks, number)


@dataclass(frozen=True)
class Comparison:
    """A long form as it is printed.

    Attributes:
        table: of :func:`long_form`.
        results: what it was made from.
        footnotes: reason of a skipped cell -> its mark, numbered as the cells are printed.
    """

    table: pd.DataFrame
    results: Results
    footnotes: dict[str, str] = field(default_factory=dict)

    @cached_property
    def rows(self) -> dict[tuple[Any, ...], dict[str, Any]]:
        """(method, NFE budget, metric, reference) -> row."""
        return by_key(self.table, "method", "nfe_budget", "metric", "reference")

    def stored(self, method: str, nfe: str, audit: str) -> str:
        """The split whose images a method stores, which its ``audit`` has as reference."""
        return "test" if (method, nfe, audit, "test") in self.rows else "train"

    def cell(self, row: Row | None, *, n: str = "", absent: str = "not run") -> Cell:
        """One entry with its interval; ‡ where it has not ``n`` samples."""
        if row is None or row["status"] == "not run":
            return Cell(absent if row is None else "not run")
        if row["status"] == "skipped":
            return Cell("–", marks=(self.footnotes.setdefault(row["reason"], f"({len(self.footnotes) + 1})"),))
        audited = row["method"] not in FLOORS
        unranked = "¶" if row["verdict"] == BEYOND else "†"
        marks = (unranked,) * (audited and not row["ranked"]) + ("‡",) * bool(n and row["num_samples"] != n)
        return of_number(quantity(row), bold=bool(row["best"]), marks=marks)

    def panel(
        self,
        title: str,
        metric: str,
        reference: str = "test",
        notes: tuple[str, ...] = (),
        *,
        absent: str = "not run",
    ) -> Panel:
        """One metric: methods down, NFE budgets across, each entry with its interval, ``absent`` where there is none.

        FLD of a method that stores images of the reference is against the other split: it asks for images held out.
        """
        if not (self.table.loc[self.table["metric"] == metric, "status"] != "not run").any():
            return not_run(title, f"metrics.csv holds no {printed_name(metric)}.")
        n = table_n(self.table, self.results)

        def entry(method: str, nfe: str) -> Cell:
            row = self.rows.get((method, nfe, metric, reference))
            if row is None and stem(metric) == LIKELIHOOD:
                row = self.rows.get((method, nfe, metric, OTHER[reference]))
            return self.cell(row, n=n, absent=absent)

        return by_method(self.results, title, entry, notes)

    def listed(
        self,
        title: str,
        columns: Mapping[str, Callable[[str, str], Cell]],
        notes: tuple[str, ...] = (),
        *,
        asked: Iterable[str] | None = None,
    ) -> Panel:
        """Several quantities of each cell: (method, NFE budget) down, ``columns`` across, a heading and what makes it.

        Cells without a value in the columns that are ``asked``, by default all, have no row: a note says of which
        methods there is none.
        """
        results, rows = self.results, dict[str, list[tuple[Cell, ...]]]()
        asked = set(columns if asked is None else asked)
        for method in results.main_methods:
            for nfe in results.budgets:
                made = {name: make(method, nfe) for name, make in columns.items()}
                if any(valued(cell) for name, cell in made.items() if name in asked):
                    head = results.label(method), results.attribute(method, "network") or "–", nfe
                    rows.setdefault(method, []).append((*map(Cell, head), *made.values()))
        if not rows:
            return not_run(title, "no method has a value.")
        body: list[str | tuple[Cell, ...]] = []
        for group, members in groupby(rows, key=results.group):
            body += [GROUPS.get(group, "Other methods"), *(row for method in members for row in rows[method])]
        empty = ", ".join(results.title(method) for method in results.main_methods if method not in rows)
        told = (*notes, f"Without a value: {empty}.") if empty else notes
        return Panel(title, ("method", "network", "NFE", *columns), tuple(body), told, heads=3)

    def value(self, method: str, nfe: str, metric: str, references: Iterable[str]) -> Cell:
        """One quantity with its interval, under the first of the references that has it; – where there is none."""
        found = (self.rows.get((method, nfe, metric, reference)) for reference in references)
        row = next((row for row in found if row is not None), None)
        return Cell("–") if row is None or row["status"] != "measured" else self.cell(row)

    @property
    def beyond_budgets(self) -> list[tuple[str, str]]:
        """(method, NFE) of rows that compete with none: 0 NFE, full chains, the floors (listed even if absent)."""
        other = self.table[~self.table["nfe_budget"].isin(self.results.budgets) & (self.table["group"] != "sweep")]
        listed = dict.fromkeys(zip(other["method"], other["nfe_budget"], strict=True))
        return [*listed, *((method, "0") for method in FLOORS if method not in set(other["method"]))]

    def document(
        self,
        title: str,
        references: str,
        panels: Iterable[Panel],
        *,
        remarks: tuple[str, ...] = (),
        latex_panels: tuple[Panel, ...] = (),
        headline: Panel | None = None,
    ) -> Document:
        """The table with its caption, what its marks mean, further ``remarks``, and why cells are unranked."""
        panels = tuple(panels)  # made first: they number the footnotes
        notes = Notes(self.table, self.results, self.footnotes)
        said, told = caption(self.table, self.results, references=references), (*notes.lines, *remarks)
        return Document(title, said, panels, told, notes.details, latex_panels, headline=headline)
