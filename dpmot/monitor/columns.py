"""Columns of text that fit a width: in the widest style that does, else in blocks of columns."""

from collections.abc import Sequence

STYLES = ("interval", "half", "value")  # of a number with its interval, the widest first
Entry = tuple[str, str, str]  # one text for each of STYLES
BOLD, PLAIN = "\033[1m", "\033[0m"
GAP = "  "


def fitted(header: Sequence[str], body: Sequence[Sequence[Entry]], width: int, groups: Sequence[str]) -> list[str]:
    """Lines of at most ``width`` letters; the first column is repeated where columns are cut into blocks."""
    for style in range(len(STYLES)):
        texts = [[entry[style] for entry in row] for row in body]
        widths = [max(_length(text) for text in column) for column in zip(header, *texts, strict=True)]
        if sum(widths) + len(GAP) * (len(widths) - 1) <= width:
            return block(header, texts, widths, groups)
    first = min(widths[0], max(12, width // 3))
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
        lines += ["", *block([header[0], *(header[one] for one in chosen)], cut, room, groups)]
    return lines[1:]


def block(
    header: Sequence[str], texts: Sequence[Sequence[str]], widths: Sequence[int], groups: Sequence[str]
) -> list[str]:
    """Lines of a table: header, rule, and rows cut to ``widths`` characters; a blank line where the group changes."""
    rule = "─" * (sum(widths) + len(GAP) * (len(widths) - 1))
    lines, before = [_line(header, widths), rule], groups[0] if groups else ""
    for row, group in zip(texts, groups, strict=True):
        lines += [""] if group != before else []
        lines, before = [*lines, _line(row, widths)], group
    return lines


def _line(texts: Sequence[str], widths: Sequence[int]) -> str:
    cut = [_cut(text, width) + " " * max(0, width - _length(text)) for text, width in zip(texts, widths, strict=True)]
    return GAP.join(cut).rstrip()


def _cut(text: str, width: int) -> str:
    return text if _length(text) <= width else f"{text[: max(1, width - 1)]}…"


def _length(text: str) -> int:
    """Letters on the screen."""
    return len(text.replace(BOLD, "").replace(PLAIN, ""))
