"""What a table of the paper consists of: cells, panels, and the document around them."""

from dataclasses import dataclass

from paper_figures._numbers import Number


@dataclass(frozen=True)
class Cell:
    """One entry: one quantity.

    Attributes:
        text: as Markdown prints it; of a number with its interval.
        bold: one of the best of its column.
        marks: such as †, behind it.
        number: the number that the text says, which LaTeX aligns.
    """

    text: str
    bold: bool = False
    marks: tuple[str, ...] = ()
    number: Number | None = None


@dataclass(frozen=True)
class Panel:
    """One tabular: rows of cells, or a text that heads the rows below it.

    Attributes:
        title: heading.
        header: of each column.
        rows: cells, one for each column, or a heading.
        notes: printed under it.
        heads: columns that say what a row is; a panel too wide for a page repeats them in each part.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...] | str, ...]
    notes: tuple[str, ...] = ()
    heads: int = 1


def not_run(title: str, reason: str) -> Panel:
    """A panel that says why it is empty."""
    return Panel(title, (), (), (f"not run: {reason}",))


@dataclass(frozen=True)
class Document:
    """One table of the paper.

    Attributes:
        title: heading, "Table N. ...".
        caption: n, seeds, references, intervals and fingerprint.
        panels: printed in Markdown and in the supplement.
        notes: how it was measured; printed under the table in both.
        details: longer lists, printed in Markdown only.
        latex_panels: further panels, printed in the supplement only.
        warning: why no number of it is a result; printed above all.
        headline: at most ten rows; first in Markdown, and a LaTeX table of its own.
    """

    title: str
    caption: str
    panels: tuple[Panel, ...]
    notes: tuple[str, ...]
    details: tuple[str, ...] = ()
    latex_panels: tuple[Panel, ...] = ()
    warning: str = ""
    headline: Panel | None = None
