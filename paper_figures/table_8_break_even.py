"""Table 8: after how many samples the fit of a start has paid for itself, against each rival at equal quality.

    break-even = seconds of the fit / seconds saved a sample

Equal quality: the smallest budget at which the rival's FD against test is no worse than DPM-OT's within the intervals
of both (its lower end lies below DPM-OT's upper end). Rivals run on the same network, or are distilled from it. A
start that is fitted, such as a mixture of Gaussians, has the seconds of its own fit, and says what it stores.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from math import isnan, nan
from typing import Any

import pandas as pd

from dpmot.experiment import grid
from dpmot.experiment.fits import fit_of
from dpmot.results import CELL, POOLED, SKIPPED, printed_name, records
from paper_figures import _tables as tables
from paper_figures._headline import chosen, half_width, spread
from paper_figures._long_form import long_form
from paper_figures._numbers import Number
from paper_figures._panels import Cell, Document, Panel, not_run
from paper_figures._results import Results, Row, fingerprints

READS = ("replicates", "timings", "fits")
COLUMNS = [
    "method", "nfe_budget", "fd", "fd_low", "fd_high", "ranked", "rival", "rival_nfe", "rival_fd", "fit_s",
    "method_s_per_1000", "rival_s_per_1000", "saved_s_per_1000", "break_even_samples", "outcome", "fingerprint",
]  # fmt: skip
JUDGED = ("dpm_ot", "mixture")  # groups of methods whose start is fitted
HEADER = ("NFE", "rival", "samples", "saved s per 1,000", "rival's NFE", "outcome")
NEVER_AS_GOOD, NEVER_SLOWER = "rival never as good within budgets", "never: the rival takes no longer"


def fit_seconds(results: Results) -> float | None:
    """Seconds of one fit: the job that solves every problem of the experiment, by their number; None if not timed."""
    problems = len(grid.problems(results.experiment))
    return results.arithmetic["solve"] / problems if problems and "solve" in results.arithmetic else None


def facts_of(results: Results, method: str) -> dict[str, Any] | None:
    """What is known of the fit of a method's start; None of one that is not fitted, or whose facts are not there."""
    planned = results.experiment.drawn.get(method)
    fit = fit_of(results.experiment, planned) if planned else None
    return results.fits.get(fit.name) if fit else None


def evaluation_seconds(results: Results, chain: str) -> float | None:
    """Seconds of one evaluation of a sample, over all sampling jobs on a network and its students; None if not timed.

    One number for all of them: jobs ran side by side, and what differs between methods of one cost is the machine's.
    """
    rows = results.drawn[(results.drawn["metric"] != SKIPPED) & (results.drawn["sample_seed"] != POOLED)]
    cells, of = rows.drop_duplicates([*CELL, "sample_seed"]), results.owner
    timed = [f"sample_{m}" in results.arithmetic and results.chain(of[m]) == chain for m in cells["method"]]
    cells = cells[timed]
    spent = (pd.to_numeric(cells["nfe_counted"]) * pd.to_numeric(cells["num_samples"])).sum()
    seconds = sum(results.arithmetic[f"sample_{method}"] for method in cells["method"].unique())
    return seconds / spent if spent else None


def make(results: Results) -> pd.DataFrame:
    """One row per (DPM-OT method, NFE budget, rival of its network), COLUMNS."""
    table = long_form(results, [(f"fd_{results.families[0]}", "test")])
    cells = records(table[(table["status"] == "measured") & table["nfe_budget"].isin(results.budgets)])
    return pd.DataFrame(list(_rows(results, cells)), columns=COLUMNS)


