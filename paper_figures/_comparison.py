"""Cells compared at equal n: what a table prints, what is best, what is marked.

A missing number prints "not run", a skipped one "–" with its reason. Rows outside the held-out intervals of
the copying audit are printed, marked † and never best. Frechet distances depend on n (bias ~ 1/n), so a cell
whose n differs from the table's is marked ‡ and never best either.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from math import isnan, nan
from typing import Any

import pandas as pd

from dpmot.experiment.plan import PROTOCOLS, Experiment
from dpmot.results import FLOORS, by_key, fact, records
from paper_figures._results import GROUPS, OUTSIDE, Results, fingerprints, published
from paper_figures._tables import Cell, Document, Panel, not_run

Row = Mapping[str, Any]  # one row of a long form
RECOVERY, AUTHENTICITY, LIKELIHOOD = "recovery_pixels", "authenticity_pixels", "fld_"
OTHER = {"train": "test", "test": "train"}
AUDITED = (RECOVERY, AUTHENTICITY, "ct_pixels", "distinct_neighbours_pixels")
NO_SOURCE = "this start has no source image"
COLUMNS = [
    "dataset", "method", "label", "group", "network", "start", "sampler", "nfe_budget", "nfe_counted",
    "sigma_start", "sigma_atoms", "num_samples", "features", "metric", "reference", "value", "low", "high",
    "status", "ranked", "audit", "best", "reason", "fingerprint",
]  # fmt: skip


def main_methods(results: Results) -> list[str]:
    """Methods that have a row in the main tables: those run at an NFE budget, or planned and not yet run."""
    at = results.metrics.groupby("method")["nfe_budget"].agg(set)
    inside = [method for method in results.methods if results.group(method) not in OUTSIDE]
    return [method for method in inside if method not in at or at[method] & set(results.budgets)]


def long_form(
    results: Results, wanted: Iterable[tuple[str, str]], *, also: Iterable[tuple[str, str]] = ()
) -> pd.DataFrame:
    """One row per (cell, metric, reference), for every pooled cell outside the identity test.

    Args:
        results: what was read.
        wanted: (metric, reference) pairs; one that metrics.csv lacks becomes a row "not run" or "skipped".
        also: further pairs, taken where they exist.

    Returns:
        COLUMNS; ``status`` is measured, skipped or not run; ``best`` marks the best ranked value of its
        (metric, reference, NFE budget) and those whose 95 % interval overlaps the best one's.

    Raises:
        ValueError: a method outside the sweep has several sigma_start at one budget.
    """
    wanted = list(dict.fromkeys(wanted))
    listed = list(dict.fromkeys([*wanted, *also]))
    rows = results.pooled().assign(status="measured")
    keys = zip(rows["metric"], rows["reference"], rows["method"], strict=True)
    keep = [(metric, reference) in listed and results.group(method) != "identity" for metric, reference, method in keys]
    rows = rows[pd.Series(keep, index=rows.index, dtype=bool)].copy()
    empty = rows["value"].isna()
    rows.loc[empty, "status"] = rows.loc[empty, "reason"].map(lambda reason: "skipped" if reason else "not run")
    table = pd.DataFrame([*records(rows), *_absent(results, rows, wanted)], columns=rows.columns)
    table["label"] = table["method"].map(results.label)
    table["group"] = ["floor" if method in FLOORS else results.group(method) for method in table["method"]]
    order = {method: index for index, method in enumerate([*results.methods, *FLOORS])}
    pairs = {pair: index for index, pair in enumerate(listed)}
    table["_order"] = table["method"].map(order)
    table["_pair"] = [pairs[pair] for pair in zip(table["metric"], table["reference"], strict=True)]
    table["_nfe"] = [int(nfe) if nfe.isdigit() else 10**9 for nfe in table["nfe_budget"]]
    table = table.sort_values(["_order", "_nfe", "sigma_start", "_pair"], kind="stable", ignore_index=True)
    _one_sigma(table, results)
    table["best"] = _best(table, results)
    return table[COLUMNS]


def _absent(results: Results, rows: pd.DataFrame, wanted: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """Rows for the (method, budget, metric) that the table has a place for and metrics.csv does not hold."""
    present = set(zip(rows["method"], rows["nfe_budget"], rows["metric"], rows["reference"], strict=True))
    audited = _stored(results)
    skipped = results.skipped()
    blank = dict.fromkeys(rows.columns, "") | dict.fromkeys(("value", "low", "high", "sigma_start", "sigma_atoms"), nan)
    absent = []
    for method in main_methods(results):
        attributes = {name: results.attribute(method, name) for name in ("network", "start", "sampler")}
        for nfe in results.budgets:
            cell = blank | attributes | {"dataset": results.dataset, "method": method, "nfe_budget": nfe}
            stored = audited.get((method, nfe))
            for metric, reference in wanted:
                # the audit asks about the split that the atoms came from, which need not be the training split
                moved = _moved(metric, reference, stored)
                if moved or (method, nfe, metric, reference) in present:
                    continue
                reason = skipped.get((method, nfe)) or (NO_SOURCE if stored and metric == RECOVERY else "")
                status = {"status": "skipped" if reason else "not run", "ranked": False, "reason": reason}
                absent.append(cell | status | {"metric": metric, "reference": reference})
    return absent


def _stored(results: Results) -> dict[tuple[str, str], str]:
    """(method, NFE budget) -> the split whose images the audit looked for, where it was measured."""
    rows = results.pooled()
    rows = rows[rows["metric"] == AUTHENTICITY]
    return dict(zip(zip(rows["method"], rows["nfe_budget"], strict=True), rows["reference"], strict=True))


def _moved(metric: str, reference: str, stored: str | None) -> bool:
    """Whether the audit of a method that stores this split asks about another reference."""
    if metric.startswith(LIKELIHOOD):
        return stored == reference
    return metric in AUDITED and stored not in (None, reference)


def _one_sigma(table: pd.DataFrame, results: Results) -> None:
    main = table[table["method"].isin(main_methods(results))]
    keys = ["method", "nfe_budget", "metric", "reference"]
    double = main[main.duplicated(keys)]
    if len(double):
        row = double.iloc[0]
        raise ValueError(
            f'Method "{row["method"]}" has several pooled cells at NFE {row["nfe_budget"]}, a table has place for one; '
            f'give the method the group "sweep" in the config'
        )


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


def _best(table: pd.DataFrame, results: Results) -> list[bool]:
    eligible = ranked_cells(table, results)
    judged = [metric for metric in eligible["metric"].unique() if fact(metric).direction != "none"]
    eligible = eligible[eligible["metric"].isin([metric for metric in judged if fact(metric).quality])]
    best: set[object] = set()
    for _, column in eligible.groupby(["metric", "reference", "nfe_budget"]):
        top = leader(column)
        # NaN bounds compare false: without both intervals only an equal value shares first place
        overlap = (column["low"] <= top["high"]) & (column["high"] >= top["low"])
        best |= set(column.index[overlap | (column["value"] == top["value"])])
    return [index in best for index in table.index]


def leader(column: pd.DataFrame) -> Row:
    """The row of the best value of one metric; the lowest where it has no direction."""
    higher = fact(column["metric"].iloc[0]).direction == "higher"
    return (max if higher else min)(records(column), key=lambda row: row["value"])


def decimals(value: float, metric: str) -> int:
    """Decimals to print: the metric's, else two, or four where two would leave nothing of a small value."""
    digits = fact(metric).digits
    return digits if digits is not None else 2 if abs(value) >= 0.1 else 4


