"""A table as text: panels of cells, rendered as Markdown (readable raw) and as LaTeX (booktabs)."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import pandas as pd

from paper_figures._page import Page
from paper_figures._results import Results

LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "–": "--", "†": r"$^{\dagger}$", "‡": r"$^{\ddagger}$", "§": r"$^{\S}$", "σ": r"$\sigma$",
    "τ": r"$\tau$", "η": r"$\eta$", "λ": r"$\lambda$", "μ": r"$\mu$", "χ": r"$\chi$", "±": r"$\pm$", "×": r"$\times$",
    "·": r"$\cdot$", "−": r"$-$", "≤": r"$\leq$", "≥": r"$\geq$", "≈": r"$\approx$", "→": r"$\to$", "²": r"$^2$",
    "∞": r"$\infty$", "¶": r"$^{\P}$", "\0": "{}",
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One entry: its text, whether it is bold, and marks such as † behind it."""

    text: str
    bold: bool = False
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Panel:
    """One tabular: rows of cells, or a text that heads the rows below it."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...] | str, ...]
    notes: tuple[str, ...] = ()


def not_run(title: str, reason: str) -> Panel:
    """A panel that says why it is empty."""
    return Panel(title, (), (), (f"not run: {reason}",))


@dataclass(frozen=True)
class Document:
    """One table of the paper.

    Attributes:
        title: heading.
        caption: n, seeds, references, intervals and fingerprint; printed under every panel's title in LaTeX.
        panels: printed in Markdown and LaTeX.
        notes: how it was measured; printed under the table in both.
        details: longer lists, printed in Markdown only.
        latex_panels: further panels, printed in LaTeX only.
        warning: why no number of it is a result; printed above all.
    """

    title: str
    caption: str
    panels: tuple[Panel, ...]
    notes: tuple[str, ...]
    details: tuple[str, ...] = ()
    latex_panels: tuple[Panel, ...] = ()
    warning: str = ""


def csv(table: pd.DataFrame, results: Results, *, missing: str = "") -> bytes:
    """The long form as it is; ``results`` are there for tables that print more."""
    return table.to_csv(index=False, na_rep=missing, lineterminator="\n").encode()


def page(
    file: str,
    doc: str | None,
    make: Callable[[Results], pd.DataFrame],
    layout: Callable[[pd.DataFrame, Results], Document],
    csv: Callable[[pd.DataFrame, Results], bytes] = csv,
) -> Page:
    """A table as Markdown, LaTeX and CSV, of the module ``file``: its long form, as it is printed and as a file."""

    def contents(results: Results) -> Iterable[bytes]:
        table = make(results)
        document = replace(layout(table, results), warning=results.warning)
        if results.warning:
            table = table.assign(not_a_result=results.warning)
        return markdown(document).encode(), latex(document, result.name).encode(), csv(table, results)

    result = Page(file, doc, "tables", ("md", "tex", "csv"), contents)
    return result


def escape(text: str) -> str:
    """Text with LaTeX's special characters escaped, and what it joins kept apart."""
    apart = re.sub(r"([-`'])(?=\1)|([?!])(?=`)", "\\g<0>\0", text)
    return "".join(LATEX.get(letter, letter) for letter in apart)


MARKDOWN = re.compile(
    r"\\(?=[!-/:-@\[-`{-~])"  # an escape
    r"|[`$~]|\*(?=\w)|(?<!\w)\*|(?<![^\W_])_|_(?![^\W_])"  # code, mathematics, strikes; what can begin emphasis
    r"|<(?=[a-zA-Z/!?])|&(?=#?\w+;)|\[(?=\^|[^\]]*\][(\[])"  # HTML; footnotes and links
)


def plain(text: str) -> str:
    """Text that GitHub Markdown prints as it stands; signs that mark nothing where they stand are left readable."""
    return MARKDOWN.sub(r"\\\g<0>", text)


def _markdown_cell(cell: Cell) -> str:
    text = plain(cell.text).replace("|", r"\|")
    return " ".join([f"**{text}**" if cell.bold else text, *cell.marks])


