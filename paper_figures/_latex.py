r"""A table as LaTeX, in two sizes: a headline for a two-column page, and a supplement of longtables.

A column of numbers is siunitx's ``S``, aligned at the decimal marker, with value ± half-width; an interval that lies
unevenly about its value is written out in the supplement. What does not fit the text of a page, 16 cm, is divided
(:mod:`paper_figures._widths`), with the columns that name a row repeated.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from paper_figures._numbers import Number, fixed
from paper_figures._panels import Cell, Document, Panel
from paper_figures._widths import folded, width

LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "–": "--", "†": r"$^{\dagger}$", "‡": r"$^{\ddagger}$", "§": r"$^{\S}$", "σ": r"$\sigma$",
    "τ": r"$\tau$", "η": r"$\eta$", "λ": r"$\lambda$", "μ": r"$\mu$", "χ": r"$\chi$", "±": r"$\pm$", "×": r"$\times$",
    "·": r"$\cdot$", "−": r"$-$", "≤": r"$\leq$", "≥": r"$\geq$", "≈": r"$\approx$", "→": r"$\to$", "²": r"$^2$",
    "∞": r"$\infty$", "¶": r"$^{\P}$", "↓": r"$\downarrow$", "↑": r"$\uparrow$", "\0": "{}",
}  # fmt: skip
SYMBOLS = {"sigma_M*": r"$\sigma_M^*$", "sigma_M": r"$\sigma_M$", "sigma": r"$\sigma$", "chi2": r"$\chi^2$"}
SYMBOL = re.compile(r"\bsigma_M\*|\bsigma_M\b|\bsigmas?\b(?!_)|\bchi2\b")
PAGE = 450.0  # points: the text of a two-column article is 452.9 wide on A4, 469.8 on US letter
GAP = 6.0  # points between two columns: twice \tabcolsep
LONGEST = (118.0, 90.0, 70.0, 55.0, 40.0)  # points of a line of text in a cell; of a headline the first that fits
SETUP = r"\sisetup{separate-uncertainty,detect-weight,table-number-alignment=center}"
SIZE = r"\scriptsize\setlength{\tabcolsep}{3pt}"


def escape(text: str) -> str:
    """Text with LaTeX's special characters escaped, and what it joins kept apart."""
    apart = re.sub(r"([-`'])(?=\1)|([?!])(?=`)", "\\g<0>\0", text)
    return "".join(LATEX.get(letter, letter) for letter in apart)


def typeset(text: str) -> str:
    """Escaped text with sigma_M*, sigma_M, sigma and chi2 as symbols, if it has no dollar of its own."""
    if "$" in text:
        return escape(text)
    parts, end = [], 0
    for found in SYMBOL.finditer(text):
        symbol = SYMBOLS[found[0].removesuffix("s")] + ("s" if found[0].endswith("s") else "")
        parts += [escape(text[end : found.start()]), symbol]
        end = found.end()
    return "".join([*parts, escape(text[end:])])


def _marks(cell: Cell) -> str:
    return "".join(escape(mark) if mark in LATEX else rf"$^{{\mathrm{{{escape(mark)}}}}}$" for mark in cell.marks)


def _space(marks: str) -> tuple[int, bool]:
    """Orders marks by what they take on a line: by how many they are, and of these the pilcrow is the widest."""
    return marks.count("$"), r"\P" in marks


@dataclass(frozen=True)
class Column:
    """How one column of a panel is set.

    Attributes:
        spec: its letter in the preamble.
        points: its width without the gap.
        head: its heading.
        numbers: whether it is siunitx's.
        uneven: whether intervals that lie unevenly are written out.
    """

    spec: str
    points: float
    head: str
    numbers: bool
    uneven: bool

    def aligned(self, cell: Cell) -> bool:
        """Whether siunitx aligns the cell."""
        number = cell.number
        return number is not None and not number.large and (number.even or not self.uneven)

    def set(self, cell: Cell) -> str:
        """The cell, as LaTeX."""
        if self.numbers and cell.number is not None and self.aligned(cell):
            text = cell.number.short.replace("−", "-").replace(" ± ", " +- ")
            marks = _marks(cell)
            return (r"\bfseries " if cell.bold else "") + text + (f" {{{marks}}}" if marks else "")
        text = typeset(cell.number.plain if cell.number and not self.uneven else cell.text)
        text = (rf"\textbf{{{text}}}" if cell.bold else text) + _marks(cell)
        return f"{{{text}}}" if self.numbers else text