def number(value: float, metric: str) -> str:
    """A value alone."""
    return _shown(value, decimals(value, metric))


def _shown(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if abs(value) < 1e5 else f"{value:.2e}"


def interval(row: Row) -> str:
    """``value [low, high]``; ``value [n/a]`` where a bound is missing."""
    low, high = row["low"], row["high"]
    digits = decimals(row["value"], row["metric"])
    bounds = "n/a" if isnan(low) or isnan(high) else f"{_shown(low, digits)}, {_shown(high, digits)}"
    return f"{_shown(row['value'], digits)} [{bounds}]"


def plain(row: Row | None, *, absent: str = "not run") -> str:
    """A value without its interval."""
    if row is None:
        return absent
    return {"not run": "not run", "skipped": "–"}.get(row["status"]) or number(row["value"], row["metric"])


def measured(
    title: str, coupling: pd.DataFrame, column: str, headings: Mapping[Any, str], names: Mapping[str, str]
) -> Panel:
    """Rows of coupling.csv: ``names`` of methods down, ``headings`` of the entries of ``column`` across."""
    rows = by_key(coupling, "method", column)

    def entry(row: Row | None) -> Cell:
        return Cell("–" if row is None else f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]")

    body = tuple((Cell(name), *(entry(rows.get((m, key))) for key in headings)) for m, name in names.items())
    return Panel(title, ("method", *headings.values()), body)


def cell(row: Row | None, footnotes: dict[str, str], *, n: str = "") -> Cell:
    """One printed entry; a reason not met before gets the next number in ``footnotes``."""
    if row is None or row["status"] == "not run":
        return Cell("not run")
    if row["status"] == "skipped":
        return Cell("–", marks=(footnotes.setdefault(row["reason"], f"({len(footnotes) + 1})"),))
    audited = row["method"] not in FLOORS
    marks = ("†",) * (audited and not row["ranked"]) + ("‡",) * bool(n and row["num_samples"] != n)
    return Cell(interval(row), bold=bool(row["best"]), marks=marks)


def lookup(table: pd.DataFrame) -> dict[tuple[Any, ...], dict[str, Any]]:
    """(method, NFE budget, metric, reference) -> row."""
    return by_key(table, "method", "nfe_budget", "metric", "reference")


def by_method(
    results: Results,
    title: str,
    entry: Callable[[str, str], Cell],
    notes: tuple[str, ...] = (),
    *,
    methods: Iterable[str] | None = None,
) -> Panel:
    """A panel with methods down, under their groups' headings, and NFE budgets across.

    Args:
        results: what was read.
        title: of the panel.
        entry: (method, NFE budget) -> its cell.
        notes: below the panel.
        methods: default those of the main tables.
    """

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
        f"{results.source}; {f'n = {n} samples a cell' if n else 'no cell measured'}, pooled over {results.num_seeds} "
        f"sample seeds; 95 % intervals in brackets; features: {features or 'none'}; {references}; "
        f"fingerprint: {fingerprints(measured['fingerprint'], 3, where=' (CSV)')}"
    )