def _markdown_panel(panel: Panel) -> list[str]:
    title, notes = [f"## {plain(panel.title)}", ""], [text for note in panel.notes for text in (plain(note), "")]
    if not panel.rows:
        return [*title, *map(plain, panel.notes), ""]
    body = [tuple(_markdown_cell(Cell(name)) for name in panel.header)]
    for row in panel.rows:
        entries = (
            ("*" + re.sub(r"(?<!\\)\*", r"\*", _markdown_cell(Cell(row))) + "*",)
            if isinstance(row, str)
            else tuple(map(_markdown_cell, row))
        )
        body.append((*entries, *[""] * (len(panel.header) - len(entries))))
    widths = [max(map(len, column)) for column in zip(*body, strict=True)]
    head, *rest = ("| " + " | ".join(map(str.ljust, entries, widths)) + " |" for entries in body)
    return [*title, head, "|" + "|".join("-" * (width + 2) for width in widths) + "|", *rest, "", *notes]


def markdown(document: Document) -> str:
    """The document as GitHub Markdown, columns padded so that the raw text reads as a table."""
    warning = [f"**{plain(document.warning)}.**", ""] if document.warning else []
    lines = [f"# {plain(document.title)}", "", *warning, plain(document.caption), ""]
    for panel in document.panels:
        lines += _markdown_panel(panel)
    lines += ["**Notes**", "", *(f"- {plain(note)}" for note in document.notes)]
    if document.details:
        lines += ["", "**Details**", "", *(f"- {plain(detail)}" for detail in document.details)]
    return "\n".join(lines) + "\n"


def _latex_cell(cell: Cell) -> str:
    text = escape(cell.text)
    marks = "".join(escape(mark) if mark in LATEX else rf"$^{{\mathrm{{{escape(mark)}}}}}$" for mark in cell.marks)
    return (rf"\textbf{{{text}}}" if cell.bold else text) + marks


def _latex_row(row: tuple[Cell, ...] | str, width: int) -> str:
    if isinstance(row, str):
        return rf"\addlinespace \multicolumn{{{width}}}{{l}}{{\textit{{{escape(row)}}}}} \\"
    # \relax: a cell that starts with [ would otherwise be read as the optional argument of the \\ before it
    return r"\relax " + " & ".join(map(_latex_cell, row)) + r" \\"


def _latex_panel(panel: Panel, *, warning: str, caption: str, label: str, notes: Iterable[str]) -> list[str]:
    width, texts = len(panel.header), r" \par ".join(map(escape, [*panel.notes, *notes]))
    tabular = [
        rf"\begin{{tabular}}{{{'l' * width}}}",
        r"\toprule",
        " & ".join(map(escape, panel.header)) + r" \\",
        r"\midrule",
        *(_latex_row(row, width) for row in panel.rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return [
        r"\begin{table*}[htbp]",
        r"\centering\scriptsize\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{warning}{escape(caption)}}}",
        rf"\label{{tab:{label}}}",
        *(tabular if panel.rows else []),
        *([rf"\par\smallskip\parbox{{0.95\textwidth}}{{{texts}}}"] if texts else []),
        r"\end{table*}",
        "",
    ]


def latex(document: Document, name: str) -> str:
    r"""The document as LaTeX floats, one per panel, labelled by its name; needs ``\usepackage{booktabs}`` only."""
    lines = [r"% needs \usepackage{booktabs}", ""]
    panels = [*document.panels, *document.latex_panels]
    warning = rf"\textbf{{{escape(document.warning)}.}} " if document.warning else ""
    for number, panel in enumerate(panels, 1):
        caption, label = f"{document.title}. {panel.title}. {document.caption}", f"{name.replace('_', '-')}-{number}"
        notes = document.notes if number == len(panels) else ()
        lines += _latex_panel(panel, warning=warning, caption=caption, label=label, notes=notes)
    return "\n".join(lines)
