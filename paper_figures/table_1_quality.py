"""Table 1: sample quality by method and NFE budget.

Frechet distance FD = |m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)) against the held-out split C and against the
training split A, which published tables use and a copier meets, and Inception Score exp E KL(p(y|x) | p(y)), in
the features named in the table ("FID" and "IS" only for Inception's). Beside them: where each cell starts, what
it copies, the floors of real images, and published numbers apart.
"""

from collections.abc import Callable
from math import isnan, nan

import pandas as pd

from dpmot.plugins import constant
from dpmot.results import (
    AUTHENTICITY,
    COPIES,
    COPY,
    FLOORS,
    FRESH,
    INTERVAL,
    PLAIN,
    POOLED,
    REAL_TEST,
    RECOVERY,
    by_key,
    fact,
    printed_name,
    records,
    sigma_key,
)
from dpmot.statistics.audit import WIDE
from paper_figures import _tables as tables
from paper_figures._comparison import Comparison, by_method, of_number
from paper_figures._headline import by_budget, floor
from paper_figures._long_form import OF_STORED, csv, long_form
from paper_figures._numbers import Number, alone, interval, plain, quantity
from paper_figures._panels import Cell, Document, Panel, not_run
from paper_figures._reported import reported_panel
from paper_figures._results import Results, Row
from paper_figures._verdicts import REAL

READS = ("replicates", "reported", "ideal")
NEAREST, RATIO = "nn_distance_pixels", "nn_ratio_pixels"
AUDIT = {  # metric -> heading
    (RECOVERY, "stored"): "source recovery",
    (AUTHENTICITY, "stored"): "authenticity",
    (RATIO, "stored"): "nn ratio",
}
SHARES = {(COPIES, "train"): "copies of train", (COPIES, "test"): "copies of test"}  # of every row


def _scores(results: Results, family: str) -> dict[tuple[str, str], str]:
    """(metric, reference) -> title."""
    distance, score = f"fd_{family}", f"is_{family}"
    return {
        (distance, "test"): f"{printed_name(distance)} against test",
        (distance, "train"): f"{printed_name(distance)} against train",
        (score, results.reference(score)): printed_name(score),
    }


def make(results: Results) -> pd.DataFrame:
    """Table 1 in long form: one row per (cell, metric, reference), columns ``COLUMNS``."""
    wanted = [column for family in results.families for column in _scores(results, family)]
    wanted += [(metric, "train") for metric in (*OF_STORED, NEAREST)]
    # a method whose atoms come from the held-out split is audited against that split
    also = [(metric, "test") for metric in (*OF_STORED, NEAREST)]
    also += SHARES
    table = long_form(results, wanted, also=also)
    return pd.concat([table, _ratios(table)], ignore_index=True)


def _ratios(table: pd.DataFrame) -> pd.DataFrame:
    """Distance to the nearest reference image over the same of other real images (1: as new as a real one)."""
    rows = table[table["metric"] == NEAREST].assign(metric=RATIO, low=nan, high=nan, best=False)
    measured = rows["status"] == "measured"
    of_floor = measured & (rows["method"] == rows["reference"].map(REAL))
    floors = rows[of_floor].drop_duplicates("reference").set_index("reference")["value"]
    rows["value"] /= rows["reference"].map(floors)
    rows.loc[rows["value"].isna() & measured, "status"] = "not run"
    return rows


def _plain(row: Row | None, *, absent: str = "not run") -> str:
    """A value without its interval; ratios always with two decimals."""
    if row is not None and row["metric"] == RATIO and row["status"] == "measured":
        return f"{row['value']:.2f}"
    return plain(row, absent=absent)


def _audit(cells: Comparison, method: str, nfe: str) -> list[Row | None]:
    """Rows of AUDIT, of the split that the method could copy."""
    stored = cells.stored(method, nfe, AUTHENTICITY)
    return [cells.rows.get((method, nfe, metric, stored)) for metric, _ in AUDIT]


def _shares(cells: Comparison, method: str, nfe: str) -> list[Row | None]:
    return [cells.rows.get((method, nfe, *one)) for one in SHARES]


