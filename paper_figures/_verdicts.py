"""What a page says of a cell: whether it competes, a word for why not, or "smooth"; and the reasons.

From audit.csv, and from the cell's own metrics beside real images': noise and collapsed are unranked, smooth is ranked.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dpmot import results as files
from dpmot.results import FLOORS, POOLED, REAL_BESIDE, REAL_TEST, sigma_key, stem

REAL = {**REAL_BESIDE, "none": REAL_TEST}  # reference -> real images that are none of it
UNRANKED = ("noise", "copies", "collapsed", "not converged", "not audited")  # words for it, the gravest first
FEW, NEAR = 0.1, 0.95  # of real images' value: what is certainly below fails; what is nearer is smooth
# word -> kinds of metrics (stem, reference), of which one must be certainly few, in all features
FAILS = {"noise": [("precision", "test")], "collapsed": [("distinct_samples", "none"), ("recall", "test")]}
BESIDE = {"real": "value", "real_low": "low", "real_high": "high"}


@dataclass(frozen=True)
class Verdict:
    """What a page says of a cell: whether it competes, a word for why not (or "smooth"), and the reasons."""

    ranked: bool
    verdict: str = ""
    audit: str = ""

    def beside(self, word: str, reason: str) -> "Verdict":
        """The same with one more word for not ranking it, and its reason: the gravest comes first."""
        found = [(word, f"{word}: {reason}")]
        if self.verdict in UNRANKED and self != UNKNOWN:
            found.append((self.verdict, self.audit))
        found.sort(key=lambda one: UNRANKED.index(one[0]))
        return Verdict(False, found[0][0], "; ".join(told for _, told in found))


UNKNOWN = Verdict(False, "not audited", "not audited")


def _audited(row: dict[str, Any]) -> Verdict:
    """The verdict of a row of audit.csv."""
    if row["ranked"]:
        return Verdict(True)
    reasons, word = row["reasons"] or "no reason given", row["verdict"]
    said = reasons.partition(": ")[0].endswith(word)  # "transport not converged: ..."
    return Verdict(False, word, reasons if said else f"{word}: {reasons}")


def verdicts(metrics: pd.DataFrame, audit: pd.DataFrame | None) -> dict[Any, Verdict]:
    """(method, NFE budget, level as a key) -> verdict of the cell, from audit.csv and from metrics.csv."""
    audited = [] if audit is None else files.records(audit)
    found = {(row["method"], row["nfe_budget"], sigma_key(row["sigma_start"])): _audited(row) for row in audited}
    metrics = metrics[metrics["sample_seed"] == POOLED]
    own = {word: _few(metrics, kinds) for word, kinds in FAILS.items()}
    for key in dict.fromkeys([*found, *own["noise"], *own["collapsed"]]):
        if (collapse := own["collapsed"].get(key)) is not None:
            found[key] = found.get(key, UNKNOWN).beside("collapsed", collapse)
        if (noise := own["noise"].get(key)) is not None:  # nothing else of it means anything
            found[key] = Verdict(False, "noise", f"noise: {noise}")
    for key, told in smooth(metrics).items():
        if found.get(key, UNKNOWN).ranked:
            found[key] = Verdict(True, "smooth", told)
    return found


def _few(metrics: pd.DataFrame, kinds: Iterable[tuple[str, str]]) -> dict[Any, str]:
    """Cells of which a kind of metric is certainly under FEW of real images', in all features -> what was found."""
    told: dict[Any, list[str]] = {}
    for kind, reference in kinds:
        rows = _beside_real(metrics, kind, reference)
        rows["few"] = rows["high"].fillna(rows["value"]) < FEW * rows["real"]
        for key, cells in rows.groupby(["method", "nfe_budget", "level"]):
            if cells["few"].all():
                told.setdefault(key, []).extend(cells["told"])
    return {key: f"{', '.join(parts)}, under {FEW:g} of real images'" for key, parts in told.items()}


def smooth(metrics: pd.DataFrame) -> dict[Any, str]:
    """Cells whose samples crowd where real images are dense, or lie nearer to all images than real ones do."""
    metrics = metrics[metrics["sample_seed"] == POOLED]
    dense = _beside_real(metrics, "density", "test")
    dense["so"] = dense["low"] > dense["real_high"]
    near = pd.concat([_beside_real(metrics, "nn_distance", reference) for reference in ("test", "train")])
    near["told"] += " to " + near["reference"]
    near["so"] = near["high"] < NEAR * near["real_low"]
    told: dict[Any, list[str]] = {}
    for rows, words in ((dense, "above real images'"), (near, f"under {NEAR:g} of real images'")):
        for key, cells in rows.groupby(["method", "nfe_budget", "level"]):
            if cells["so"].all() and (rows is dense or len(cells) == 2):
                told.setdefault(key, []).append(f"{', '.join(cells['told'])}, {words}")
    return {key: f"smooth: {'; '.join(parts)}" for key, parts in told.items()}


def _beside_real(metrics: pd.DataFrame, kind: str, reference: str) -> pd.DataFrame:
    """Pooled rows of a kind of metric, with real images' value and ends, the level as a key, and both as text."""
    alike = [metric for metric in metrics["metric"].unique() if stem(metric) == kind]
    rows = metrics[metrics["metric"].isin(alike) & (metrics["reference"] == reference) & metrics["value"].notna()]
    real = rows[rows["method"] == REAL[reference]].set_index("metric")
    rows = rows[~rows["method"].isin(FLOORS) & rows["metric"].isin(real.index)]
    ends = {name: rows["metric"].map(real[end]) for name, end in BESIDE.items()}
    told = [f"{files.printed_name(row['metric'])} {row['value']:.3f}" for row in files.records(rows)]
    return rows.assign(**ends, level=rows["sigma_start"].map(sigma_key), told=told)
