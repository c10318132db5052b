"""A table's page, NAME.md, read back: its title, its warning, and its parts, of which the first may be "In short"."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SHORT = "In short: "


@dataclass
class Part:
    """One tabular of a page: texts as a reader sees them, and which of them are bold.

    Attributes:
        title: its heading, without "In short".
        header: of each column.
        rows: texts, one for each column.
        bold: places (row, column) of what is bold.
        groups: heading above each row, or "".
        notes: paragraphs under it.
    """

    title: str
    header: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    bold: set[tuple[int, int]] = field(default_factory=set)
    groups: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Page:
    """A page: ``short`` is its headline; of a page without one None."""

    title: str
    warning: str
    short: Part | None
    parts: tuple[Part, ...]


def read(path: Path) -> Page:
    """The page in a file; of one that is not there an empty one."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    head, *sections = re.split(r"^## ", text.split("\n**Notes**\n")[0], flags=re.M)
    title, *paragraphs = [line for line in head.splitlines() if line.strip()] or [""]
    warning = next((line.strip("*") for line in paragraphs if line.startswith("**")), "")
    parts = tuple(_part(section.splitlines()) for section in sections)
    short = parts[0] if parts and parts[0].title.startswith(SHORT) else None
    if short:
        short.title = short.title.removeprefix(SHORT)
    return Page(_plain(title.removeprefix("# ")), _plain(warning), short, parts[1:] if short else parts)


def _part(lines: list[str]) -> Part:
    part, group = Part(_plain(lines[0])), ""
    for line in lines[1:]:
        if not line.startswith("|"):
            part.notes += [_plain(line)] if line.strip() else []
            continue
        cells = list(_cells(line))
        if not part.header:
            part.header = [_plain(cell) for cell in cells]
        elif heading := re.fullmatch(r"\*([^*].*)\*", cells[0]):
            group = _plain(heading[1])
        elif not line.startswith("|-"):
            part.bold |= {(len(part.rows), place) for place, cell in enumerate(cells) if cell.startswith("**")}
            part.rows.append([_plain(cell.replace("**", "")) for cell in cells])
            part.groups.append(group)
    return part


def _cells(line: str) -> Iterator[str]:
    yield from (cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1])


def _plain(text: str) -> str:
    return re.sub(r"\\(?=[^\w\s])", "", text)