def _copying_panel(cells: Comparison) -> Panel:
    """Where each cell starts, and what it copies."""

    def level(method: str, nfe: str) -> Cell:
        rows = [*_audit(cells, method, nfe), *_shares(cells, method, nfe)]
        sigmas = [row["sigma_start"] for row in rows if row is not None and not isnan(row["sigma_start"])]
        return Cell(f"{sigmas[0]:.3g}" if sigmas else "–")

    def verdict(method: str, nfe: str) -> Cell:
        rows = [*_audit(cells, method, nfe), *_shares(cells, method, nfe)]
        return Cell(next((row["verdict"] for row in rows if row is not None and row["verdict"]), ""))

    def audited(index: int) -> Callable[[str, str], Cell]:
        def entry(method: str, nfe: str) -> Cell:
            row = _audit(cells, method, nfe)[index]
            if row is not None and row["metric"] == RATIO and row["status"] == "measured":
                return Cell(_plain(row))
            return _entry(row)

        return entry

    def share(index: int) -> Callable[[str, str], Cell]:
        return lambda method, nfe: _entry(_shares(cells, method, nfe)[index])

    def _entry(row: Row | None) -> Cell:
        return Cell("–") if row is None or row["status"] != "measured" else of_number(quantity(row))

    held = cells.rows.get((REAL_TEST, "0", AUTHENTICITY, "train"))
    held_out = interval(held) if held is not None and held["status"] == "measured" else "not measured"
    shares = (
        "Copies: share of samples that are copies of images of that split, moved, mirrored, blurred or recoloured ones "
        f"too. A lower end above the tolerance, {cells.results.experiment.copying_tolerance:g}, unranks a row. An "
        f"upper end is no finding: it counts all that may be copies too noisy to tell, and one above {WIDE:g} leaves "
        "the row not audited."
        if (cells.table["metric"] == COPIES).any()
        else "metrics.csv holds no shares of copies."
    )
    note = (
        "Source recovery: share of samples whose nearest stored image is their own source (a start without a "
        f"source has none: –). Authenticity: of held-out images {held_out}. nn ratio: distance to the nearest "
        "stored image over that of other real images, so 1 is new and 0 is a copy. Stored images are the training "
        "split A, or C for methods whose atoms are held-out images. Verdict: why a row is unranked; ranked ones have "
        "none, or are smooth (Notes)."
    )
    columns: dict[str, Callable[[str, str], Cell]] = {"start level": level}
    columns |= {name: audited(index) for index, name in enumerate(AUDIT.values())}
    columns |= {name: share(index) for index, name in enumerate(SHARES.values())}
    asked = [*AUDIT.values(), *SHARES.values()]
    notes = (note, shares, *_exact_denoiser(cells))
    return cells.listed("Start and copying audit", columns | {"verdict": verdict}, notes, asked=asked)


def _exact_denoiser(cells: Comparison) -> tuple[str, ...]:
    """What an exact denoiser hands back, at the levels of rows that store images; nothing where it is not known."""
    results, rows = cells.results, cells.table
    if results.ideal is None:
        return ()
    starts = {name: results.attribute(name, "start") for name in results.main_methods}  # samples from elsewhere: ""
    storing = [name for name, start in starts.items() if start and constant("starts", start, "STORES_IMAGES")]
    own = rows[rows["method"].isin(storing) & rows["nfe_budget"].isin(results.budgets)]
    shown = results.ideal[results.ideal["sigma"].map(sigma_key).isin(own["sigma_start"].map(sigma_key))]
    if shown.empty:
        return ()
    levels = sorted(records(shown), key=lambda row: row["sigma"])
    at: dict[str, list[str]] = {}  # share as printed -> levels that have it
    for row in levels:
        at.setdefault(Number(*(100 * row[end] for end in INTERVAL)).text, []).append(f"{row['sigma']:.3g}")
    shares = "; ".join(f"{share} % at {', '.join(own)}" for share, own in at.items())
    images, latents = (f"{levels[0][name]:,.0f}" for name in ("num_images", "num_latents"))
    return (
        f"At this N = {images} and sigma_M an exact denoiser (told no class, DDIM in small steps) returns "
        f"{shares} of its sources, by chance {100 * levels[0]['chance']:.2g} %. Predicted from the images "
        f"alone, with {latents} latents a level and 95 % intervals over them; a network departs from it, and source "
        "recovery says what its samples do.",
    )


def _reference_panel(cells: Comparison, family: str) -> Panel:
    """Floors of real images, 0-NFE rows, full chains."""
    columns = _scores(cells.results, family)
    rows: list[tuple[Cell, ...]] = []
    for method, nfe in cells.beyond_budgets:
        scores = [cells.rows.get((method, nfe, *one)) for one in columns]
        audit = [*_audit(cells, method, nfe), *_shares(cells, method, nfe)]
        measured = [row for row in [*scores, *audit] if row is not None and row["status"] == "measured"]
        if not measured:
            empty = ["not run"] * (len(columns) + len(audit))
            rows.append(tuple(map(Cell, (cells.results.title(method), nfe, "–", "–", *empty))))
            continue
        head = (cells.results.title(method), nfe, measured[0]["nfe_counted"] or "–", measured[0]["num_samples"])
        own = "–" if method in FLOORS else "not run"  # a split has no distance to itself
        shown = (cells.cell(row, absent=own) for row in scores)
        rows.append((*map(Cell, head), *shown, *(Cell(_plain(row, absent="–")) for row in audit)))
    named = (title.replace(" against ", " ") for title in columns.values())
    header = ("row", "NFE", "counted", "n", *named, *AUDIT.values(), *SHARES.values())
    beside = "These rows compete with none above; mind their n. –: a split against itself, or a start without a source."
    return Panel(
        "Floors and references",
        header,
        tuple(rows),
        (beside, *_copier(cells.results, family)),
        heads=4,
    )


