"""Write README.md and the results pages from docs/templates/ and results/reference/: ``python docs/fill.py``.

A template is the page in Markdown with Jinja2 expressions in the place of numbers, for example
``{{ run("digits").cell("ddim", 5) }}`` for "34.8 [30.5, 39.2]". What was not measured reads "not measured"; a metric,
or a budget of a measured experiment, that has no row is an error.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from math import isnan
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from benchmarks.laws_numbers import MISSING, ErrorTerms, Laws
from benchmarks.lottery_numbers import Lottery, Parts
from benchmarks.reference_numbers import exponent, output, searches, table, unsolved
from dpmot.results import FLOORS, read_json
from dpmot.runtime.packed import stored
from paper_figures._experiments import experiments
from paper_figures._numbers import told as number
from paper_figures._results import Results, load
from paper_figures._rewired import networks
from paper_figures._rewired_verdict import verdict

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES, REFERENCE = ROOT / "docs" / "templates", ROOT / "results" / "reference"
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

    @cached_property
    def _places(self) -> Mapping[Any, Any]:
        """(method, NFE budget, metric, reference) -> where its rows are."""
        assert self.rows is not None
        return self.rows.groupby(["method", "nfe_budget", "metric", "reference"]).indices

    @property
    def fingerprint(self) -> str:
        """The fingerprints of its rows."""
        return MISSING if self.rows is None else ", ".join(f"`{one}`" for one in self.rows["fingerprint"].unique())

    @property
    def seeds(self) -> str:
        """How many sample seeds its configuration has, with the word behind it."""
        if self.rows is None:
            return MISSING
        number = len(read_json(REFERENCE / self.name / "experiment.json", needs=("sample_seeds",))["sample_seeds"])
        return "one sample seed" if number == 1 else f"{number} sample seeds"

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
        found = self.rows.iloc[self._places.get((method, str(nfe), metric, reference), [])]
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
        marked: bool = True,
        absent: str | None = None,
        **which: Any,
    ) -> str:
        """Value, 95 % interval, and † (or the audit's ``word``) where it is unranked and to be ``marked``.

        ``absent`` is said where there is no row.

        Raises:
            LookupError: there is no row, and no ``absent`` to say so; or more than one.
        """
        if self.rows is None:
            return MISSING
        if absent is not None and self.found(method, nfe, metric, **which).empty:
            return absent
        row = self.row(method, nfe, metric, **which)
        mark = "" if not marked or row["ranked"] or method in FLOORS else f", {row['verdict']}" if word else " †"
        return number(row["value"], row["low"], row["high"]) + mark

    def value(
        self, method: str, nfe: object, metric: str = "fd_classifier", *, marked: bool = False, **which: Any
    ) -> str:
        """The value alone, with the digits that its interval allows, and † where it is unranked and ``marked``."""
        if self.rows is None:
            return MISSING
        row = self.row(method, nfe, metric, **which)
        mark = " †" if marked and not row["ranked"] else ""
        if row["value"] in (0, 1):
            return f"{row['value']:.0f}{mark}"
        return number(row["value"], row["low"], row["high"]).partition(" [")[0] + mark

    def floor(self, metric: str = "fd_classifier", **which: Any) -> str:
        """The value of real images of split A, as if they were samples."""
        return self.cell("real_train", 0, metric, **which)


@cache
def _measured(name: str) -> Results | None:
    """A committed experiment with metrics.csv; None where there is none."""
    folder = REFERENCE / name
    return load(folder) if stored(folder / "metrics.csv").is_file() else None


def rewired(name: str) -> str:
    """The verdict on the rewired networks of a committed experiment, as Table 10 says it, sentence by sentence."""
    results = _measured(name)
    return f"{MISSING}." if results is None else "\n".join(f"- {sentence}" for sentence in verdict(results))


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


def chi2(name: str, network: str) -> str:
    """That of the map by which a network was trained, as certified."""
    results = _measured(name)
    return MISSING if results is None else f"{networks(results)[network].chi2:.2g}"


@cache
def run(name: str) -> Run:
    """A committed experiment: metrics.csv and audit.csv, or, where only tables are kept, the rows of Table 1."""
    folder = REFERENCE / name
    if (results := _measured(name)) is not None:
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
    return f"{number(least['value'], least['low'], least['high'])} ({least['label']})"


def _from_the_prior(rows: pd.DataFrame, nfe: int) -> pd.DataFrame:
    kept = (rows["nfe_budget"] == str(nfe)) & (rows["metric"] == "fd_classifier") & (rows["reference"] == "test")
    kept &= (rows["group"] == "rivals") & (rows["start"] == "prior") & rows["ranked"].astype(bool)
    return rows[kept & ~rows["network"].isin(OTHER)]


def selected(name: str) -> str:
    """sigma_M* that an experiment selected."""
    file = REFERENCE / name / "star.json"
    sigma = read_json(file, needs=("sigma",))["sigma"] if file.is_file() else MISSING
    return "none found" if sigma is None else sigma if isinstance(sigma, str) else f"{sigma:g}"


def recovered(name: str) -> str:
    """Source recovery at the selected sigma_M*, of the samples that the search drew."""
    file = REFERENCE / name / "star.json"
    if not file.is_file():
        return MISSING
    star = read_json(file, needs=("sigma", "rows"))
    return next(number(*row["recovery"]) for row in star["rows"] if row["sigma"] == star["sigma"])


def ranked_at(name: str, sigma: float) -> str:
    """How many rows of an experiment's methods that start at a level are ranked, of how many; sweeps do not count."""
    rows = run(name).rows
    if rows is None:
        return MISSING
    rows = rows[(rows["metric"] == "fd_classifier") & (rows["reference"] == "test") & (rows["group"] != "sweep")]
    rows = rows[(rows["sigma_start"] - sigma).abs() <= 1e-3 * sigma]
    return f"{int(rows['ranked'].astype(bool).sum())} of {len(rows)}"


def behind(name: str, method: str, nfe: int, metric: str = "fd_classifier") -> str:
    """How far a method is behind the best of the others against test, with its interval, as Table 5 says it.

    Raises:
        LookupError: the table has no such row.
    """
    rows = _differences(name, nfe, metric)
    if rows is None:
        return MISSING
    rows = rows[rows["method"] == method]
    if len(rows) != 1:
        raise LookupError(f"{name}, Table 5: {len(rows)} rows of {method}, NFE {nfe}, {metric}; one is needed")
    return number(*rows.iloc[0][["behind", "low", "high"]])


@dataclass(frozen=True)
class Nearest:
    """The method of a group that is the least behind the best of the others, by name; whether it may be the best."""

    label: str
    behind: str
    may_be_best: bool


def nearest(name: str, nfe: int, group: str = "rivals") -> Nearest:
    """The one of a group at a budget, in FD against test, as Table 5 says it; of rivals, a sampler from the prior.

    Raises:
        LookupError: the table has none.
    """
    rows, known = _differences(name, nfe, "fd_classifier"), run(name).rows
    if rows is None or known is None:
        return Nearest(MISSING, MISSING, may_be_best=True)
    known = _from_the_prior(known, nfe) if group == "rivals" else known[known["group"] == group]
    labels = dict(zip(known["method"], known["label"], strict=True))
    rows = rows[rows["method"].isin(labels)]
    if rows.empty:
        raise LookupError(f"{name}, Table 5: no rows of {group}, NFE {nfe}")
    row = rows.loc[rows["behind"].idxmin()]
    return Nearest(labels[row["method"]], number(*row[["behind", "low", "high"]]), bool(row["may_be_best"]))


def _differences(name: str, nfe: int, metric: str) -> pd.DataFrame | None:
    """The rows of an experiment's Table 5 in a metric against test at a budget; None where it is not committed."""
    file = REFERENCE / name / "tables" / "table_5_differences.csv"
    if not file.is_file():
        return None
    rows = pd.read_csv(file, dtype={"nfe_budget": str})
    return rows[(rows["nfe_budget"] == str(nfe)) & (rows["metric"] == metric) & (rows["reference"] == "test")]


def lower_ends(name: str, network: str, nfe: int = 0) -> tuple[float, float]:
    """The least and the most of the lower ends of what samplers from the prior copy, on a network from a budget on.

    Raises:
        LookupError: there are no such rows.
    """
    if (rows := run(name).rows) is None:
        raise LookupError(f"results/reference/{name}: not measured")
    rows = rows[(rows["metric"] == "copies_pixels") & (rows["reference"] == "train") & (rows["group"] == "rivals")]
    rows = rows[(rows["start"] == "prior") & (rows["network"] == network)]
    ends = rows.loc[pd.to_numeric(rows["nfe_budget"]) >= nfe, "low"]
    if ends.empty:
        raise LookupError(f"results/reference/{name}: no copies of network {network} from NFE {nfe} on")
    return float(ends.min()), float(ends.max())


def equivalent(name: str) -> str:
    """How many tests of the equivalence of DPM-OT and copying hold, of how many, and the largest p of these.

    Raises:
        LookupError: the experiment has no such tests.
    """
    results = _measured(name)
    tests = results and results.identity
    if tests is None:
        raise LookupError(f"results/reference/{name}: no identity.csv")
    shown = tests[tests["equivalent"]]
    many = "all" if len(shown) == len(tests) else f"{len(shown)} of the"
    how = f"two one-sided tests, Holm-corrected; p at most {shown['p_value'].max():.2g}"
    return f"{many} {len(tests)} tests of Table 3 ({how})"


def environment() -> jinja2.Environment:
    """The templates."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )


def pages() -> Iterator[tuple[Path, str]]:
    """Each page that has a template, and its text."""
    templates = environment()
    used = (run, best, equivalent, rewired, seconds, chi2, recovered, behind, nearest, selected, ranked_at)
    used += (lower_ends, table, output, searches, unsolved, exponent)
    templates.globals.update({one.__name__: one for one in used}, experiments=experiments(ROOT))
    templates.globals.update(laws=Laws.read(), errors=ErrorTerms.read(), lottery=Lottery.read(), parts=Parts.read())
    for template in sorted(TEMPLATES.rglob("*.md")):
        name = template.relative_to(TEMPLATES).as_posix()
        page = ROOT / name if name == "README.md" else ROOT / "docs" / name
        yield page, NOTE.format(name) + templates.get_template(name).render()


if __name__ == "__main__":
    for page, text in pages():
        page.write_text(text, encoding="utf-8")
        print(page.relative_to(ROOT), len(text.encode()))
