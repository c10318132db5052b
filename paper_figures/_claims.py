"""Which of two methods is better: what a table of one training claims, and whether other trainings say so too.

A *claim* is a pair of ranked cells of one NFE budget, metric and reference whose difference a page shows: its paired
jackknife test, Holm-corrected over all pairs of the metric, has p <= .05. Of T trainings, with the claims C_t of each,

    again        = mean over ordered pairs t != u of |C_t and C_u| / |C_t|,
    confirmed    = mean over t of |C_t and C| / |C_t|,    C: the claims of all T, whose units are trainings,

and where a claim of t is not made again at u, the difference there has the same sign, the other sign, is *shown* with
the other sign, or one of the two is unranked. Intervals leave out one training after the other.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from math import nan
from typing import Any

import numpy as np
import pandas as pd

from dpmot.results import PLAIN, fact, records, stem
from dpmot.statistics.jackknife import Estimate, interval
from paper_figures._long_form import has_best, long_form, ranked_cells
from paper_figures._paired import ALPHA, differences
from paper_figures._results import Results
from paper_figures._retrained import of_training

MIXTURE = "mmr_0.1"  # of its thresholds, the one that Table 5 compares
SAME, OTHER, REVERSED, MISSING = "same sign", "other sign", "shown the other way", "unranked"
Pair = tuple[str, str, str]  # methods and NFE budget
Signs = Mapping[Pair, tuple[float, bool]]  # pair -> first minus second where less is better; whether it is shown


def asked(results: Results) -> list[tuple[str, str]]:
    """(metric, reference) of which tables say what is better: against images held out, or against none."""
    rows = results.metrics[results.metrics["value"].notna() & results.metrics["reference"].isin(["test", "none"])]
    known = dict.fromkeys(zip(rows["metric"], rows["reference"], strict=True))
    return [
        (metric, reference)
        for metric, reference in known
        if has_best(metric) and fact(metric).replicates and not metric.startswith(PLAIN)
        if stem(metric) != "mmr" or metric == MIXTURE
    ]


def claims(results: Results, wanted: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Signs]:
    """What a page of these results says of every pair of ranked cells, by metric and reference."""
    cells = ranked_cells(long_form(results, wanted), results)
    found: dict[tuple[str, str], Signs] = {}
    for metric, reference in wanted:
        panel = cells[(cells["metric"] == metric) & (cells["reference"] == reference)]
        rows = [records(part) for _, part in panel.groupby("nfe_budget", sort=False)]
        pairs = [pair for column in rows for pair in combinations(column, 2)]
        columns = ["method", "nfe_budget", "difference", "p", "p_holm"]
        table = differences(results, pairs, columns).assign(other=[other["method"] for _, other in pairs])
        sign = -1 if fact(metric).direction == "higher" else 1
        found[metric, reference] = {
            (row["method"], row["other"], row["nfe_budget"]): (sign * row["difference"], row["p_holm"] <= ALPHA)
            for row in records(table[table["p"].notna()])
        }
    return found


@dataclass(frozen=True)
class Survival:
    """What becomes of the claims of one training at the others, for one metric.

    Attributes:
        metric, reference: what is compared; "" of all together.
        pairs, made: pairs of ranked cells and claims of a table of one training, in the mean.
        again, confirmed: shares of its claims that another training makes too, and that all together make.
        otherwise: shares of those not made again: SAME, OTHER, REVERSED, MISSING.
        found: share of the claims of all trainings that a table of one makes.
    """

    metric: str
    reference: str
    pairs: float
    made: float
    again: Estimate
    confirmed: Estimate
    otherwise: Mapping[str, float]
    found: float

    def record(self) -> dict[str, Any]:
        """As a row of a csv."""
        ends = {"": "value", "_low": "low", "_high": "high"}
        shares = {
            f"{name}{end}": getattr(getattr(self, name), of)
            for name in ("again", "confirmed")
            for end, of in ends.items()
        }
        told = {f"not_again_{word.replace(' ', '_')}": share for word, share in self.otherwise.items()}
        first = {"metric": self.metric, "reference": self.reference, "pairs": self.pairs, "claims": self.made}
        return {**first, **shares, **told, "found": self.found}


def survival(results: Results) -> list[Survival]:
    """Each metric, and all together last; none where no method was trained more than once."""
    wanted = asked(results)
    if not results.each.repeated or not wanted:
        return []
    whole = claims(results, wanted)
    single = [claims(of_training(results, seed), wanted) for seed in results.experiment.trainings]
    found = [_of_metric(*key, [one[key] for one in single], whole[key]) for key in wanted]
    joined = [_together(one) for one in single]
    return [one for one in [*found, _of_metric("", "", joined, _together(whole))] if one.pairs]


def _together(by_metric: Mapping[tuple[str, str], Signs]) -> Signs:
    return {
        (f"{'/'.join(key)}/{a}", f"{'/'.join(key)}/{b}", nfe): sign
        for key, signs in by_metric.items()
        for (a, b, nfe), sign in signs.items()
    }


def _of_metric(metric: str, reference: str, single: Sequence[Signs], whole: Signs) -> Survival:
    fates = list(_fates(single))
    mean = _mean_of(fates)
    confirmed = [_share(_made(one), lambda claim: claim in _made(whole)) for one in single]
    among = _made(whole)
    return Survival(
        metric,
        reference,
        float(np.mean([len(one) for one in single])),
        float(np.mean([len(_made(one)) for one in single])),
        _jackknifed(len(single), lambda kept: mean(kept, "again")),
        _jackknifed(len(single), lambda kept: _mean([confirmed[t] for t in kept])),
        {word: mean(range(len(single)), word) for word in (SAME, OTHER, REVERSED, MISSING)},
        _mean([_share(among, _made(one).__contains__) for one in single]),
    )


def _made(signs: Signs) -> set[tuple[Pair, bool]]:
    """The claims: a pair, and whether its first method is the better one."""
    return {(pair, difference < 0) for pair, (difference, shown) in signs.items() if shown}


def _fates(single: Sequence[Signs]) -> Iterator[tuple[int, int, dict[str, float]]]:
    """(t, u, shares of what becomes of the claims of t at u), of each ordered pair of trainings."""
    for t, u in permutations(range(len(single)), 2):
        made = _made(single[t])
        fates = [_fate(pair, first, single[u]) for pair, first in made]
        if made:
            yield t, u, {word: fates.count(word) / len(made) for word in ("again", SAME, OTHER, REVERSED, MISSING)}


def _fate(pair: Pair, first: bool, signs: Signs) -> str:
    if pair not in signs:
        return MISSING
    difference, shown = signs[pair]
    if (difference < 0) == first:
        return "again" if shown else SAME
    return REVERSED if shown else OTHER


def _mean_of(fates: Sequence[tuple[int, int, Mapping[str, float]]]) -> Callable[[Any, str], float]:
    """The mean share of a word over ordered pairs of the trainings that are kept."""
    return lambda kept, word: _mean([told[word] for t, u, told in fates if t in kept and u in kept])


def _share(among: set, of: Callable[[Any], bool]) -> float:
    return sum(map(of, among)) / len(among) if among else nan


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if value == value]
    return float(np.mean(known)) if known else nan


def _jackknifed(trainings: int, of: Callable[[Any], float]) -> Estimate:
    """A share with the interval of leaving out one training after the other; NaN where too few make claims."""
    full = of(range(trainings))
    parts = np.array([of([t for t in range(trainings) if t != left]) for left in range(trainings)])
    if not (np.isfinite(full) and np.isfinite(parts).all()):
        return Estimate(full, nan, nan)
    found = interval(full, parts, debias=False)
    return Estimate(full, max(0.0, found.low), min(1.0, found.high))


def table_of(found: Sequence[Survival]) -> pd.DataFrame:
    """Survival as rows."""
    return pd.DataFrame([one.record() for one in found])
