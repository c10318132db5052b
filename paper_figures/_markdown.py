"""A table as GitHub Markdown, columns padded so that the raw text reads as a table."""

import re
from dataclasses import replace

from paper_figures._panels import Cell, Document, Panel

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
    short = [replace(document.headline, title=f"In short: {document.headline.title}")] if document.headline else []
    for panel in (*short, *document.panels):
        lines += _markdown_panel(panel)
    lines += ["**Notes**", "", *(f"- {plain(note)}" for note in document.notes)]
    if document.details:
        lines += ["", "**Details**", "", *(f"- {plain(detail)}" for detail in document.details)]
    return "\n".join(lines) + "\n"
