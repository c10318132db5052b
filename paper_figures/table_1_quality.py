"""Table 1: sample quality by method and NFE budget.

Frechet distance FD = |m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)) against the held-out split C and against the
training split A, which published tables use and a copier meets, and Inception Score exp E KL(p(y|x) | p(y)), in
the features named in the table ("FID" and "IS" only for Inception's). Beside them: where each cell starts, what
it copies, the floors of real images, and published numbers apart.
"""

from collections.abc import Mapping
from math import isnan, nan

import pandas as pd

from dpmot.results import COPY, FLOORS, PLAIN, POOLED, REAL_TEST, REAL_TRAIN, fact, printed_name
from paper_figures import _comparison as comparison
from paper_figures import _tables as tables
from paper_figures._comparison import Row
from paper_figures._results import Results
from paper_figures._tables import Cell, Document, Panel, not_run

READS = ("reported",)
Found = Mapping[tuple[str, str, str, str], Row]  # by method, NFE budget, metric and reference
NEAREST, RATIO = "nn_distance_pixels", "nn_ratio_pixels"
BESIDE = "These rows compete with none above; mind their n. –: a split against itself, or a start without a source."
FLOOR_OF = {"train": REAL_TEST, "test": REAL_TRAIN}  # reference -> the real images that are no part of it


def _scores(results: Results, family: str) -> dict[tuple[str, str], str]:
    """(metric, reference) -> title."""
    distance, score = f"fd_{family}", f"is_{family}"
    return {
        (distance, "test"): f"{printed_name(distance)} against test",
        (distance, "train"): f"{printed_name(distance)} against train",
        (score, results.reference(score)): printed_name(score),
    }


def make(results: Results) -> pd.DataFrame:
    """Table 1 in long form: one row per (cell, metric, reference), columns ``comparison.COLUMNS``."""
    wanted = [column for family in results.families for column in _scores(results, family)]
    wanted += [(metric, "train") for metric in (*comparison.AUDITED, NEAREST)]
    # a method whose atoms come from the held-out split is audited against that split
    table = comparison.long_form(results, wanted, also=[(metric, "test") for metric in (*comparison.AUDITED, NEAREST)])
    return pd.concat([table, _ratios(table)], ignore_index=True)


def _ratios(table: pd.DataFrame) -> pd.DataFrame:
    """Distance to the nearest reference image over the same of other real images (1: as new as a real one)."""
    rows = table[table["metric"] == NEAREST].copy()
    floors = {}
    for reference, method in FLOOR_OF.items():
        floor = rows[(rows["reference"] == reference) & (rows["method"] == method) & (rows["status"] == "measured")]
        floors[reference] = floor["value"].iloc[0] if len(floor) else nan
    rows["value"] /= rows["reference"].map(floors)
    rows["metric"], rows["low"], rows["high"], rows["best"] = RATIO, nan, nan, False
    rows.loc[rows["value"].isna() & (rows["status"] == "measured"), "status"] = "not run"
    return rows


def _plain(row: Row | None) -> str:
    """A value without its interval; ratios always with two decimals."""
    if row is not None and row["metric"] == RATIO and row["status"] == "measured":
        return f"{row['value']:.2f}"
    return comparison.plain(row)


def _audit(found: Found, method: str, nfe: str) -> list[Row | None]:
    """Rows of recovery, authenticity and nn ratio, against the split that the method could copy."""
    metrics = (comparison.RECOVERY, comparison.AUTHENTICITY, RATIO)
    reference = "test" if (method, nfe, comparison.AUTHENTICITY, "test") in found else "train"
    return [found.get((method, nfe, metric, reference)) for metric in metrics]


def _audit_cell(found: Found, method: str, nfe: str) -> Cell:
    rows = _audit(found, method, nfe)
    shares = [_plain(row) for row in rows]
    sigmas = [row["sigma_start"] for row in rows if row and not isnan(row["sigma_start"])]
    if not sigmas and len(set(shares)) == 1:
        return Cell(shares[0])
    return Cell(" / ".join([f"{sigmas[0]:.3g}" if sigmas else "–", *shares]))


def _copying_panel(table: pd.DataFrame, results: Results) -> Panel:
    found = comparison.lookup(table)
    title = "Start and copying audit: sigma_start / source recovery / authenticity / nn ratio"
    note = (
        "Source recovery: share of samples whose nearest stored image is their own source (a start without a "
        "source has none: –). Authenticity: about one half for held-out images. nn ratio: distance to the nearest "
        "stored image over that of other real images, so 1 is new and 0 is a copy. Stored images are the training "
        "split A, or C for methods whose atoms are held-out images."
    )
    return comparison.by_method(results, title, lambda method, nfe: _audit_cell(found, method, nfe), (note,))


