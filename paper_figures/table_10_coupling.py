"""Table 10: couplings of noise and images in training, and networks before and after they were rewired.

Frechet distance against test and the share of copies of train by NFE; beside them what each network saw and took:
images of its own training, seconds of it and of the map from noise to images, which is solved once, and the share of
prior draws that are no point of its coupling, where it extrapolates.
"""

from collections.abc import Callable, Iterator
from math import isnan, nan

import pandas as pd

from dpmot.results import COPIES, printed_name, records
from paper_figures import _tables as tables
from paper_figures._headline import MOST
from paper_figures._notes import AT_LEAST
from paper_figures._numbers import Number
from paper_figures._panels import Cell, Document, Panel, not_run
from paper_figures._results import Results, Row, fingerprints
from paper_figures._rewired import Trained, networks, of_samples, rows_of
from paper_figures._rewired_verdict import CLAIMED, verdict

READS = ("trainings",)
OF_NETWORK = ("coupling", "tau", "chi2", "images", "share", "train_s", "map_s", "off")
COLUMNS = [
    "method", "label", "network", "rewires", "sampler", "nfe_budget", "num_samples", "fd", "fd_low", "fd_high",
    "over_samples_low", "over_samples_high", "ranked", "verdict", "copies", "copies_low", "copies_high", *OF_NETWORK,
    "num_images", "fingerprint",
]  # fmt: skip
NOT_SHOWN = ("identity", "reference")


def make(results: Results) -> pd.DataFrame:
    """One row per (method from the prior, NFE budget), COLUMNS."""
    return pd.DataFrame(list(_rows(results)), columns=COLUMNS)


def _rows(results: Results) -> Iterator[dict[str, object]]:
    metric, known = f"fd_{results.families[0]}", networks(results)
    if all(one.coupling == "independent" and not one.origin for one in known.values()):
        return
    rows, sampled = rows_of(results, metric), of_samples(results, metric)
    for name, method in results.experiment.drawn.items():
        if method.start != "prior" or results.group(name) in NOT_SHOWN:
            continue
        network = known[method.network]
        for nfe in results.budgets:
            row = rows.get((name, nfe, metric, "test"))
            if row is None:
                continue
            copied: Row = rows.get((name, nfe, COPIES, "train")) or dict.fromkeys(("value", "low", "high"), nan)
            low, high = sampled.get((name, nfe), (nan, nan))
            yield {
                **{key: row[key] for key in ("num_samples", "ranked", "verdict", "fingerprint")},
                **{"method": name, "label": results.label(name), "nfe_budget": nfe, "sampler": method.sampler},
                **{"network": method.network, "rewires": network.origin, "num_images": results.stored},
                **{"fd": row["value"], "fd_low": row["low"], "fd_high": row["high"]},
                **({"over_samples_low": low, "over_samples_high": high} if results.each.repeated else {}),
                **{"copies": copied["value"], "copies_low": copied["low"], "copies_high": copied["high"]},
                **{key: getattr(network, key) for key in OF_NETWORK},
            }


def _number(row: Row, of: str) -> Number:
    return Number(row[of], row[f"{of}_low"], row[f"{of}_high"])


def _by_budget(table: pd.DataFrame, results: Results, title: str, entry: Callable[[Row], Cell]) -> Panel:
    """Methods down, under the sampler's heading, NFE budgets across."""
    budgets = [nfe for nfe in results.budgets if nfe in set(table["nfe_budget"])]
    lines: list[str | tuple[Cell, ...]] = []
    for sampler in table["sampler"].unique():
        lines.append(f"sampler {sampler}")
        for method in table.loc[table["sampler"] == sampler, "method"].unique():
            own = {row["nfe_budget"]: row for row in records(table[table["method"] == method])}
            cells = (entry(own[nfe]) if nfe in own else Cell("–") for nfe in budgets)
            lines.append((Cell(results.title(method)), *cells))
    return Panel(title, ("method", *(f"NFE {nfe}" for nfe in budgets)), tuple(lines))


def _distance(row: Row) -> Cell:
    number = _number(row, "fd")
    return Cell(number.text, marks=() if row["ranked"] else ("†",), number=number)


def _copies(row: Row) -> Cell:
    if isnan(row["copies"]):
        return Cell("–")
    number = _number(row, "copies")
    return Cell(number.text, number=number)


def _over_samples(row: Row) -> Cell:
    half = (row["over_samples_high"] - row["over_samples_low"]) / 2
    return Cell("–") if isnan(half) else Cell(f"{half:.2g}")