def _rows(results: Results, cells: Sequence[Row]) -> Iterator[dict[str, Any]]:
    fit, chains = fit_seconds(results), {cell["method"]: results.chain(cell["method"]) for cell in cells}
    seconds = {chain: evaluation_seconds(results, chain) for chain in set(chains.values())}

    def per_1000(cell: Row | None) -> float | None:
        evaluation = cell and seconds[chains[cell["method"]]]
        return 1000 * evaluation * float(cell["nfe_counted"]) if cell and evaluation else None

    rivals = [name for name in results.methods if results.group(name) == "rivals"]
    for cell, rival in product((cell for cell in cells if cell["group"] in JUDGED), rivals):
        if results.chain(rival) != chains[cell["method"]]:
            continue
        facts = facts_of(results, cell["method"])
        own = fit if cell["group"] == "dpm_ot" else float(facts["seconds"]) if facts else None
        known = [other for other in cells if other["method"] == rival]
        # no worse within intervals, at the smallest budget
        reached = [other for other in known if _bound(other, "low") <= _bound(cell, "high")]
        equal = min(reached, key=lambda other: int(other["nfe_budget"]), default=None)
        none = _never(results, [other["nfe_budget"] for other in known])
        row = {name: cell[name] for name in ("method", "nfe_budget", "ranked", "fingerprint")}
        row |= {"fd": cell["value"], "fd_low": cell["low"], "fd_high": cell["high"], "rival": rival, "fit_s": own}
        row |= {"rival_nfe": equal["nfe_budget"] if equal else "", "rival_fd": equal["value"] if equal else nan}
        yield row | _outcome(own, per_1000(cell), per_1000(equal), "" if equal else none)


def _bound(cell: Row, bound: str) -> float:
    return cell["value"] if isnan(cell[bound]) else cell[bound]


def _never(results: Results, known: Sequence[str]) -> str:
    """What can be said of a rival that is as good at none of the budgets at which it is ``known``."""
    missing = ", ".join(nfe for nfe in results.budgets if nfe not in known)
    if not known:
        return "rival not run"
    return f"rival not as good at NFE {', '.join(known)}; nothing at {missing}" if missing else NEVER_AS_GOOD


def _outcome(fit: float | None, own: float | None, other: float | None, never: str) -> dict[str, Any]:
    row: dict[str, Any] = {"method_s_per_1000": own, "rival_s_per_1000": other}
    if never:
        return row | {"outcome": never}
    if fit is None or own is None or other is None:
        return row | {"outcome": "not timed"}
    row["saved_s_per_1000"] = saved = other - own
    if saved <= 0:
        return row | {"outcome": NEVER_SLOWER}
    return row | {"break_even_samples": 1000 * fit / saved, "outcome": "break-even"}


def _memory(results: Results) -> tuple[Panel, ...]:
    """What each start stores, where some are fitted: an image of 8 bits a number, a height of 32."""
    if not results.fits:
        return ()
    images = max(results.fits.values(), key=lambda facts: facts["bytes_of_images"])
    number, size = images["images"], images["bytes_of_images"]
    starts = {one.start for one in results.experiment.drawn.values()}
    rows = [("the prior", "nothing", "0", "0")]
    if starts & {"copy", "fresh_noise"}:
        rows.append(("a random image", f"{number:,} images", f"{size:,}", "1"))
    if "transport" in starts:
        rows.append(("DPM-OT", f"{number:,} images, as many heights", *_bytes(size + 4 * number, size)))
    for name, facts in results.fits.items():
        low, high = facts.get("ranks", (0, 0))
        told = f"{facts.get('components', '')} Gaussians of rank {low if low == high else f'{low} to {high}'}"
        rows.append((name, f"{told}; fit {facts['seconds']:.1f} s", *_bytes(facts["bytes"], facts["bytes_of_images"])))
    header = ("start", "stores", "bytes", "of the images behind")
    return (Panel("What a start stores", header, tuple(tuple(map(Cell, row)) for row in rows)),)


def _bytes(own: int, images: int) -> tuple[str, str]:
    return f"{own:,}", f"{own / images:.2g}"


