"""``dpmot show TABLE``: a table of a results folder in the terminal, as wide as the terminal is.

By default its headline, as its page tables/<table>.md has it; all rows of a metric at budgets are those of
tables/<table>.csv. A value is printed to the second significant digit of the half-width of its interval, with the
interval where there is room, as value ± half-width or alone where there is not; a table that is still too wide is cut
into blocks of columns.
"""

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import floor, isfinite, log10
from pathlib import Path
from textwrap import wrap
from typing import cast

from dpmot import plugins
from dpmot.monitor import page
from dpmot.monitor.columns import BOLD, PLAIN, Entry, fitted
from dpmot.results import facts, printed_name, stem

ELSEWHERE = ("sweep", "identity", "reference", "floor")  # groups of methods that have figures or tables of their own
Row = dict[str, str]
ARROWS = {"lower": "lower is better", "higher": "higher is better"}
SIGNS = {
    "*": "* may be the best",
    "†": "† not ranked, as copies are: the page says why",
    "–": "– skipped",
    "·": "· not run",
}
SHOWN = {"[": "[95 % intervals]", " ± ": "±: half the width of a 95 % interval"}
NAMED = 8  # metrics that are named as those that can be had
SUPPLEMENT = re.compile(r"(\.|;|^) ?[Aa]ll( \w+)? are in the supplement\.$")


def find(folder: Path, name: str) -> Path:
    """The file of a table by its name or its number: table_1, 1 or table_1_quality.

    Raises:
        ValueError: no such table there; the message lists those that there are.
    """
    there = sorted((folder / "tables").glob("*.csv"), key=lambda path: (len(path.stem), path.stem))
    asked = name if not name.isdecimal() else f"table_{name}"
    for path in there:
        if path.stem == asked or path.stem.startswith(f"{asked}_"):
            return path
    names = [path.stem for path in sorted(there)]
    if not names:
        told = "tables are written at the end of a run; `dpmot status` says how far it is"
        raise ValueError(f"{folder / 'tables'} holds no table yet: {told}")
    raise ValueError(f'No table "{name}" in {folder}: {plugins.did_you_mean(name, names)}found {", ".join(names)}')


def show(
    path: Path,
    experiment: str,
    *,
    width: int,
    metric: str | None = None,
    everything: bool = False,
    colour: bool = False,
) -> list[str]:
    """The lines of a table: its headline, or all rows.

    Args:
        path: its CSV file.
        width: letters of a line.
        metric: one of the table's metrics, of which all rows are printed.
        everything: print all rows of all metrics.
        colour: print the best in bold, not with a star.

    Raises:
        ValueError: no CSV file of a table, or no such metric.
    """
    table = Table(path, tuple(_rows(path)))
    if metric and not table.by_budget:
        raise ValueError(
            f"{path.stem} has no columns of metrics and budgets, so --metric chooses nothing; leave it out"
        )
    short = table.page.short
    if metric or not table.page.parts or (table.by_budget and (everything or not short)):
        return _by_budget(table, experiment, width=width, metric=metric, everything=everything, colour=colour)
    parts = [short] if short and not everything else table.page.parts
    return _as_printed(table, experiment, parts, width=width, colour=colour)


def best(path: Path) -> list[str]:
    """The headline of a table by budget: the best ranked method at each budget, by the table's first metric."""
    table = Table(path, tuple(_rows(path)))
    if not table.by_budget:
        return []
    name, reference = table.panels[0]
    rows = [row for row in table.of(name, reference) if row["ranked"] == "True" and _measured(row, table.value)]
    number = table.title.split(". ")[0]
    lines = [f"{number}, {_titled(name, reference)}: the best method of those that no audit unranks"]
    falling = facts()[stem(name)].direction == "lower" if stem(name) in facts() else True
    for budget in table.budgets:
        at = [row for row in rows if row["nfe_budget"] == budget]
        at.sort(key=lambda row: float(row[table.value]) * (1 if falling else -1))
        lines += [f"  NFE {budget:>4}  {_entry(at[0], table.value)[0]:24}  {at[0]['label']}"] if at else []
    unranked = {
        row["method"] for row in table.of(name, reference) if row["ranked"] != "True" and _measured(row, table.value)
    }
    ranked = {row["method"] for row in rows}
    if gone := [label for method, label in table.methods.items() if method in unranked - ranked]:
        lines.append(f"  not ranked at any NFE: {', '.join(gone[:4])}{f' and {len(gone) - 4} more' * (len(gone) > 4)}")
    return lines


