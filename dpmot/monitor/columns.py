"""Columns of text that fit a width: words wrapped, in the widest style that does, else in blocks of columns."""

import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from textwrap import wrap

STYLES = ("interval", "half", "value")  # of a number with its interval, the widest first
Entry = tuple[str, str, str]  # one text for each of STYLES
BOLD, PLAIN = "\033[1m", "\033[0m"
GAP = "  "
LEAST = 13  # letters of a column of words that is wrapped


def fitted(
    header: Sequence[str], body: Sequence[Sequence[Entry]], width: int, groups: Sequence[str], *, headed: bool = False
) -> list[str]:
    """Lines of at most ``width`` letters; the first column is repeated where columns are cut into blocks.

    Args:
        header: of each column.
        body: rows of entries.
        width: letters of a line.
        groups: of each row; a blank line parts them.
        headed: print the groups' names above their rows.
    """
    for style in range(len(STYLES)):
        texts = [[entry[style] for entry in row] for row in body]
        widths = _widths(header, texts, width)
        if sum(widths) + len(GAP) * (len(widths) - 1) <= width:
            return block(header, texts, widths, groups, headed=headed)
    first = min(max(_length(row[0]) for row in [header, *texts]), max(12, width // 3))
    blocks: list[list[int]] = [[]]
    for column in range(1, len(header)):
        used = first + sum(widths[one] + len(GAP) for one in blocks[-1])
        if blocks[-1] and used + len(GAP) + widths[column] > width:
            blocks.append([])
        blocks[-1].append(column)
    lines: list[str] = []
    for chosen in blocks:
        room = [first, *(min(widths[one], max(4, width - first - len(GAP))) for one in chosen)]
        cut = [[row[0], *(row[one] for one in chosen)] for row in texts]
        lines += ["", *block([header[0], *(header[one] for one in chosen)], cut, room, groups, headed=headed)]
    return lines[1:]


def _widths(header: Sequence[str], texts: Sequence[Sequence[str]], width: int) -> list[int]:
    """Letters of each column, where too many in all as few as words allow; numbers are not broken."""
    columns = list(zip(header, *texts, strict=True))
    widths, least = [max(map(_length, column)) for column in columns], list(map(_least, columns))
    while sum(widths) + len(GAP) * (len(widths) - 1) > width:
        place = max(range(len(widths)), key=lambda one: (widths[one] > least[one], widths[one]))
        if widths[place] <= least[place]:
            break
        widths[place] -= 1
    return widths


def _least(column: Sequence[str]) -> int:
    """Letters that a column needs: of its longest number, or where it holds words the longest of these."""
    head, *texts = column
    words = [word for text in (texts if any(map(_is_text, texts)) else []) for word in text.split()]
    cells = max(map(_length, texts), default=0)
    longest = max(map(len, words), default=0)
    return max(_broken(head), min(cells, max(LEAST, longest + 1)) if words else cells, 1)


def _broken(text: str) -> int:
    """Letters that a text needs if its words stand below each other, the later ones indented."""
    return max((len(word) + (place > 0) for place, word in enumerate(text.split())), default=0)


def _is_text(text: str) -> bool:
    return re.search(r"[^\W\d_]{2}", text) is not None


def block(
    header: Sequence[str], texts: Sequence[Sequence[str]], widths: Sequence[int], groups: Sequence[str], *, headed: bool
) -> list[str]:
    """Lines of a table: header, rule, and rows wrapped to ``widths``; a blank line where the group changes."""
    across = sum(widths) + len(GAP) * (len(widths) - 1)
    lines, before = [*_lines(header, widths), "─" * across], None
    for row, group in zip(texts, groups, strict=True):
        if group != before:
            lines += [""] * (before is not None) + (wrap(group, across) if headed else [])
        lines, before = [*lines, *_lines(row, widths)], group
    return lines


def _lines(texts: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    cells = [
        [text] if _length(text) <= width else wrap(text, width, subsequent_indent=" ", break_on_hyphens=False)
        for text, width in zip(texts, widths, strict=True)
    ]
    for parts in zip_longest(*cells, fillvalue=""):
        padded = (text + " " * max(0, width - _length(text)) for text, width in zip(parts, widths, strict=True))
        yield GAP.join(padded).rstrip()


def _length(text: str) -> int:
    """Letters on the screen."""
    return len(text.replace(BOLD, "").replace(PLAIN, ""))