def _format(numbers: Sequence[Number]) -> tuple[str, float]:
    """siunitx's table-format that holds the numbers, and its width."""
    sign = any(number.plain.startswith("−") for number in numbers)
    wholes = [number.plain.lstrip("−").partition(".")[0] for number in numbers]
    whole, places = max(map(len, wholes)), max(0, *(number.digits for number in numbers))
    halves = [fixed(number.half, number.digits) for number in numbers if number.half >= 0]
    uncertain = max((len(half.partition(".")[0]) for half in halves), default=0) + places if halves else 0
    points = 3.99 * (whole + places) + 2.26 * (places > 0) + 7.0 * sign
    points += 9.0 + 3.99 * uncertain + 2.26 * (places > 0) if uncertain else 0
    return f"{'-' * sign}{whole}.{places}{f'({uncertain})' * bool(uncertain)}", points


def _column(header: str, cells: Sequence[Cell], *, uneven: bool, longest: float = LONGEST[0]) -> Column:
    """Set a column: numbers aligned, long texts in lines, a heading in as many lines as its width asks."""
    made = Column("l", 0.0, "", False, uneven)
    numbers = [cell.number for cell in cells if cell.number is not None and made.aligned(cell)]
    marks = max((width("".join(cell.marks)) for cell in cells), default=0.0)
    others = [cell for cell in cells if cell.number is None or not made.aligned(cell)]
    texts = [cell.number.plain if cell.number and not uneven else cell.text for cell in others]
    points = max((width(one, bold=cell.bold) for one, cell in zip(texts, others, strict=True)), default=0.0)
    points += marks if points else 0
    spec = "l"
    if numbers:
        form, wide = _format(numbers)
        post = max((_marks(cell) for cell in cells), key=_space, default="")
        spec = f"S[table-format={form}" + (f",table-space-text-post={{{post}}}" if post else "") + "]"
        points = max(points, wide * (1.15 if any(cell.bold for cell in cells) else 1) + marks)
    elif points > longest:
        if uneven:  # a word, as a name with underscores, is not divided
            longest = max(
                longest, *(1.06 * width(word, bold=cell.bold) for cell in cells for word in cell.text.split())
            )
        spec, points = rf">{{\raggedright\arraybackslash}}p{{{longest:.4g}pt}}", longest
    lines = folded(header, max(points, 34.0))
    stacked = r"\\".join(map(typeset, lines))
    head = stacked if len(lines) == 1 else rf"\shortstack{{{stacked}}}"
    points = max(points, *map(width, lines))
    return Column(spec, points, f"{{{head}}}" if numbers else head, bool(numbers), uneven)


def _parts(panel: Panel, *, uneven: bool) -> Iterator[tuple[Panel, list[Column]]]:
    """The panel in parts that fit a page, with the columns of each."""
    body = [row for row in panel.rows if not isinstance(row, str)]
    columns = [_column(name, [row[k] for row in body], uneven=uneven) for k, name in enumerate(panel.header)]
    heads = list(range(panel.heads))
    taken = sum(columns[k].points + GAP for k in heads)
    parts: list[list[int]] = [[]]
    room = PAGE - taken
    for k in range(panel.heads, len(columns)):
        if parts[-1] and sum(columns[j].points + GAP for j in [*parts[-1], k]) > room:
            parts.append([])
        parts[-1].append(k)
    for part in parts:
        chosen = [*heads, *part]
        rows = tuple(row if isinstance(row, str) else tuple(row[k] for k in chosen) for row in panel.rows)
        yield replace(panel, header=tuple(panel.header[k] for k in chosen), rows=rows), [columns[k] for k in chosen]


def whole(panel: Panel, lines: Sequence[float] = LONGEST) -> list[Column]:
    """The columns of a headline, which is not divided: its texts in lines as short as it takes to fit a page."""
    body, columns = [row for row in panel.rows if not isinstance(row, str)], list[Column]()
    for longest in lines:
        cells = [[row[k] for row in body] for k in range(len(panel.header))]
        of = zip(panel.header, cells, strict=True)
        columns = [_column(name, own, uneven=False, longest=longest) for name, own in of]
        if _total(columns) <= PAGE:
            break
    return columns


def _total(columns: Iterable[Column]) -> float:
    return sum(column.points + GAP for column in columns)


def fits(panel: Panel, lines: Sequence[float] = LONGEST) -> bool:
    """Whether the panel fits a page as a headline with text of such ``lines``, by the estimate."""
    return _total(whole(panel, lines)) <= PAGE


