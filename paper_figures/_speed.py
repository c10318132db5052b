"""Methods as curves of quality over evaluations, each compared with its network's full chain and with its rivals.

The rows of Table 12 (:mod:`paper_figures.table_12_speed`), which says what is compared.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from math import inf, nan, sqrt
from typing import Any

import numpy as np
import pandas as pd

from dpmot.results import CELL, POOLED, SKIPPED, cell_key, records
from paper_figures._equal_quality import Point, Ratio, Reach, reach
from paper_figures._long_form import long_form
from paper_figures._results import Results, Row

CHAIN, RIVAL = "full chain", "best rival"
ENDS = ("", "_low", "_high", "_least", "_greatest")  # of a ratio: 0 and inf lie beyond the least and the greatest
COLUMNS = [
    "compared_with", "method", "nfe_budget", "nfe", "fd", "fd_low", "fd_high", "ranked", "rival", "rival_nfe",
    "rival_fd", *(f"{name}{end}" for name in ("equal_nfe", "nfe_ratio", "seconds_ratio") for end in ENDS), "outcome",
    "fingerprint",
]  # fmt: skip
OURS = ("dpm_ot", "mixture", "as_code")  # groups that are compared with rivals
EQUAL, FEWEST, NEVER = "at equal FD", "as good at its fewest", "never as good within budgets"


@dataclass(frozen=True)
class Curves:
    """The cells of an experiment by method, and what they compare with.

    Attributes:
        results: with replicates and timings.
        cells: measured rows of FD against test that were drawn with an evaluation or more.
        points: (method, NFE budget) -> its cell as a point.
        seconds: of an evaluation, by method.
    """

    results: Results
    cells: Sequence[Row]
    points: Mapping[tuple[str, str], Point]
    seconds: Mapping[str, float]

    @property
    def methods(self) -> list[str]:
        """Those with cells, in the order of the config."""
        there = {cell["method"] for cell in self.cells}
        return [name for name in self.results.methods if name in there]

    def full(self, chain: str) -> Row | None:
        """The cell of the full chain on a network, the first of the reference group; None: not run."""
        found = [c for c in self.cells if c["nfe_budget"] == "full" and self.results.chain(c["method"]) == chain]
        return found[0] if found else None

    def of(self, method: str, *, ranked: bool) -> list[Point]:
        """The curve of a method, ascending, of all its cells or the ranked ones.

        That of a rival ends with the full chain where this is its own.
        """
        names = {method, *(one for one in self.methods if self._same_way(one, method))}
        own = [cell for cell in self.cells if cell["method"] in names and (cell["ranked"] or not ranked)]
        points = [self.points[cell["method"], cell["nfe_budget"]] for cell in own]
        return sorted({point.nfe: point for point in reversed(points)}.values(), key=lambda point: point.nfe)

    def _same_way(self, other: str, method: str) -> bool:
        """Whether ``other`` is the full chain of a method: as planned but for budgets, seeds and name."""
        if self.results.group(other) != "reference" or self.results.group(method) != "rivals":
            return False
        one, two = (self.results.experiment.methods[name] for name in (other, method))
        apart = {"label", "group", "nfe_budgets", "sample_seeds"}
        return one.model_dump(exclude=apart) == two.model_dump(exclude=apart)


def curves(results: Results) -> Curves:
    """The cells of FD against test as curves over NFE counted."""
    table = long_form(results, [(f"fd_{results.families[0]}", "test")])
    counted = pd.to_numeric(table["nfe_counted"], errors="coerce")
    known = (table["status"] == "measured") & (counted > 0) & ~results.of_groups(table, ("sweep", "identity", "given"))
    cells = records(table[known & (table["nfe_budget"].isin(results.budgets) | (table["nfe_budget"] == "full"))])
    points = {(cell["method"], cell["nfe_budget"]): _point(results, cell) for cell in cells}
    return Curves(results, cells, points, evaluation_seconds(results))


def _point(results: Results, cell: Row) -> Point:
    key = cell_key(*(cell[name] for name in CELL)), cell["metric"], cell["reference"]
    found = results.replicates.get(key)
    parts = None if found is None else cell["value"] + found[1] - found[1].mean()
    return Point(float(cell["nfe_counted"]), float(cell["value"]), parts)


def evaluation_seconds(results: Results) -> dict[str, float]:
    """Seconds of one evaluation of a sample by each method's own sampling jobs, its start included; of those timed."""
    rows = results.drawn[(results.drawn["metric"] != SKIPPED) & (results.drawn["sample_seed"] != POOLED)]
    rows = rows.drop_duplicates([*CELL, "sample_seed"])
    spent = pd.to_numeric(rows["nfe_counted"], errors="coerce") * pd.to_numeric(rows["num_samples"])
    found = {}
    for method in results.methods:
        jobs = [f"sample_{one}" for one in results.each.of.get(method, (method,))]
        evaluations = spent[rows["method"].map(results.owner) == method].sum()
        if evaluations and all(job in results.arithmetic for job in jobs):
            found[method] = sum(results.arithmetic[job] for job in jobs) / float(evaluations)
    return found


