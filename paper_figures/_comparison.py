"""Cells compared at equal n: what a table prints, what is best, what is marked.

A missing number prints "not run", a skipped one "–" with its reason. Rows that are copies, not audited, not converged,
noise or collapsed are printed, marked † and never best. Frechet distances depend on n (bias ~ 1/n), so a cell whose n
differs from the table's is marked ‡ and never best either. Bold are the methods that may be the best of their column
(:mod:`paper_figures._paired`).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby, product
from math import isnan, nan
from typing import Any

import numpy as np
import pandas as pd

from dpmot.experiment.plan import PROTOCOLS, Experiment
from dpmot.results import (
    AUTHENTICITY,
    CT,
    FLOORS,
    FRESH,
    OTHER,
    RECOVERY,
    by_key,
    fact,
    printed_name,
    records,
    stem,
)
from paper_figures._paired import ALPHA, against_best
from paper_figures._results import GROUPS, NEAR, OUTSIDE, REAL, UNRANKED, Results, Row, fingerprints, published
from paper_figures._tables import Cell, Document, Panel, not_run

OF_STORED = (RECOVERY, AUTHENTICITY, CT, "distinct_neighbours_pixels")  # of the images that a method stores
LIKELIHOOD = "fld"
BEYOND = "better than real images"
NO_BOUND = ("recall", "coverage", "exact_duplicates", "near_duplicates")  # grow with n, or count copies
OF_LAW = ("fd", "kd", "fld")  # whose intervals hold what other references would say too
NO_SOURCE = "this start has no source image"
COLUMNS = [
    "dataset", "method", "label", "group", "network", "start", "sampler", "nfe_budget", "nfe_counted",
    "sigma_start", "sigma_atoms", "num_samples", "features", "metric", "reference", "value", "low", "high",
    "status", "ranked", "verdict", "audit", "best", "reason", "fingerprint",
]  # fmt: skip
PUBLISHED = [
    "method", "sampler", "network", "nfe", "metric", "value", "num_samples", "conditional", "grade", "source", "note",
]  # fmt: skip


def main_methods(results: Results) -> list[str]:
    """Methods that have a row in the main tables: those run at an NFE budget, or planned and not yet run."""
    at = results.metrics.groupby("method")["nfe_budget"].agg(set)
    inside = [method for method in results.methods if results.group(method) not in OUTSIDE]
    return [method for method in inside if method not in at or at[method] & set(results.budgets)]


def long_form(
    results: Results, wanted: Iterable[tuple[str, str]], *, also: Iterable[tuple[str, str]] = ()
) -> pd.DataFrame:
    """One row per (cell, metric, reference), for every pooled cell outside the identity test, with COLUMNS.

    A ``wanted`` (metric, reference) that metrics.csv lacks becomes a row "not run" or "skipped"; ``also`` are taken
    where they exist. ``best`` marks the ranked methods that may be the best of their (metric, reference, NFE budget).
    """
    wanted = list(dict.fromkeys(wanted))
    place = {pair: index for index, pair in enumerate(dict.fromkeys([*wanted, *also]))}
    order = {method: index for index, method in enumerate([*results.methods, *FLOORS])}
    rows = results.pooled()
    listed = [pair in place for pair in zip(rows["metric"], rows["reference"], strict=True)]
    rows = rows[np.array(listed, bool) & ~results.of_groups(rows, ("identity",))].copy()
    why_empty = np.where(rows["reason"] == "", "not run", "skipped")
    rows["status"] = np.where(rows["value"].isna(), why_empty, "measured")
    table = pd.DataFrame([*records(rows), *_absent(results, rows, wanted)], columns=rows.columns)
    table["label"] = table["method"].map(results.label)
    table["group"] = ["floor" if method in FLOORS else results.group(method) for method in table["method"]]
    table["_order"] = table["method"].map(order)
    table["_nfe"] = pd.to_numeric(table["nfe_budget"], errors="coerce")  # "full" comes last
    table["_pair"] = [place[pair] for pair in zip(table["metric"], table["reference"], strict=True)]
    table = table.sort_values(["_order", "_nfe", "sigma_start", "_pair"], kind="stable", ignore_index=True)
    _beyond_real(table)
    table["best"] = _may_be_best(table, results)
    return table[COLUMNS]


def _beyond_real(table: pd.DataFrame) -> None:
    """Unrank values better than real images', beyond both intervals: what is wrong there pleases the metric."""
    real = by_key(table[table["group"] == "floor"], "method", "metric", "reference")
    for index, row in zip(table.index, records(table), strict=True):
        floor = real.get((REAL[row["reference"]], row["metric"], row["reference"]))
        known = fact(row["metric"])
        if floor is None or stem(row["metric"]) in NO_BOUND or not (row["ranked"] and known.quality):
            continue
        better = {"lower": row["high"] < floor["low"], "higher": row["low"] > floor["high"]}
        if better.get(known.direction):
            told = f"{BEYOND} {interval(floor)}"
            table.loc[index, ["ranked", "verdict", "audit"]] = False, BEYOND, told