def _reference_panel(table: pd.DataFrame, results: Results, footnotes: dict[str, str], family: str) -> Panel:
    """Floors of real images, 0-NFE rows, full chains."""
    found = comparison.lookup(table)
    columns = _scores(results, family)
    rows: list[tuple[Cell, ...]] = []
    for method, nfe in comparison.beyond_budgets(table, results):
        scores = [found.get((method, nfe, *column)) for column in columns]
        audit = _audit(found, method, nfe)
        measured = next((row for row in [*scores, *audit] if row is not None and row["status"] == "measured"), None)
        if measured is None:
            rows.append(tuple(map(Cell, (results.title(method), nfe, "–", "–", *["not run"] * 6))))
            continue
        head = (results.title(method), nfe, measured["nfe_counted"] or "–", measured["num_samples"])
        own = method in FLOORS  # a split has no distance to itself
        cells = [Cell("–") if own and row is None else comparison.cell(row, footnotes) for row in scores]
        rows.append((*map(Cell, head), *cells, *(Cell("–" if row is None else _plain(row)) for row in audit)))
    named = (title.replace(" against ", " ") for title in columns.values())
    header = ("row", "NFE", "counted", "n", *named, "recovery", "authenticity", "nn ratio")
    return Panel("Floors and references", header, tuple(rows), (BESIDE, *_copier(results, family)))


def _copier(results: Results, family: str) -> tuple[str, ...]:
    """What an exact copier of the training split gets: its distance tends to the plain one, with no bias to remove."""
    rows = results.pooled()
    rows = rows[(rows["metric"] == f"{COPY}fd_{family}") & (rows["reference"] == "test") & rows["value"].notna()]
    name = printed_name(f"fd_{family}")
    return tuple(
        f"A method that hands back the {n} images of split A exactly tends to {name} {value:.2f} against test: read "
        "rows that copy beside this number, the others beside the floor of split A."
        for n, value in zip(rows["num_samples"], rows["value"], strict=True)
    )


def _published_panel(table: pd.DataFrame, results: Results, family: str) -> Panel:
    """FD as published tables have it: with its bias, against train, the least over sample seeds."""
    rows = results.metrics
    rows = rows[(rows["metric"] == f"{PLAIN}fd_{family}") & (rows["reference"] == "train")]
    rows = rows[(rows["sample_seed"] != POOLED) & rows["value"].notna()]
    rows = rows[rows["method"].isin(comparison.main_methods(results))]
    least = rows.groupby(["method", "nfe_budget"], sort=False)["value"].agg(["min", "size"])
    sizes = ", ".join(dict.fromkeys(rows["num_samples"])) or "none"
    title = f"{printed_name(f'fd_{family}')} against train as published: with its bias, the least of the sample seeds"
    if rows.empty:
        return not_run(title, f"metrics.csv holds no {PLAIN}fd_{family} of single seeds.")
    found = comparison.lookup(table)

    def entry(method: str, nfe: str) -> Cell:
        row, value = found.get((method, nfe, f"fd_{family}", "train")), least["min"].get((method, nfe))
        if value is None:
            return Cell("–")
        marks = ("†",) if row is not None and not row["ranked"] else ()
        return Cell(comparison.number(value, f"fd_{family}"), marks=marks)

    seeds = least["size"].max()
    told = f"n = {sizes} samples a seed, {seeds} seed{'s' if seeds > 1 else ''}"
    note = f"{told}: comparable with published numbers of that n only."
    return comparison.by_method(results, title, entry, (note,))


def layout(table: pd.DataFrame, results: Results) -> Document:
    """The printed table."""
    footnotes: dict[str, str] = {}
    panels = []
    for family in results.families:
        for (metric, reference), name in _scores(results, family).items():
            title = f"{name}, {fact(metric).direction} is better"
            panels.append(
                comparison.budget_panel(table, results, footnotes, title=title, metric=metric, reference=reference)
            )
    panels += [_published_panel(table, results, family) for family in results.families]
    panels.append(_copying_panel(table, results))
    panels += [_reference_panel(table, results, footnotes, family) for family in results.families]
    panels.append(comparison.reported_panel(results))
    return comparison.document(
        table, results, footnotes, title="Table 1. Sample quality by method and NFE budget",
        references="reference: held-out split C (test)", panels=panels,
    )  # fmt: skip


PAGE = tables.page(__file__, __doc__, make, layout, comparison.csv)

if __name__ == "__main__":
    raise SystemExit(PAGE.main())