def told(value: float, form: str = ",.0f") -> str:
    """A number in that form, – where it is not known."""
    return "–" if isnan(value) else f"{value:{form}}"


def _coupling(network: Trained) -> str:
    soft = "" if isnan(network.tau) else f", tau {network.tau:g}"
    return f"{network.coupling}{soft}"


def _networks(table: pd.DataFrame, results: Results) -> Panel:
    """What each network saw and took."""
    header = (
        *("network", "goes on from", "coupling", "images", "of those before", "training s", "map s", "chi2"),
        "prior draws off",
    )
    known, rows = networks(results), []
    for name in dict.fromkeys(table["network"]):
        one = known[name]
        share, off = told(one.share, ".1%"), told(one.off, ".1%")
        entries = (told(one.images), share, told(one.train_s), told(one.map_s), told(one.chi2, ".2g"), off)
        rows.append(tuple(map(Cell, (name, one.origin or "–", _coupling(one), *entries))))
    notes = (
        "Images: of its own training, a student's over all its stages. Training: seconds of arithmetic of one network; "
        "– loaded, not known here. Map: seconds of the heights of all clean images, solved once for all networks of "
        "one chi2 and counted in full for each. chi2: as certified. Prior draws off: share of prior draws that are no "
        "point of the coupling (at the network's own sigma_max), where it extrapolates.",
    )
    return Panel("What each network saw and took", header, tuple(rows), notes)


def _headline(table: pd.DataFrame, results: Results) -> Panel | None:
    """Chosen rows at CLAIMED evaluations, or at the budget that most rows have."""
    if table.empty:
        return None
    most = table["nfe_budget"].value_counts().index[0]
    nfe = CLAIMED if CLAIMED in set(table["nfe_budget"]) else most
    at = table[table["nfe_budget"] == nfe]
    given = [one for one in results.experiment.headline if one in set(at["method"])]
    main = [one for one in at["method"] if one in results.main_methods]
    methods = (given or [*main, *(one for one in at["method"] if one not in main)])[:MOST]
    rows = []
    for row in records(at[at["method"].isin(methods)]):
        number = _number(row, "fd")
        upper = told(row["copies_high"], ".2g")
        entries = (told(row["images"]), told(row["train_s"]), told(row["map_s"]))
        fd = Cell(number.short, marks=() if row["ranked"] else ("†",), number=number)
        rows.append((Cell(results.label(row["method"])), fd, Cell(upper), *map(Cell, entries)))
    quality = printed_name(f"fd_{results.families[0]}")
    header = ("method", f"{quality} ↓", "copies at most", "images", "training s", "map s")
    notes = (
        f"FD against test at NFE {nfe}, ±: half the width of the 95 % interval over {results.units}; copies at most: "
        "upper end of the share of copies of train; † unranked.",
        f"Data set {results.experiment.dataset}; fingerprint {fingerprints(table['fingerprint'], 1)}. All rows are in "
        "the supplement.",
    )
    return Panel(f"Networks before and after a coupling, NFE {nfe}", header, tuple(rows), notes)


def layout(table: pd.DataFrame, results: Results) -> Document:
    """The printed table."""
    quality = printed_name(f"fd_{results.families[0]}")
    panels = [not_run("Couplings", "no network has a coupling, and none goes on from another.")]
    if not table.empty:
        panels = [_by_budget(table, results, f"{quality} against test ↓", _distance)]
        if table["over_samples_low"].notna().any():
            title = f"{quality}: half the width of the interval over samples alone, of one network in the mean"
            panels.append(_by_budget(table, results, title, _over_samples))
        panels.append(_by_budget(table, results, "Share of copies of train ↓", _copies))
        panels.append(_networks(table, results))
    n = ", ".join(sorted(set(table["num_samples"]), key=int)) or "none"
    return Document(
        title="Table 10. Couplings of noise and images in training",
        caption=results.caption(
            f"n = {n} samples a cell, {results.pooled_over}; {results.in_brackets}; N = "
            f"{results.stored or 'unknown'} training images",
            table["fingerprint"],
        ),
        panels=tuple(panels),
        notes=(
            *([" ".join(verdict(results))] if verdict(results) else []),
            "† unranked (Table 1 says why). – not run, or not known.",
            *([AT_LEAST] if results.each.repeated else []),
        ),
        headline=_headline(table, results),
    )


PAGE = tables.page(__file__, __doc__, make, layout)

if __name__ == "__main__":
    raise SystemExit(PAGE.main())
