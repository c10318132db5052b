"""A table of the paper as files: Markdown, LaTeX in two sizes, and CSV.

``NAME.tex`` is the headline, at most ten rows for a two-column page; ``NAME_full.tex`` has all rows, for a supplement;
``NAME.md`` has the headline and then all rows; ``NAME.csv`` has every number as measured.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

import pandas as pd

from paper_figures._latex import full, headline
from paper_figures._markdown import markdown
from paper_figures._page import Page
from paper_figures._panels import Document
from paper_figures._results import Results


def csv(table: pd.DataFrame, results: Results, *, missing: str = "") -> bytes:
    """The long form as it is; ``results`` are there for tables that print more."""
    return table.to_csv(index=False, na_rep=missing, lineterminator="\n").encode()


def csv_of_logarithms(table: pd.DataFrame, results: Results) -> bytes:
    """Twelve significant digits: NumPy's logarithms and powers of e differ in the last bits between processors."""
    return csv(table.map(lambda value: float(f"{value:.12g}") if isinstance(value, float) else value), results)


def page(
    file: str,
    doc: str | None,
    make: Callable[[Results], pd.DataFrame],
    layout: Callable[[pd.DataFrame, Results], Document],
    csv: Callable[[pd.DataFrame, Results], bytes] = csv,
) -> Page:
    """A table of the module ``file``: its long form, as it is printed and as a file."""

    def headed(table: pd.DataFrame, results: Results) -> Document:
        made = layout(table, results)
        return replace(made, warning=results.warning, notes=(*made.notes, *results.chosen))

    def document(results: Results) -> Document:
        return headed(make(results), results)

    def contents(results: Results) -> Iterable[bytes]:
        table = make(results)
        laid_out = headed(table, results)
        if results.warning:
            table = table.assign(not_a_result=results.warning)
        texts = markdown(laid_out), headline(laid_out, result.name), full(laid_out, result.name)
        return *(text.encode() for text in texts), csv(table, results)

    result = Page(file, doc, "tables", (".md", ".tex", "_full.tex", ".csv"), contents, document)
    return result