def _absent(results: Results, rows: pd.DataFrame, wanted: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """Rows for the (method, budget, metric) that the table has a place for and metrics.csv does not hold."""
    present, skipped = set(by_key(rows, "method", "nfe_budget", "metric", "reference")), results.skipped()
    pooled = results.pooled()
    audited = by_key(pooled[pooled["metric"] == AUTHENTICITY], "method", "nfe_budget")
    blank = dict.fromkeys(rows.columns, "") | dict.fromkeys(("value", "low", "high", "sigma_start", "sigma_atoms"), nan)
    blank |= {"dataset": results.experiment.dataset, "ranked": False}
    absent = []
    for method, nfe, (metric, reference) in product(main_methods(results), results.budgets, wanted):
        audit = audited.get((method, nfe))
        stored = audit and audit["reference"]  # the split that the atoms came from, which need not be A
        moved = stored == reference if stem(metric) == LIKELIHOOD else metric in OF_STORED and stored != reference
        if (stored and moved) or (method, nfe, metric, reference) in present:
            continue
        reason = skipped.get((method, nfe)) or (NO_SOURCE if stored and metric == RECOVERY else "")
        cell = {"method": method, "nfe_budget": nfe, "metric": metric, "reference": reference, "reason": reason}
        cell |= {name: results.attribute(method, name) for name in ("network", "start", "sampler")}
        absent.append(blank | cell | {"status": "skipped" if reason else "not run"})
    return absent


def table_n(table: pd.DataFrame, results: Results) -> str:
    """The number of samples most cells at a budget have, as text; "" where nothing is measured."""
    main = table[table["nfe_budget"].isin(results.budgets) & (table["status"] == "measured")]
    return str(main["num_samples"].mode().iloc[0]) if len(main) else ""


def ranked_cells(table: pd.DataFrame, results: Results) -> pd.DataFrame:
    """Rows that compete: measured and ranked, of a main method at a budget, with the table's n."""
    return table[
        (table["status"] == "measured")
        & table["ranked"].astype(bool)
        & table["method"].isin(main_methods(results))
        & table["nfe_budget"].isin(results.budgets)
        & (table["num_samples"] == table_n(table, results))
    ]


def _may_be_best(table: pd.DataFrame, results: Results) -> list[bool]:
    eligible = ranked_cells(table, results)
    best: set[object] = set()
    for _, panel in eligible[eligible["metric"].map(_has_best).astype(bool)].groupby(["metric", "reference"]):
        compared = against_best(panel, results)
        best |= set(compared.index[compared["may_be_best"]])
    return [index in best for index in table.index]


def _has_best(metric: str) -> bool:
    return fact(metric).quality and fact(metric).direction != "none"


def number(value: float, metric: str, *, like: float | None = None) -> str:
    """A value with the metric's decimals, else two, or four where two would leave nothing of it (or of ``like``)."""
    digits = fact(metric).digits
    if digits is None:
        digits = 2 if abs(value if like is None else like) >= 0.1 else 4
    return f"{value:.{digits}f}" if abs(value) < 1e5 else f"{value:.2e}"


def interval(row: Row, of: str = "value") -> str:
    """``value [low, high]``; ``value [n/a]`` where a bound is missing."""
    value, metric, bounds = row[of], row["metric"], (row["low"], row["high"])
    text = "n/a" if any(map(isnan, bounds)) else ", ".join(number(bound, metric, like=value) for bound in bounds)
    return f"{number(value, metric)} [{text}]"


def fresh(results: Results, stem: str, family: str) -> tuple[str, ...]:
    """What real images get that no method stores, in a metric against test; nothing where it was not measured."""
    rows, metric = results.pooled(), f"{stem}_{family}"
    rows = rows[(rows["metric"] == f"{FRESH}{metric}") & (rows["reference"] == "test") & rows["value"].notna()]
    notes = []
    for row in records(rows):
        found = number(row["value"], metric) if row["low"] == row["high"] else interval({**row, "metric": metric})
        but = f" ({row['reason']})" if isinstance(row["reason"], str) and row["reason"] else ""
        images = f"{row['num_samples']} fresh real images of split B, which nothing stores,"
        notes.append(f"{images} have {printed_name(metric)} {found} against test{but}.")
    return tuple(notes)


def plain(row: Row | None, *, absent: str = "not run") -> str:
    """A value without its interval."""
    if row is None:
        return absent
    return {"not run": "not run", "skipped": "–"}.get(row["status"]) or number(row["value"], row["metric"])


def by_method(
    results: Results,
    title: str,
    entry: Callable[[str, str], Cell],
    notes: tuple[str, ...] = (),
    *,
    methods: Iterable[str] | None = None,
) -> Panel:
    """Methods down, by default those of the main tables, NFE budgets across: ``entry`` makes the cell of each pair."""

    def row(method: str) -> tuple[Cell, ...]:
        head = Cell(results.label(method)), Cell(results.attribute(method, "network") or "–")
        return (*head, *(entry(method, nfe) for nfe in results.budgets))

    header = ("method", "network", *(f"NFE {nfe}" for nfe in results.budgets))
    return Panel(title, header, grouped(results, row, methods), notes)


def grouped(
    results: Results, row: Callable[[str], tuple[Cell, ...]], methods: Iterable[str] | None = None
) -> tuple[str | tuple[Cell, ...], ...]:
    """The row of each method, default of the main tables, each run of one group under its heading."""
    lines: list[str | tuple[Cell, ...]] = []
    for group, members in groupby(main_methods(results) if methods is None else methods, key=results.group):
        lines += [GROUPS.get(group, "Other methods"), *map(row, members)]
    return tuple(lines)


def coupling_panel(
    title: str, coupling: pd.DataFrame, column: str, headings: Mapping[Any, str], names: Mapping[str, str]
) -> Panel:
    """Rows of coupling.csv: ``names`` of methods down, ``headings`` of the entries of ``column`` across."""
    rows = by_key(coupling, "method", column)

    def entry(row: Row | None) -> Cell:
        return Cell("–" if row is None else f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]")

    body = tuple((Cell(name), *(entry(rows.get((m, key))) for key in headings)) for m, name in names.items())
    return Panel(title, ("method", *headings.values()), body)


@dataclass(frozen=True)
class Comparison:
    """A long form as it is printed.

    Attributes:
        table: of :func:`long_form`.
        results: what it was made from.
        footnotes: reason of a skipped cell -> its mark, numbered as the cells are printed.
    """

    table: pd.DataFrame
    results: Results
    footnotes: dict[str, str] = field(default_factory=dict)

    @cached_property
    def rows(self) -> dict[tuple[Any, ...], dict[str, Any]]:
        """(method, NFE budget, metric, reference) -> row."""
        return by_key(self.table, "method", "nfe_budget", "metric", "reference")

    def stored(self, method: str, nfe: str, audit: str) -> str:
        """The split whose images a method stores, which its ``audit`` has as reference."""
        return "test" if (method, nfe, audit, "test") in self.rows else "train"

    def cell(self, row: Row | None, *, n: str = "", absent: str = "not run") -> Cell:
        """One entry with its interval; ‡ where it has not ``n`` samples."""
        if row is None or row["status"] == "not run":
            return Cell(absent if row is None else "not run")
        if row["status"] == "skipped":
            return Cell("–", marks=(self.footnotes.setdefault(row["reason"], f"({len(self.footnotes) + 1})"),))
        audited = row["method"] not in FLOORS
        unranked = "¶" if row["verdict"] == BEYOND else "†"
        marks = (unranked,) * (audited and not row["ranked"]) + ("‡",) * bool(n and row["num_samples"] != n)
        return Cell(interval(row), bold=bool(row["best"]), marks=marks)

    def panel(
        self,
        title: str,
        metric: str,
        reference: str = "test",
        notes: tuple[str, ...] = (),
        *,
        absent: str = "not run",
    ) -> Panel:
        """One metric: methods down, NFE budgets across, each entry with its interval, ``absent`` where there is none.

        FLD of a method that stores images of the reference is against the other split: it asks for images held out.
        """
        if not (self.table.loc[self.table["metric"] == metric, "status"] != "not run").any():
            return not_run(title, f"metrics.csv holds no {printed_name(metric)}.")
        n = table_n(self.table, self.results)

        def entry(method: str, nfe: str) -> Cell:
            row = self.rows.get((method, nfe, metric, reference))
            if row is None and stem(metric) == LIKELIHOOD:
                row = self.rows.get((method, nfe, metric, OTHER[reference]))
            return self.cell(row, n=n, absent=absent)

        return by_method(self.results, title, entry, notes)

    def joined(self, title: str, metrics: Iterable[str], note: str, *, audit: str = "") -> Panel:
        """Several metrics a cell, without intervals: against A, or what the method stores by its ``audit``."""
        metrics = tuple(metrics)

        def entry(method: str, nfe: str) -> Cell:
            reference = self.stored(method, nfe, audit) if audit else "train"
            cell = method, nfe
            rows = [self.rows.get((*cell, one, reference), self.rows.get((*cell, one, "none"))) for one in metrics]
            texts = [plain(row, absent="–") for row in rows]
            measured = [row for row in rows if row is not None and row["status"] == "measured"]
            text = texts[0] if len(set(texts)) == 1 else " / ".join(texts)
            unranked = any(not row["ranked"] and row["verdict"] != BEYOND for row in measured)
            return Cell(text, marks=("†",) * unranked)

        return by_method(self.results, title, entry, (note,))

    @property
    def beyond_budgets(self) -> list[tuple[str, str]]:
        """(method, NFE) of rows that compete with none: 0 NFE, full chains, the floors (listed even if absent)."""
        other = self.table[~self.table["nfe_budget"].isin(self.results.budgets) & (self.table["group"] != "sweep")]
        listed = dict.fromkeys(zip(other["method"], other["nfe_budget"], strict=True))
        return [*listed, *((method, "0") for method in FLOORS if method not in set(other["method"]))]

    def document(
        self,
        title: str,
        references: str,
        panels: Iterable[Panel],
        *,
        remarks: tuple[str, ...] = (),
        latex_panels: tuple[Panel, ...] = (),
    ) -> Document:
        """The table with its caption, what its marks mean, further ``remarks``, and why cells are unranked."""
        panels = tuple(panels)  # made first: they number the footnotes
        said, told = caption(self.table, self.results, references=references), (*self._notes(), *remarks)
        return Document(title, said, panels, told, self._audit_details(), latex_panels)

    @property
    def _main(self) -> pd.DataFrame:
        main = self.table["method"].isin(main_methods(self.results))
        return self.table[main & (self.table["status"] == "measured")]

    def _notes(self) -> tuple[str, ...]:
        """What the marks mean, as far as they occur."""
        main = self._main[self._main["nfe_budget"].isin(self.results.budgets)]
        lines = [self._bold_note(), *verdict_notes(main, self.results)]
        if (main["num_samples"] != table_n(self.table, self.results)).any():
            lines.append("‡ another n than the table's; distances at unequal n do not compare; never bold.")
        if (main["verdict"] == BEYOND).any():
            lines.append(
                "¶ better than real images of another split, beyond both intervals; never bold: no sample is more real "
                "than they are, so what such a value measures is something else, as collapse, copies or noise."
            )
        lines += [f"{mark} skipped: {reason}" for reason, mark in self.footnotes.items()]
        if not self.results.each.repeated and main["metric"].map(stem).isin(OF_LAW).any():
            lines.append(
                "Intervals of FD, KD and FLD hold what other references of this size would say too. All rows of a "
                "column share that part, so overlap does not tell whether one method is better than another: bold does."
            )
        lines += self._trainings(main)
        cells = main[["method", "nfe_counted", "nfe_budget"]].drop_duplicates(["method", "nfe_budget"])
        for remark, of in main[main["reason"] != ""].groupby("reason", sort=False):
            of = of.drop_duplicates(["method", "nfe_budget"])
            lines.append(f"Mind: {remark}{'' if len(of) == len(cells) else f' ({self._named(of)})'}.")
        off = cells[(cells["nfe_counted"] != "") & (cells["nfe_counted"] != cells["nfe_budget"])]
        counts = (off["nfe_counted"] + " at " + off["nfe_budget"]).groupby(off["method"], sort=False).agg(", ".join)
        told = "; ".join(f"{self.results.title(str(method))} {count}" for method, count in counts.items())
        return tuple(lines + ([f"Counted NFE other than the budget: {told}."] if told else []))

    def _trainings(self, main: pd.DataFrame) -> list[str]:
        """What intervals over training seeds hold, and which rows have none and what that does to bold."""
        repeated = self.results.each.repeated
        once = [name for name in dict.fromkeys(main["method"]) if name not in repeated]
        lines = [
            "Intervals over training seeds hold training and sampling: each network draws with noise of its own. They "
            "do not hold what other references, atoms or heights would say, which all networks share. A row is ranked "
            "where it is at each training seed."
        ]
        if once:
            titles = ", ".join(map(self.results.title, once))
            lines.append(
                f"One network each, so their intervals are over samples: {titles}. Where a column has both kinds, bold "
                "is overlap of intervals, which is no test."
            )
        return lines if repeated else []

    def _named(self, cells: pd.DataFrame) -> str:
        """Cells as "method at NFE 5, 10; ..."."""
        budgets = cells.groupby("method", sort=False)["nfe_budget"].agg(", ".join)
        return "; ".join(f"{self.results.title(str(method))} at NFE {of}" for method, of in budgets.items())

    def _bold_note(self) -> str:
        """What bold means."""
        ranked = ranked_cells(self.table, self.results)
        known = {key[1:] for key in self.results.replicates}
        compared = dict.fromkeys(zip(ranked["metric"], ranked["reference"], strict=True))
        pairs = [pair for pair in compared if _has_best(pair[0])]
        untested = [printed_name(pair[0]) for pair in pairs if pair not in known]
        told = (
            "Bold: ranked methods that may be the best of their column, as no other is shown to be better (multiple "
            f"comparisons with the best, paired by {self.results.units}; the chance that a panel loses one is at most "
            f"{ALPHA:g})."
        )
        names, which = ", ".join(dict.fromkeys(untested)), "ranked values whose interval overlaps the best one's"
        if untested and len(untested) == len(pairs):
            return f"Bold: {which}. This is no test: there are no replicates, which would allow one."
        return f"{told} Bold of {names}: {which}, which is no test." if untested else told

    def _audit_details(self) -> tuple[str, ...]:
        """Why each cell is unranked, or smooth; one entry a method, and equal reasons of several budgets once."""
        details = []
        told = self._main[(self._main["audit"] != "") & (self._main["verdict"] != BEYOND)]
        told = told.drop_duplicates(["method", "nfe_budget"])
        for (method, ranked), cells in told.groupby(["method", "ranked"], sort=False):
            budgets = cells.groupby("audit", sort=False)["nfe_budget"].agg(", ".join)
            reasons = (f"NFE {nfe}: {reason}" for reason, nfe in budgets.items())
            details.append("\n  - ".join([f"{'' if ranked else '† '}{self.results.title(str(method))}", *reasons]))
        return tuple(details)


WORDS = {
    "noise": "precision is certainly under a tenth of real images', in all features, so no other number means anything",
    "copies": "the share of copies, or of stored images that come back, is certainly above the audit's tolerance",
    "collapsed": "distinct samples, or recall in all features, are certainly under a tenth of real images'",
    "not converged": "the transport behind it did not converge",
    "not audited": "not measured, or too uncertain to say",
}
SMOOTH = (
    "Smooth (Details) is a remark on ranked rows: their density is above real images', or they lie nearer to the "
    f"images of both splits than {NEAR:g} of real images' distance, as blurred images do; no copies were found."
)


def verdict_notes(rows: pd.DataFrame, results: Results) -> list[str]:
    """What † means, by the words of ``verdict`` that occur among rows."""
    there = [f"{word}: {WORDS[word]}" for word in UNRANKED if (rows["verdict"] == word).any()]
    lines = [f"† unranked, never bold (Details){': ' if there else ''}{'; '.join(there)}."]
    if results.audit is None:
        lines.append("No audit.csv: no row was audited, so none is ranked.")
    return lines + [SMOOTH] * bool((rows["verdict"] == "smooth").any())


def caption(table: pd.DataFrame, results: Results, *, references: str) -> str:
    """n, seeds, references, intervals and fingerprint: a result counts only as measured."""
    n = table_n(table, results)
    measured = table[table["status"] == "measured"]
    features = ", ".join(text for text in dict.fromkeys(measured["features"]) if text)
    starts = results.stored
    if results.experiment.protocol:
        references += f"; protocol {_protocol(results.experiment)}; train is split A ({starts or 'unknown'} images)"
    if starts and n and int(n) > starts:
        references += f"; starts that store images have at most {starts} distinct images"
    return (
        f"{results.source}; {f'n = {n} samples a cell' if n else 'no cell measured'}, "
        f"{results.pooled_over}; 95 % intervals in brackets; features: {features or 'none'}; {references}; "
        f"fingerprint: {fingerprints(measured['fingerprint'], 3, where=' (CSV)')}"
    )


def _protocol(experiment: Experiment) -> str:
    """Its name, and what of it the configuration altered."""
    name, written = str(experiment.protocol), experiment.written()
    altered = [f"{key} {written[key]}" for key, value in PROTOCOLS[name].items() if written[key] != value]
    return f"{name}, altered: {', '.join(altered)}" if altered else name


def _published(results: Results, *, mixture: bool) -> pd.DataFrame:
    """Rows of reported.csv for this data set: mode-mixture ratios, or everything else."""
    rows = published(results.experiment.dataset)
    return rows[rows["metric"].str.lower().str.startswith("mmr") == mixture]


def reported_panel(results: Results, *, mixture: bool = False) -> Panel:
    """Published numbers in a panel of their own, never in a measured column."""
    title, rows = "Reported (not measured here)", _published(results, mixture=mixture)
    if rows.empty:
        return Panel(title, (), (), (f"No published numbers for this data set ({results.experiment.dataset}).",))
    header = tuple({"value": "reported", "num_samples": "n", "nfe": "NFE"}.get(name, name) for name in PUBLISHED)
    empty = {"value": "not transcribed", "note": "–"}
    body = tuple(tuple(Cell(row[name] or empty.get(name, "not stated")) for name in PUBLISHED) for row in records(rows))
    return Panel(title, header, body)


def csv(table: pd.DataFrame, results: Results, *, mixture: bool = False) -> bytes:
    """Long form and published numbers, in columns of their own; a missing number is said in words."""
    out = table.rename(columns={"value": "measured"}).astype({"measured": object, "low": object, "high": object})
    out["measured"] = out["measured"].where(out["status"] == "measured", out["status"])
    out[["low", "high"]] = out[["low", "high"]].fillna("n/a")
    out["reported"], out["source"], out["grade"] = "no", "", ""
    reported = _published(results, mixture=mixture)
    extra = reported.rename(columns={"nfe": "nfe_budget"}).assign(
        label=reported["method"], group="reported", measured="not run", low="n/a", high="n/a", status="reported",
        reported=reported["value"].replace("", "not transcribed"),
    )  # fmt: skip
    whole = pd.concat([out, extra.reindex(columns=out.columns)], ignore_index=True)
    return whole.to_csv(index=False, lineterminator="\n").encode()