@dataclass(frozen=True)
class Table:
    """A table as its CSV file has it: one row for each number."""

    path: Path
    rows: tuple[Row, ...]

    @cached_property
    def page(self) -> page.Page:
        """The page beside it."""
        return page.read(self.path.with_suffix(".md"))

    @property
    def title(self) -> str:
        """As "Table 1. Sample quality by method and NFE budget"; of one without a page its name."""
        return self.page.title or self.path.stem

    @property
    def value(self) -> str:
        """The column of the numbers."""
        return "measured" if "measured" in self.rows[0] else "value"

    @property
    def by_budget(self) -> bool:
        """Whether it compares methods at budgets."""
        return {"method", "label", "nfe_budget", "metric", "reference", "ranked", self.value} <= self.rows[0].keys()

    @cached_property
    def main(self) -> list[Row]:
        """Rows of the methods that are compared, at budgets."""
        return [row for row in self.rows if _compares(row)]

    @cached_property
    def panels(self) -> list[tuple[str, str]]:
        """(metric, reference), in order, where something is measured."""
        return list(dict.fromkeys((row["metric"], row["reference"]) for row in self.main if _measured(row, self.value)))

    @cached_property
    def budgets(self) -> list[str]:
        """NFE budgets, ascending."""
        return sorted({row["nfe_budget"] for row in self.main}, key=int)

    @cached_property
    def methods(self) -> dict[str, str]:
        """method -> label, in order."""
        return {row["method"]: row["label"] for row in self.main}

    def of(self, metric: str, reference: str) -> list[Row]:
        """Rows of one panel."""
        return [row for row in self.main if (row["metric"], row["reference"]) == (metric, reference)]

    def stated(self, column: str) -> str:
        """What a column says of all rows; "several" where rows differ, "" where there is no such column."""
        found = {row[column] for row in self.rows if row.get(column)}
        return next(iter(found)) if len(found) == 1 else "several" if found else ""


def _compares(row: Row) -> bool:
    published = row.get("reported", "no") != "no"
    return row["nfe_budget"].isdecimal() and row.get("group") not in ELSEWHERE and not published


def _rows(path: Path) -> Iterable[Row]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no readable CSV file ({error}); make it again") from None
    if not rows:
        raise ValueError(f"{path} holds no row")
    if any(None in row or None in row.values() for row in rows):
        raise ValueError(f"{path} has rows that are cut; make it again")
    return rows


def _by_budget(
    table: Table, experiment: str, *, width: int, metric: str | None, everything: bool, colour: bool
) -> list[str]:
    """All rows of a metric, by default of the first."""
    if not table.by_budget:
        raise ValueError(f"{table.path.with_suffix('.md')} is not there, and this table is read from it; make it again")
    names = list(dict.fromkeys(name for name, _ in table.panels))
    if not names:
        raise ValueError(f"{table.path}: no number is measured; `dpmot status` says what is not done")
    if metric is not None and metric not in names:
        hint = plugins.did_you_mean(metric, names)
        raise ValueError(f'No metric "{metric}" in {table.path.stem}: {hint}found {", ".join(names)}')
    chosen = [panel for panel in table.panels if everything or panel[0] == (metric or names[0])]
    chosen = chosen if metric or everything else chosen[:1]
    lines, marks = _heading(table, experiment, width), set[str]()
    for panel in chosen:
        lines += ["", *wrap(_titled(*panel), width), "", *_panel(table, panel, width, marks, colour=colour)]
    told = [text for sign, text in SIGNS.items() if sign in marks]
    told += [text for sign, text in SHOWN.items() if any(sign in line for line in lines)]
    lines += ["", *wrap("; ".join(told), width)] if told else []
    return [*lines, *_more(table, width, left_out=not everything, but=metric), _page(table)]


def _as_printed(table: Table, experiment: str, parts: Sequence[page.Part], *, width: int, colour: bool) -> list[str]:
    """Parts of the page, with their notes."""
    lines = [*wrap(table.title, width), *wrap(table.page.warning, width)]
    lines += [] if len(parts) == 1 else _stated(table, experiment, width)
    for part in parts:
        title = f"experiment {experiment}: {part.title}" if len(parts) == 1 else part.title
        lines += [*([""] if len(parts) > 1 else []), *wrap(title, width), "", *_part(part, width, colour=colour)]
    return [*lines, *_more(table, width, left_out=parts[0] is table.page.short), _page(table)]


def _part(part: page.Part, width: int, *, colour: bool) -> list[str]:
    """Columns, those that say the same in all rows as a line, and the notes."""
    columns = list(zip(*part.rows, strict=True))
    same = [place for place, texts in enumerate(columns) if place and len(texts) > 1 and len(set(texts)) == 1]
    kept = [place for place in range(len(columns)) if place not in same]
    body = [
        [(_bold(texts[place], bold=(row, place) in part.bold, colour=colour),) * 3 for place in kept]
        for row, texts in enumerate(part.rows)
    ]
    lines = [*fitted([part.header[place] for place in kept], body, width, part.groups, headed=True), ""] if body else []
    told = [f"in all rows: {'; '.join(f'{part.header[place]} {columns[place][0]}' for place in same)}"] if same else []
    told += [SUPPLEMENT.sub(".", note if colour else re.sub(r"^Bold\b", "*", note)) for note in part.notes]
    return [*lines, *(line for text in told for line in wrap(text.lstrip(". "), width))]