def _copier(results: Results, family: str) -> tuple[str, ...]:
    """What handing back images exactly gets: its distance tends to the plain one of these, with no bias to remove."""
    rows = results.pooled()
    rows = rows[(rows["reference"] == "test") & rows["value"].notna()]
    fresh = by_key(rows[rows["metric"] == f"{FRESH}fd_{family}"], "num_samples")
    name, atoms = printed_name(f"fd_{family}"), results.experiment.num_atoms
    notes = []
    for row in records(rows[rows["metric"] == f"{COPY}fd_{family}"]):
        n, value = row["num_samples"], row["value"]
        of = f"first {n} images of split A, which the starts store," if atoms else f"{n} images of split A"
        if atoms and int(n) != atoms:
            told = f"The starts store the first {atoms} images of split A. What a method that hands these back exactly "
            told += f"tends to was not measured: measure again (handing back all {n} tends to {name} {value:.2f})."
        else:
            beside = f"{n} fresh real images, handed back so, tend to {_fresh(fresh.get((n,)), f'fd_{family}')}: "
            told = f"A method that hands back the {of} exactly tends to {name} {value:.2f} against test; {beside}"
            told += "read rows that hand back stored images beside these numbers, the others beside the floor of "
            told += "split A."
        notes.append(told)
    return tuple(notes)


def _fresh(row: Row | None, metric: str) -> str:
    """The value of fresh real images, with its interval where it has one."""
    if row is None:
        return "– (not measured)"
    known = not isnan(row["low"]) and row["low"] < row["high"]
    return interval({**row, "metric": metric}) if known else alone(row["value"], metric)


def _published_panel(cells: Comparison, family: str) -> Panel:
    """FD as published tables have it: of one network, with its bias, against train, the least over sample seeds."""
    metric = f"fd_{family}"
    rows = cells.results.of_first()
    rows = rows[(rows["metric"] == f"{PLAIN}{metric}") & (rows["reference"] == "train")]
    rows = rows[(rows["sample_seed"] != POOLED) & rows["value"].notna()]
    rows = rows[rows["method"].isin(cells.results.main_methods)]
    title = f"{printed_name(metric)} against train as published: with its bias, the least of the sample seeds"
    if rows.empty:
        return not_run(title, f"metrics.csv holds no {printed_name(metric)} of single seeds with its bias.")
    seeds = rows.groupby(["method", "nfe_budget"])["value"]
    least, most = seeds.min(), seeds.size().max()

    def entry(method: str, nfe: str) -> Cell:
        if (method, nfe) not in least.index:
            return Cell("–")
        row = cells.rows.get((method, nfe, metric, "train"))
        marks = ("†",) if row is not None and not row["ranked"] else ()
        return Cell(alone(least[method, nfe], metric), marks=marks)

    sizes = ", ".join(dict.fromkeys(rows["num_samples"]))
    note = cells.results.at_first
    note += f"n = {sizes} samples a seed, {most} seed{'s' if most > 1 else ''}: comparable with published numbers of "
    return by_method(cells.results, title, entry, (f"{note}that n only.",))


def layout(table: pd.DataFrame, results: Results) -> Document:
    """The printed table."""
    cells = Comparison(table, results)
    panels = [
        cells.panel(f"{name}, {fact(metric).direction} is better", metric, reference)
        for family in results.families
        for (metric, reference), name in _scores(results, family).items()
    ]
    panels += [_published_panel(cells, family) for family in results.families]
    panels.append(_copying_panel(cells))
    panels += [_reference_panel(cells, family) for family in results.families]
    panels.append(reported_panel(results))
    title = "Table 1. Sample quality by method and NFE budget"
    metric = f"fd_{results.families[0]}", "test"
    floors = floor(cells, *metric)
    short = by_budget(cells, *metric, floors=floors)
    return cells.document(title, "reference: held-out split C (test)", panels, headline=short)


PAGE = tables.page(__file__, __doc__, make, layout, csv)

if __name__ == "__main__":
    raise SystemExit(PAGE.main())
