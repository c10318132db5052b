"""The verdicts of the copying audit on every cell of a run."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from dpmot import results
from dpmot.evaluation.copying import estimate
from dpmot.experiment.stages._prepared import Part
from dpmot.results import POOLED, REAL_BESIDE, SKIPPED
from dpmot.statistics.audit import RANKED, SETS, UNKNOWN, judge, shown

if TYPE_CHECKING:
    from dpmot.experiment.plan import Experiment

STORED = {"A": "train", "C": "test"}


def verdicts(
    experiment: "Experiment", metrics: pd.DataFrame, parts: Mapping[str, Part], unsolved: Mapping
) -> pd.DataFrame:
    """One row per pooled cell: its verdict, and the reasons for it.

    Where held-out images would be marked themselves, the splits are not exchangeable, and shares tell nothing.
    """
    rows = []
    real = {name: metrics[metrics.method == other] for name, other in REAL_BESIDE.items()}
    floors = {name: estimate(rows_of, results.COPIES, name) for name, rows_of in real.items()}
    unlike = {name: floor for name, floor in floors.items() if floor and floor.low > experiment.copying_tolerance}
    told = [
        f"real images of another split are copies of {SETS[name]} ones themselves, {shown(floor)}: shares tell nothing"
        for name, floor in unlike.items()
    ]
    pooled = metrics[(metrics.sample_seed == POOLED) & (metrics.metric != SKIPPED) & (metrics.start != "data")]
    for (method, budget, sigma), cell in pooled.groupby(
        ["method", "nfe_budget", "sigma_start"], sort=False, dropna=False
    ):
        split = experiment.methods[str(method)].split
        copies = {name: estimate(cell, results.COPIES, name) for name in SETS if name not in unlike}
        verdict = judge(
            {name: share for name, share in copies.items() if share is not None},
            num_samples=int(cell.num_samples.max()),
            tolerance=experiment.copying_tolerance,
            recovery=estimate(cell, results.RECOVERY, STORED[split]),
            num_sources=experiment.num_atoms or len(parts[split].raw),
            unsolved=unsolved[method].get(f"{budget}/{sigma:.6g}"),
            sets=[name for name in SETS if name not in unlike],
        )
        word = UNKNOWN if told and verdict.ranked else verdict.word
        rows.append([method, budget, sigma, word, word == RANKED, "; ".join([*verdict.reasons, *told])])
    return pd.DataFrame(rows, columns=results.AUDIT.columns)