def _row(row: tuple[Cell, ...] | str, columns: Sequence[Column]) -> str:
    if isinstance(row, str):
        most = sum(column.points + GAP for column in columns) - GAP
        spec = "l" if width(row) < most else rf">{{\raggedright\arraybackslash}}p{{{most:.0f}pt}}"
        return rf"\addlinespace \multicolumn{{{len(columns)}}}{{{spec}}}{{\textit{{{typeset(row)}}}}} \\"
    # \relax: a cell that starts with [ would otherwise be read as the optional argument of the \\ before it
    return r"\relax " + " & ".join(column.set(cell) for column, cell in zip(columns, row, strict=True)) + r" \\"


def _name(title: str) -> str:
    """A title without the number that LaTeX gives."""
    return re.sub(r"^Table \d+\. ", "", title)


def _short(panels: Sequence[Panel]) -> Panel | None:
    """The first panel, if it is short enough for a headline."""
    return replace(panels[0], notes=()) if panels and len(panels[0].rows) <= 10 and fits(panels[0]) else None


def headline(document: Document, name: str) -> str:
    r"""The headline as one float over both columns, its notes in a ``threeparttable``."""
    lines = ["% needs \\usepackage{booktabs,siunitx,threeparttable}; all rows: " + f"{name}_full.tex", ""]
    panel = document.headline or _short(document.panels)
    if panel is None or not panel.rows:
        return "\n".join([*lines, "% nothing to show in ten rows", ""])
    columns = whole(panel)
    warning = rf"\textbf{{{typeset(document.warning)}.}} " if document.warning else ""
    specs = "".join(column.spec for column in columns)
    lines += [
        r"\begin{table*}[htbp]",
        rf"\centering{SIZE}{SETUP}\sloppy",
        r"\begin{threeparttable}",
        rf"\caption{{{warning}{typeset(_name(document.title))}. {typeset(panel.title)}.}}",
        rf"\label{{tab:{name.replace('_', '-')}}}",
        rf"\begin{{tabular*}}{{\textwidth}}{{@{{\extracolsep{{\fill}}}}{specs}@{{}}}}",
        r"\toprule",
        " & ".join(column.head for column in columns) + r" \\",
        r"\midrule",
        *(_row(row, columns) for row in panel.rows),
        r"\bottomrule",
        r"\end{tabular*}",
        *_notes(panel.notes),
        r"\end{threeparttable}",
        r"\end{table*}",
        "",
    ]
    return "\n".join(lines)


def _notes(notes: Sequence[str]) -> list[str]:
    if not notes:
        return []
    return [
        r"\begin{tablenotes}[flushleft]\scriptsize\raggedright",
        *(rf"\item {typeset(note)}" for note in notes),
        r"\end{tablenotes}",
    ]


def _longtable(panel: Panel, columns: Sequence[Column], caption: str, label: str) -> list[str]:
    head = [r"\toprule", " & ".join(column.head for column in columns) + r" \\", r"\midrule"]
    return [
        rf"\begin{{longtable}}{{{''.join(column.spec for column in columns)}}}",
        rf"\caption{{{caption}}}\label{{tab:{label}}}\\",
        *head,
        r"\endfirsthead",
        *head,
        r"\endhead",
        r"\bottomrule",
        r"\endfoot",
        *(_row(row, columns) for row in panel.rows),
        r"\end{longtable}",
    ]


def _paragraphs(texts: Iterable[str]) -> list[str]:
    """Notes that may run over pages; ragged, for a fingerprint does not divide."""
    lines = [rf"\noindent {typeset(text)}\par" for text in texts]
    return [r"{\raggedright", *lines, "}"] if lines else []


def full(document: Document, name: str) -> str:
    r"""All rows, as longtables with their notes below; in a two-column document after ``\onecolumn``."""
    lines = ["% needs \\usepackage{booktabs,siunitx,longtable}; in a two-column document put \\onecolumn before it", ""]
    warning = rf"\textbf{{{typeset(document.warning)}.}} " if document.warning else ""
    lines.append(rf"\begingroup{SIZE}\setlength{{\LTcapwidth}}{{\textwidth}}{SETUP}\sloppy")
    count = 0
    for panel in (*document.panels, *document.latex_panels):
        title = f"{_name(document.title)}. {panel.title}"
        if not panel.rows:
            lines += [*_paragraphs([f"{title}: {' '.join(panel.notes)}"]), ""]
            continue
        for index, (part, columns) in enumerate(_parts(panel, uneven=True)):
            count += 1
            caption = f"{warning}{typeset(title)}{' (further columns)' if index else ''}."
            lines += _longtable(part, columns, caption, f"{name.replace('_', '-')}-{count}")
        lines += [*_paragraphs(panel.notes), ""]
    return "\n".join([*lines, *_paragraphs([f"{document.caption}.", *document.notes]), r"\endgroup", ""])