def _protocol(experiment: Experiment) -> str:
    """Its name, and what of it the configuration altered."""
    name, written = str(experiment.protocol), experiment.written()
    altered = [f"{key} {written[key]}" for key, value in PROTOCOLS[name].items() if written[key] != value]
    return f"{name}, altered: {', '.join(altered)}" if altered else name


def budget_panel(
    table: pd.DataFrame, results: Results, footnotes: dict[str, str], *, title: str, metric: str, reference: str
) -> Panel:
    """One metric: methods down, NFE budgets across, each entry with its interval.

    FLD of a method that stores images of the reference is against the other split: it asks for images held out.
    """
    if not (table.loc[table["metric"] == metric, "status"] != "not run").any():
        return not_run(title, f"metrics.csv holds no {metric}.")
    found, n = lookup(table), table_n(table, results)

    def entry(method: str, nfe: str) -> Cell:
        other = found.get((method, nfe, metric, OTHER[reference])) if metric.startswith(LIKELIHOOD) else None
        return cell(found.get((method, nfe, metric, reference), other), footnotes, n=n)

    return by_method(results, title, entry)


def beyond_budgets(table: pd.DataFrame, results: Results) -> list[tuple[str, str]]:
    """(method, NFE) of rows that compete with none: 0 NFE, full chains, the floors (listed even if absent)."""
    other = table[~table["nfe_budget"].isin(results.budgets) & (table["group"] != "sweep")]
    listed = dict.fromkeys(zip(other["method"], other["nfe_budget"], strict=True))
    return [*listed, *((method, "0") for method in FLOORS if method not in set(other["method"]))]


def reported_rows(results: Results, *, mixture: bool = False) -> pd.DataFrame:
    """Rows of reported.csv for this data set: mode-mixture ratios, or everything else."""
    rows = published(results.dataset)
    return rows[rows["metric"].str.lower().str.startswith("mmr") == mixture]


def reported_panel(results: Results, *, mixture: bool = False) -> Panel:
    """Published numbers in a panel of their own, never in a measured column."""
    title, rows = "Reported (not measured here)", reported_rows(results, mixture=mixture)
    if rows.empty:
        return Panel(title, (), (), (f"No published numbers for this data set ({results.dataset}).",))
    columns = [
        "method", "sampler", "network", "nfe", "metric", "value", "num_samples", "conditional", "grade", "source",
        "note",
    ]  # fmt: skip
    header = tuple({"value": "reported", "num_samples": "n", "nfe": "NFE"}.get(name, name) for name in columns)
    empty = {"value": "not transcribed", "note": "–"}
    body = tuple(tuple(Cell(row[name] or empty.get(name, "not stated")) for name in columns) for row in records(rows))
    return Panel(title, header, body)


