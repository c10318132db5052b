"""Write README.md and the results pages from docs/templates/ and results/reference/: ``python docs/fill.py``.

A template is the page in Markdown with Jinja2 expressions in the place of numbers, for example
``{{ run("digits").cell("ddim", 5) }}`` for "34.8 [30.5, 39.2]". What was not measured reads "not measured"; a metric,
or a budget of a measured experiment, that has no row is an error.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from dpmot.results import FLOORS
from paper_figures._numbers import Number
from paper_figures._results import load

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES, REFERENCE = ROOT / "docs" / "templates", ROOT / "results" / "reference"
MISSING = "not measured"
NOTE = "<!-- Made by docs/fill.py from docs/templates/{}: edit that file. -->\n"
OTHER = ("student", "progressive", "knowledge", "consistency", "edm_labels", "edm_no_label")  # networks that know more


@dataclass(frozen=True)
class Run:
    """The pooled rows of a committed experiment; no rows where it is not committed.

    Attributes:
        name: folder in results/reference/.
        rows: one a method, budget, level, metric and reference: ``value low high ranked verdict``, as the tables say.
    """

    name: str
    rows: pd.DataFrame | None

    @property
    def fingerprint(self) -> str:
        """The fingerprints of its rows."""
        return MISSING if self.rows is None else ", ".join(f"`{one}`" for one in self.rows["fingerprint"].unique())

    def n(self, method: str, nfe: object, metric: str = "fd_classifier") -> str:
        """How many samples a row has."""
        return MISSING if self.rows is None else f"{int(self.row(method, nfe, metric)['num_samples']):,}"

    def row(self, method: str, nfe: object, metric: str = "fd_classifier", **which: Any) -> pd.Series:
        """The one row of a metric.

        Raises:
            LookupError: there is none, or more than one.
        """
        found = self.found(method, nfe, metric, **which)
        if len(found) != 1:
            told = ", ".join([f"method {method}, NFE {nfe}, {metric}", *(f"{key} {one}" for key, one in which.items())])
            raise LookupError(f"results/reference/{self.name}: {len(found)} rows of {told}; one is needed")
        return found.iloc[0]

    def found(
        self, method: str, nfe: object, metric: str, *, reference: str = "test", sigma: float | None = None
    ) -> pd.DataFrame:
        """The rows of a metric; ``sigma`` chooses where a method has several levels."""
        assert self.rows is not None
        rows = self.rows
        found = rows[(rows["method"] == method) & (rows["nfe_budget"] == str(nfe)) & (rows["metric"] == metric)]
        found = found[found["reference"] == reference]
        if sigma is not None:
            found = found[(found["sigma_start"] - sigma).abs() <= 1e-3 * sigma]
        return found

    def cell(
        self,
        method: str,
        nfe: object,
        metric: str = "fd_classifier",
        *,
        word: bool = False,
        absent: str | None = None,
        **which: Any,
    ) -> str:
        """Value, 95 % interval, and † (or the audit's ``word``) where it is unranked; ``absent`` where there is no row.

        Raises:
            LookupError: there is no row, and no ``absent`` to say so; or more than one.
        """
        if self.rows is None:
            return MISSING
        if absent is not None and self.found(method, nfe, metric, **which).empty:
            return absent
        row = self.row(method, nfe, metric, **which)
        mark = "" if row["ranked"] or method in FLOORS else f", {row['verdict']}" if word else " †"
        return number(row["value"], row["low"], row["high"]) + mark

    def value(self, method: str, nfe: object, metric: str = "fd_classifier", **which: Any) -> str:
        """The value alone, with the digits that its interval allows."""
        if self.rows is None:
            return MISSING
        row = self.row(method, nfe, metric, **which)
        if row["value"] in (0, 1):
            return f"{row['value']:.0f}"
        return number(row["value"], row["low"], row["high"]).partition(" [")[0]

    def floor(self, metric: str = "fd_classifier", **which: Any) -> str:
        """The value of real images of split A, as if they were samples."""
        return self.cell("real_train", 0, metric, **which)


def number(value: float, low: float, high: float) -> str:
    """``34.8 [30.5, 39.2]``, as the tables print it; the value alone where the interval has no width."""
    told = Number(value, low, high)
    return told.text if told.half > 0 else told.plain


@cache
def run(name: str) -> Run:
    """A committed experiment: metrics.csv and audit.csv, or, where only tables are kept, the rows of Table 1."""
    folder = REFERENCE / name
    if (folder / "metrics.csv").is_file():
        results = load(folder)
        rows = results.pooled()
        methods = rows["method"]
        return Run(name, rows.assign(label=methods.map(results.label), group=methods.map(results.group)))
    table = folder / "tables" / "table_1_quality.csv"
    if not table.is_file():
        return Run(name, None)
    rows = pd.read_csv(table, dtype={"nfe_budget": str, "audit": str}).fillna({"audit": ""})
    rows = rows[rows["status"] == "measured"].rename(columns={"measured": "value"})
    numbers = {column: pd.to_numeric(rows[column], errors="coerce") for column in ("value", "low", "high")}
    return Run(name, rows.assign(**numbers, verdict=rows["audit"].str.partition(":")[0]))


def best(nfe: int, *names: str) -> str:
    """The least FD of the ranked samplers from the prior, over experiments with one data set and n, and its name."""
    each = [_from_the_prior(run(name).rows, nfe) for name in names if run(name).rows is not None]
    found = pd.concat(each, ignore_index=True)
    if found.empty:
        return MISSING
    least = found.loc[found["value"].idxmin()]
    return f"{number(least['value'], least['low'], least['high'])}, {least['label']}"


def _from_the_prior(rows: pd.DataFrame, nfe: int) -> pd.DataFrame:
    kept = (rows["nfe_budget"] == str(nfe)) & (rows["metric"] == "fd_classifier") & (rows["reference"] == "test")
    kept &= (rows["group"] == "rivals") & (rows["start"] == "prior") & rows["ranked"].astype(bool)
    return rows[kept & ~rows["network"].isin(OTHER)]


def equivalent(name: str) -> str:
    """How many tests of the equivalence of DPM-OT and copying hold, of how many, and the largest p of these.

    Raises:
        LookupError: the experiment has no such tests.
    """
    tests = load(REFERENCE / name).identity
    if tests is None:
        raise LookupError(f"results/reference/{name}: no identity.csv")
    shown = tests[tests["equivalent"]]
    many = "all" if len(shown) == len(tests) else f"{len(shown)} of the"
    how = f"two one-sided tests, Holm-corrected; p at most {shown['p_value'].max():.2g}"
    return f"{many} {len(tests)} tests of Table 3 ({how})"


def pages() -> Iterator[tuple[Path, str]]:
    """Each page that has a template, and its text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    environment.globals.update(run=run, best=best, equivalent=equivalent)
    for template in sorted(TEMPLATES.rglob("*.md")):
        name = template.relative_to(TEMPLATES).as_posix()
        page = ROOT / name if name == "README.md" else ROOT / "docs" / name
        yield page, NOTE.format(name) + environment.get_template(name).render()


if __name__ == "__main__":
    for page, text in pages():
        page.write_text(text, encoding="utf-8")
        print(page.relative_to(ROOT), len(text.encode()))