def _bold(text: str, *, bold: bool, colour: bool) -> str:
    return text if not bold else f"{BOLD}{text}{PLAIN}" if colour else f"{text} *"


def _more(table: Table, width: int, *, left_out: bool, but: str | None = None) -> list[str]:
    """How to have what is not shown."""
    names = list(dict.fromkeys(name for name, _ in table.panels if name != but)) if table.by_budget else []
    told = ["all rows: --all"] * left_out
    if left_out and names:
        rest = f" and {len(names) - NAMED} more, which a wrong name lists" if len(names) > NAMED else ""
        told.append(f"all rows of one metric: --metric {' | '.join(names[:NAMED])}{rest}")
    return wrap("; ".join(told), width, subsequent_indent="  ")


def _panel(table: Table, panel: tuple[str, str], width: int, marks: set[str], *, colour: bool) -> list[str]:
    """Methods in rows, budgets in columns, without those at which nothing is measured; these are named."""
    rows = table.of(*panel)
    measured = [row for row in rows if _measured(row, table.value)]
    budgets = [budget for budget in table.budgets if any(row["nfe_budget"] == budget for row in measured)]
    shown = {row["method"]: row["label"] for row in measured}
    known, body, groups = {(row["method"], row["nfe_budget"]): row for row in rows}, [], []
    for method, label in shown.items():
        found = [known.get((method, budget)) for budget in budgets]
        body.append([(label,) * 3, *(_marked(row, table.value, marks, colour=colour) for row in found)])
        groups.append(next((row.get("group", "") for row in found if row), ""))
    lines = fitted(["method", *(f"NFE {budget}" for budget in budgets)], body, width, groups)
    if absent := [label for method, label in table.methods.items() if method not in shown]:
        lines += ["", *wrap(f"not measured: {', '.join(absent)}", width, subsequent_indent="  ")]
    return lines


def _page(table: Table) -> str:
    return f"the whole page: {table.path.with_suffix('.md')}; words: docs/glossary.md"


def _heading(table: Table, experiment: str, width: int) -> list[str]:
    return [*wrap(table.title, width), *wrap(table.page.warning, width), *_stated(table, experiment, width)]


def _stated(table: Table, experiment: str, width: int) -> list[str]:
    n, fingerprint = table.stated("num_samples"), table.stated("fingerprint")
    told = [f"experiment {experiment}", *([f"n = {n}"] if n.isdecimal() else [])]
    return wrap("; ".join([*told, f"fingerprint {fingerprint or 'not stated in this table'}"]), width)


def _titled(metric: str, reference: str) -> str:
    against = "" if reference in ("none", "") else f" against {reference}"
    known = facts().get(stem(metric))
    arrow = ARROWS.get(known.direction) if known else None
    return f"{printed_name(metric)}{against}" + (f", {arrow}" if arrow else "")


def _marked(row: Row | None, value: str, marks: set[str], *, colour: bool) -> Entry:
    if row is None or not _measured(row, value):
        sign = "–" if row is not None and row.get("status") == "skipped" else "·"
        marks.add(sign)
        return (sign,) * 3
    texts = _entry(row, value)
    if row["ranked"] != "True":
        marks.add("†")
        return texts[0] + " †", texts[1] + " †", texts[2] + " †"
    if row.get("best") != "True":
        return texts
    marks.add("*")
    return cast(Entry, tuple(_bold(text, bold=True, colour=colour) for text in texts))


def _entry(row: Row, value: str) -> Entry:
    """A number with its interval in the three styles; two significant digits of the half-width."""
    middle, low, high = (_number(row.get(name, "")) for name in (value, "low", "high"))
    if middle is None:
        return (row.get(value, ""),) * 3
    if low is None or high is None or high <= low:
        return (f"{middle:.3g}",) * 3
    half = (high - low) / 2
    digits = max(0, 1 - floor(log10(half)))
    if digits > 8:  # of interest to nobody
        return f"{middle:.3g} [{low:.3g}, {high:.3g}]", f"{middle:.3g} ± {half:.1g}", f"{middle:.3g}"
    texts = [f"{round(number, digits) + 0.0:.{digits}f}" for number in (middle, low, high, half)]  # no -0.0
    return f"{texts[0]} [{texts[1]}, {texts[2]}]", f"{texts[0]} ± {texts[3]}", texts[0]


def _measured(row: Row, value: str) -> bool:
    return _number(row[value]) is not None


def _number(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return found if isfinite(found) else None
