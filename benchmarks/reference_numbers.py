"""Numbers of docs/templates/ that are no cells of an experiment: from the other files of results/reference/.

Nothing that a template asks for may be missing or in doubt: no row, or several, is a LookupError.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from paper_figures._numbers import told

REFERENCE = Path(__file__).resolve().parent.parent / "results" / "reference"


@dataclass(frozen=True)
class Table:
    """A csv file below results/reference/.

    Attributes:
        name: its path there.
        rows: its entries as text.
    """

    name: str
    rows: pd.DataFrame

    def some(self, **where: object) -> pd.DataFrame:
        """The rows whose columns have these entries; numbers are compared as numbers."""
        found = self.rows
        for column, wanted in where.items():
            found = found[[_same(entry, wanted) for entry in found[column]]]
        return found

    def entry(self, column: str, **where: object) -> str:
        """The entry of the one row, as it stands.

        Raises:
            LookupError: there is none, or more than one.
        """
        found = self.some(**where)
        if len(found) != 1:
            raise LookupError(f"results/reference/{self.name}: {len(found)} rows of {_told(where)}; one is needed")
        return str(found.iloc[0][column])

    def number(self, column: str = "value", *, digits: int = 2, **where: object) -> str:
        """The entry with so many significant digits, also of ">= 41.1"."""
        sign, value = _bound(self.entry(column, **where))
        return f"{sign}{_rounded(value, digits)}"

    def last(self, column: str, *, digits: int = 2, **where: object) -> str:
        """The number in the last of the rows, of a fit that is followed.

        Raises:
            LookupError: there is no such row.
        """
        found = self.some(**where)
        if found.empty:
            raise LookupError(f"results/reference/{self.name}: no rows of {_told(where)}")
        return _rounded(float(found.iloc[-1][column]), digits)

    def cell(self, **where: object) -> str:
        """Value and interval."""
        return told(*(float(self.entry(column, **where) or "nan") for column in ("value", "low", "high")))

    def percent(self, **where: object) -> str:
        """The value as a share."""
        return f"{100 * float(self.entry('value', **where)):.0f} %"

    def sum(self, column: str, **where: object) -> float:
        """Of a column of numbers."""
        return float(pd.to_numeric(self.some(**where)[column]).sum())

    def times(
        self, cases: Iterable[str], column: str = "seconds", *, of: str = "ott", to: str = "ours", each: str = ""
    ) -> str:
        """How often one solver's column holds another's at chi2 .01, from the least to the most of some cases.

        ``each`` is a column that both are divided by first.
        """
        found = list(self._ratios(cases, column, of, to, each))
        least, most = min(found, key=lambda one: one[1]), max(found, key=lambda one: one[1])
        each_told = [f"{sign}{_rounded(value, 2)}" for sign, value in (least, most)]
        return " to ".join(dict.fromkeys(each_told))

    def _ratios(self, cases: Iterable[str], column: str, of: str, to: str, each: str) -> Iterator[tuple[str, float]]:
        for case in cases:
            one, other = (_bound(self.entry(column, case=case, solver=solver, target=0.01)) for solver in (of, to))
            by = [
                float(self.entry(each, case=case, solver=solver, target=0.01)) if each else 1.0 for solver in (of, to)
            ]
            yield one[0], (one[1] / by[0]) / (other[1] / by[1])


def table(name: str) -> Table:
    """A committed csv file, by its path below results/reference/."""
    return Table(name, pd.read_csv(REFERENCE / name, dtype=str, keep_default_na=False))


def output(name: str, pattern: str, *, nth: int = 0) -> str:
    """What the group of a pattern finds in a committed text, below results/reference/, the n-th time.

    Raises:
        LookupError: not so often.
    """
    found = re.findall(pattern, (REFERENCE / name).read_text(encoding="utf-8"))
    if len(found) <= nth:
        raise LookupError(f"results/reference/{name}: {pattern} is there {len(found)} times, number {nth} is asked for")
    return str(found[nth])


def searches(name: str, n: int) -> str:
    """The levels that the searches of a selection choose at n samples: the smallest that is ranked, and how often."""
    rows = table(name).some(n=n)
    ranked = rows[rows["verdict"] == "ranked"].assign(sigma=pd.to_numeric(rows["sigma"]))
    chosen = Counter(ranked.groupby("search")["sigma"].min())
    chosen[float("inf")] = rows["search"].nunique() - sum(chosen.values())
    each = [
        (f"{sigma:g}" if sigma < float("inf") else "none", count) for sigma, count in sorted(chosen.items()) if count
    ]
    return ", ".join(f"{sigma} ({count} of {rows['search'].nunique()})" for sigma, count in each)


def exponent(*entries: str) -> str:
    """Value and interval of a growth exponent, from their entries; – where nothing was fitted."""
    numbers = [float(one or "nan") for one in entries]
    return "–" if math.isnan(numbers[0]) else told(*numbers)


def unsolved(name: str) -> tuple[int, str]:
    """How many rows of an experiment rest on a map that missed its certificate, and what the audit says of it."""
    reasons = [reason for text in table(f"{name}/audit.csv").rows["reasons"] for reason in text.split("; ")]
    missed = [one.partition(": ")[2] for one in reasons if one.startswith("transport not converged: ")]
    return len(missed), ", ".join(dict.fromkeys(missed))


def _told(where: Mapping[str, object]) -> str:
    return ", ".join(f"{key} {one}" for key, one in where.items())


def _same(entry: str, wanted: object) -> bool:
    try:
        return float(entry) == float(str(wanted))
    except ValueError:
        return entry == str(wanted)


def _bound(entry: str) -> tuple[str, float]:
    """ ">= " or nothing, and the number."""
    sign, _, value = entry.rpartition(" ")
    return f"{sign} " if sign else "", float(value)


def _rounded(value: float, digits: int) -> str:
    text = f"{value:.{digits}g}"
    return f"{float(text):,.0f}" if "e" in text else text