def scatter(results: Results, seconds: Mapping[str, float], chain: str) -> float:
    """Standard deviation of the logarithm of an evaluation's seconds between the jobs on a network; NaN under three."""
    own = [np.log(s) for m, s in seconds.items() if results.chain(m) == chain and results.group(m) != "identity" and s]
    return float(np.std(own, ddof=1)) if len(own) > 2 else nan


def compared(results: Results) -> pd.DataFrame:
    """One row per method against its network's full chain, and per cell against the best rival, COLUMNS."""
    known = curves(results)
    rows = [*_against_chains(known), *_against_rivals(known)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _against_chains(known: Curves) -> Iterator[dict[str, Any]]:
    """Each method by its ranked cells; and, unranked, by all of them where these say something else."""
    for method in known.methods:
        full = known.full(known.results.chain(method))
        if full is None or known.results.group(method) not in ("rivals", *OURS):
            continue
        target = known.points[full["method"], "full"]
        by = {ranked: known.of(method, ranked=ranked) for ranked in (True, False)}
        told = set[float]()
        for ranked, curve in by.items():
            if not curve or (found := reach(curve, target)).nfe in told:
                continue
            told.add(found.nfe)
            ratio = found.over(target.nfe)
            outcome = EQUAL if ratio.closed else FEWEST if ratio.value == inf else NEVER
            row = {"compared_with": CHAIN, "method": method, "nfe_budget": "", "ranked": ranked, "outcome": outcome}
            row |= {"rival": full["method"], "rival_nfe": target.nfe, "rival_fd": target.fd}
            row |= {"fingerprint": full["fingerprint"]}
            yield row | _found(known, found, ratio, full["method"], method)


def _against_rivals(known: Curves) -> Iterator[dict[str, Any]]:
    """Each cell beside the rival that needs the fewest evaluations, by its ranked cells, by all where it has none."""
    results, chain = known.results, known.results.chain
    names = [name for name in known.methods if results.group(name) == "rivals"]
    rivals = {name: known.of(name, ranked=True) or known.of(name, ranked=False) for name in names}
    for cell in known.cells:
        method, at = cell["method"], known.points[cell["method"], cell["nfe_budget"]]
        if results.group(method) not in ("rivals", *OURS) or cell["nfe_budget"] == "full":
            continue
        row = {"compared_with": RIVAL, "nfe": at.nfe, "fd": cell["value"], "fd_low": cell["low"]}
        row |= {"fd_high": cell["high"]} | {
            name: cell[name] for name in ("method", "nfe_budget", "ranked", "fingerprint")
        }
        reached = {n: reach(c, at) for n, c in rivals.items() if n != method and chain(n) == chain(method)}
        if not reached:
            yield row | {"outcome": "no other rival on the network"}
            continue
        lowest = {name: min(point.fd for point in rivals[name]) for name in reached}
        best = min(reached, key=lambda name: (reached[name].nfe or reached[name].fewest, lowest[name]))
        ratio = reached[best].by(at.nfe)
        outcome = EQUAL if ratio.closed else FEWEST if ratio.value == 0 else NEVER
        yield row | {"rival": best, "outcome": outcome} | _found(known, reached[best], ratio, best, method)


def _entries(name: str, ratio: Ratio) -> dict[str, float]:
    """A ratio as a file has it."""
    return dict(zip((f"{name}{end}" for end in ENDS), astuple(ratio), strict=True))


def _found(known: Curves, found: Reach, ratio: Ratio, slow: str, fast: str) -> dict[str, Any]:
    """N(f) and the ratios of a row: ``slow`` takes N(f), or is the chain that ``fast`` is compared with."""
    seconds = known.seconds
    row = _entries("equal_nfe", found.by(1.0)) | _entries("nfe_ratio", ratio)
    if not {slow, fast} <= set(seconds) or not seconds[fast]:
        return row
    spread = scatter(known.results, seconds, known.results.chain(fast))
    timed = ratio.times(seconds[slow] / seconds[fast], 0.0 if np.isnan(spread) else spread * sqrt(2))
    return row | _entries("seconds_ratio", timed)


def ratio_of(row: Row, name: str = "nfe_ratio") -> Ratio | None:
    """What the columns of that name hold; None where they are empty."""
    ratio = Ratio(*(float(row[f"{name}{end}"]) for end in ENDS))
    return None if np.isnan(ratio.value) else ratio