def _row(row: Row, results: Results) -> tuple[Cell, ...]:
    """The entries of a method at a budget against one rival, behind their names."""
    marks = () if row["ranked"] else ("†",)
    samples = f"{row['break_even_samples']:,.0f}" if row["outcome"] == "break-even" else "–"
    gain = float(row["saved_s_per_1000"])
    saved = "–" if isnan(gain) else f"{gain:.2g}".replace("-", "−")
    told = (samples, saved, row["rival_nfe"] or "–", row["outcome"])
    return Cell(row["nfe_budget"], marks=marks), Cell(results.title(row["rival"])), *map(Cell, told)


def _headline(table: pd.DataFrame, results: Results) -> Panel | None:
    """Chosen methods at small budgets, each against the rival that reaches its quality at the fewest evaluations."""
    if table.empty:
        return None
    cells = table.drop_duplicates(["method", "nfe_budget"]).assign(value=lambda rows: rows["fd"])
    pairs = list(zip(cells["method"], cells["nfe_budget"], strict=True))
    rows = []
    for method, nfe in spread(pairs, chosen(results, cells)):
        rivals = records(table[(table["method"] == method) & (table["nfe_budget"] == nfe)])
        row = min(rivals, key=lambda one: (not one["rival_nfe"], int(one["rival_nfe"] or 0)))
        number = Number(row["fd"], row["fd_low"], row["fd_high"])
        (at, *entries) = _row(row, results)
        own = Cell(number.short, marks=at.marks, number=number)
        rows.append((Cell(results.label(method)), Cell(row["nfe_budget"]), own, *entries))
    quality = printed_name(f"fd_{results.families[0]}")
    header = ("method", "NFE", f"{quality} ↓", *HEADER[1:])
    notes = (
        "Rival: the one on the network that reaches this quality, within intervals, at the fewest evaluations. "
        "Samples: seconds of the fit / seconds saved a sample. † unranked.",
        f"Data set {results.experiment.dataset}; {half_width(results)}; fingerprint "
        f"{fingerprints(table['fingerprint'], 1)}. Rows: small budgets first; all are in the supplement.",
    )
    return Panel("Samples until the fit is paid for", header, tuple(rows), notes, heads=3)


def layout(table: pd.DataFrame, results: Results) -> Document:
    """The printed table."""
    rows: list[str | tuple[Cell, ...]] = []
    for method in table["method"].unique():
        rows.append(results.title(method))
        of = table[table["method"] == method]
        for rival in of["rival"].unique():
            rows += [_row(row, results) for row in records(of[of["rival"] == rival])]
    title = "Samples until the fit is paid for, against each rival"
    panel = Panel(title, HEADER, tuple(rows), heads=2)
    if not rows:
        panel = not_run(title, "no DPM-OT method with a rival on its network.")
    fit, quality = fit_seconds(results), printed_name(f"fd_{results.families[0]}")
    return Document(
        title="Table 8. Break-even of the fit",
        caption=results.caption(
            f"one fit: {'not timed' if fit is None else f'{fit:.2f} s'}, the mean of the experiment's "
            f"{len(grid.problems(results.experiment))} problems; quality: {quality} against test",
            table["fingerprint"],
        ),
        panels=(panel, *_memory(results)),
        notes=(
            "Seconds a sample: evaluations counted, times the seconds of an evaluation, averaged over all sampling "
            "jobs on the network (starts included). Jobs ran side by side, so seconds are rough.",
            f'"{NEVER_AS_GOOD}": at no budget of the table, within intervals, and all were run; "{NEVER_SLOWER}": it '
            "is as good in no more time, so the fit never pays. At budgets with nothing, it was skipped or not run.",
            "† the DPM-OT row is unranked (Table 1): the quality of copies of training images costs no fit.",
            "Saved: seconds on 1,000 samples. Rival's NFE: its smallest budget of equal quality; – none.",
            "Training is not counted: not the networks', nor that of a distilled rival, nor what a sampler learned.",
        ),
        headline=_headline(table, results),
    )


PAGE = tables.page(__file__, __doc__, make, layout)

if __name__ == "__main__":
    raise SystemExit(PAGE.main())
