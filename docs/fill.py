"""Write README.md and the results pages from docs/templates/ and results/reference/: ``python docs/fill.py``.

A template is the page in Markdown with Jinja2 expressions in the place of numbers, for example
``{{ run("digits").cell("ddim", 5) }}`` for "34.8 [30.5, 39.2]". What was not measured reads "not measured"; a metric,
or a budget of a measured experiment, that has no row is an error.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import isnan
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from dpmot.results import FLOORS, read_json, records
from dpmot.runtime.packed import stored
from paper_figures._numbers import Number
from paper_figures._results import Results, load
from paper_figures._rewired import networks
from paper_figures._rewired_verdict import verdict

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


@cache
def _measured(name: str) -> Results | None:
    """A committed experiment with metrics.csv; None where there is none."""
    folder = REFERENCE / name
    return load(folder) if stored(folder / "metrics.csv").is_file() else None


def rewired(name: str) -> str:
    """The verdict on the rewired networks of a committed experiment, as Table 10 says it."""
    results = _measured(name)
    return f"{MISSING}." if results is None else " ".join(verdict(results))


def seconds(name: str, network: str) -> str:
    """What a network took: training, and the map from noise to images where its coupling needs one; – where loaded."""
    results = _measured(name)
    if results is None:
        return MISSING
    one = networks(results)[network]
    if isnan(one.train_s):
        return "–"
    own = f"{one.train_s:,.0f} s"
    return f"{own} + {one.map_s:,.0f} s" if one.coupling == "semidiscrete" else own


def number(value: float, low: float, high: float) -> str:
    """``34.8 [30.5, 39.2]``, as the tables print it; the value alone where the interval has no width."""
    told = Number(value, low, high)
    return told.text if told.half > 0 else told.plain


@cache
def run(name: str) -> Run:
    """A committed experiment: metrics.csv and audit.csv, or, where only tables are kept, the rows of Table 1."""
    folder = REFERENCE / name
    if stored(folder / "metrics.csv").is_file():
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


def selected(name: str) -> str:
    """sigma_M* that an experiment selected."""
    file = REFERENCE / name / "star.json"
    sigma = read_json(file, needs=("sigma",))["sigma"] if file.is_file() else MISSING
    return "none found" if sigma is None else sigma if isinstance(sigma, str) else f"{sigma:g}"


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


@dataclass(frozen=True)
class Laws:
    """The rows of results/reference/laws/recovery.csv, of `benchmarks.predict`; none where it is not committed."""

    rows: pd.DataFrame | None

    @classmethod
    def read(cls) -> "Laws":
        """From the committed file."""
        file = REFERENCE / "laws" / "recovery.csv"
        return cls(pd.read_csv(file) if file.is_file() else None)

    def of(self, dataset: str, images: int, law: str = "ode") -> list[dict[str, Any]]:
        """Rows by level, with ``predicted_cell``, ``measured_cell``, ``difference_cell``, ``population_cell`` printed.

        Raises:
            LookupError: the file is there and has no such row.
        """
        if self.rows is None:
            return []
        rows = self.rows[(self.rows["dataset"] == dataset) & (self.rows["num_images"] == images)]
        rows = rows[rows["law"] == law].sort_values("sigma", kind="stable")
        if rows.empty:
            raise LookupError(f"laws/recovery.csv: no row of {dataset}, {images} images, {law}")
        return [row | self._cells(row) for row in records(rows)]

    @property
    def cases(self) -> list[tuple[str, int]]:
        """Data set and N of each part of the file."""
        return [] if self.rows is None else sorted(set(zip(self.rows["dataset"], self.rows["num_images"], strict=True)))

    def star(self, dataset: str, images: int, law: str, *, tolerance: float = 0.01) -> str:
        """The smallest of its levels from which on the predicted recovery beyond chance is at most the tolerance."""
        found = "none of them"
        for row in reversed(self.of(dataset, images, law)):
            if row["predicted_high"] - row["chance"] > tolerance:
                break
            found = f"{row['sigma']:.3g}"
        return found if self.rows is not None else MISSING

    def largest(self, law: str) -> str:
        """The largest difference of measured and predicted recovery of a law."""
        if self.rows is None:
            return MISSING
        return f"{self.rows[self.rows['law'] == law]['difference'].abs().max():.3f}"

    def _cells(self, row: dict[str, Any]) -> dict[str, str]:
        ends = {"predicted": "predicted_", "measured": "", "difference": "difference_", "population": "population_"}
        return {f"{name}_cell": number(row[name], row[f"{end}low"], row[f"{end}high"]) for name, end in ends.items()}


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
    given = {"run": run, "best": best, "equivalent": equivalent, "rewired": rewired, "seconds": seconds}
    environment.globals.update(**given, selected=selected, laws=Laws.read())
    for template in sorted(TEMPLATES.rglob("*.md")):
        name = template.relative_to(TEMPLATES).as_posix()
        page = ROOT / name if name == "README.md" else ROOT / "docs" / name
        yield page, NOTE.format(name) + environment.get_template(name).render()


if __name__ == "__main__":
    for page, text in pages():
        page.write_text(text, encoding="utf-8")
        print(page.relative_to(ROOT), len(text.encode()))