def notes(table: pd.DataFrame, results: Results, footnotes: dict[str, str]) -> tuple[str, ...]:
    """What the marks mean, as far as they occur."""
    lines = [
        "Bold: the best ranked value of its column, and ranked values whose interval overlaps the best one's. This is "
        "no test: Table 5 has paired differences, which can tell more.",
        "† unranked: outside the held-out intervals of the copying audit, or not audited; never bold.",
    ]
    main = table[table["method"].isin(main_methods(results)) & (table["status"] == "measured")]
    main = main[main["nfe_budget"].isin(results.budgets)]
    if (main["num_samples"] != table_n(table, results)).any():
        lines.append("‡ another n than the table's; distances at unequal n do not compare; never bold.")
    if results.audit is None:
        lines.append("No audit.csv: no row was audited, so none is ranked.")
    lines += [f"{mark} skipped: {reason}" for reason, mark in footnotes.items()]
    lines += [f"Mind: {remark}." for remark in dict.fromkeys(main["reason"]) if remark]
    counted = _off_budget(main, results)
    return tuple(lines + ([f"Counted NFE other than the budget: {counted}."] if counted else []))


def _off_budget(main: pd.DataFrame, results: Results) -> str:
    found: dict[str, list[str]] = {}
    for row in records(main.drop_duplicates(["method", "nfe_budget"])):
        if row["nfe_counted"] and row["nfe_budget"].isdigit() and float(row["nfe_counted"]) != int(row["nfe_budget"]):
            found.setdefault(row["method"], []).append(f"{float(row['nfe_counted']):g} at {row['nfe_budget']}")
    return "; ".join(f"{results.title(method)} {', '.join(counts)}" for method, counts in found.items())


def document(
    table: pd.DataFrame,
    results: Results,
    footnotes: dict[str, str],
    *,
    title: str,
    references: str,
    panels: Iterable[Panel],
    remarks: tuple[str, ...] = (),
    latex_panels: tuple[Panel, ...] = (),
) -> Document:
    """A table of cells with its caption, what its marks mean, further ``remarks``, and why cells are unranked."""
    said = caption(table, results, references=references)
    told = (*notes(table, results, footnotes), *remarks)
    return Document(title, said, tuple(panels), told, audit_details(table, results), latex_panels)


def audit_details(table: pd.DataFrame, results: Results) -> tuple[str, ...]:
    """Why each cell is unranked, one entry a method; equal reasons of several budgets share one mention."""
    chosen = (
        table["method"].isin(main_methods(results)) & (table["status"] == "measured") & ~table["ranked"].astype(bool)
    )
    found: dict[str, dict[str, list[str]]] = {}
    for row in records(table[chosen].drop_duplicates(["method", "nfe_budget"])):
        found.setdefault(row["method"], {}).setdefault(row["audit"] or "no reason given", []).append(row["nfe_budget"])
    return tuple(
        f"† {results.title(method)}"
        + "".join(f"\n  - NFE {', '.join(budgets)}: {reason}" for reason, budgets in reasons.items())
        for method, reasons in found.items()
    )


def csv(table: pd.DataFrame, results: Results, *, mixture: bool = False) -> bytes:
    """Long form and published numbers, in columns of their own; a missing number is said in words."""
    out = table.rename(columns={"value": "measured"}).astype({"measured": object, "low": object, "high": object})
    missing = out["status"] != "measured"
    out.loc[missing, "measured"] = out.loc[missing, "status"]
    for column in ("low", "high"):
        out[column] = out[column].where(out[column].notna(), "n/a")
    out["reported"], out["source"], out["grade"] = "no", "", ""
    reported = reported_rows(results, mixture=mixture)
    extra = reported.rename(columns={"nfe": "nfe_budget"}).assign(
        label=reported["method"], group="reported", measured="not run", low="n/a", high="n/a", status="reported",
        reported=reported["value"].replace("", "not transcribed"),
    )  # fmt: skip
    whole = pd.concat([out, extra.reindex(columns=out.columns)], ignore_index=True)
    return whole.to_csv(index=False, lineterminator="\n").encode()
