"""The copying audit of a run: shares of copies of each cell, the samples that are flagged, and the verdicts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dpmot import results, seeds
from dpmot.experiment.cells import AUDITED_SPACE
from dpmot.experiment.stages._estimates import Measurement
from dpmot.experiment.stages._prepared import Part
from dpmot.metrics._registered import Flag, Found
from dpmot.metrics.copies import ROLES, SEARCHED, Copies
from dpmot.results import POOLED, REAL_BESIDE, SKIPPED
from dpmot.statistics.audit import RANKED, SETS, UNKNOWN, judge, shown
from dpmot.statistics.jackknife import Estimate, share_interval

if TYPE_CHECKING:
    from dpmot.experiment.plan import Experiment

STORED = {"A": "train", "C": "test"}
FLAGS_TOLD = 100  # of a cell


def searched(copies: Copies, samples: Mapping[int, Tensor]) -> tuple[int, list[Measurement], list[list]]:
    """How many samples of all seeds were searched, their shares of copies, and the rarest flags as in copies.csv."""
    at = [(seed, row) for seed, images in samples.items() for row in _chosen(len(images), -(-SEARCHED // len(samples)))]
    found = copies.search(torch.stack([samples[seed][row] for seed, row in at]).numpy())
    told, flagged = [], copies.flags(found)
    for flag in flagged[:FLAGS_TOLD]:
        near = (flag.space, *(f"{size:.4g}" for size in (flag.distance, flag.ratio, flag.chance)))
        undone = flag.down, flag.right, flag.mirrored, flag.inverted
        told.append([*at[flag.sample], *copies.image(flag.nearest), *near, *undone])
    return len(at), shares(copies, found, flagged), told


def _chosen(n: int, most: int) -> list[int]:
    """So many of n samples, at random, in order: a method does not know which."""
    return sorted(seeds.generator(n, "searched").permutation(n)[:most].tolist())


def shares(copies: Copies, found: Sequence[Found], flagged: Sequence[Flag]) -> list[Measurement]:
    """Share of copies, and of flagged samples, towards each reference."""
    measured, splits = [], Counter(copies.image(flag.nearest)[0] for flag in flagged)
    for reference, share in copies.shares(found).items():
        marked = share_interval(splits[ROLES[reference][0]], len(found[0].ratio))
        for metric, one in ((results.COPIES, share), (results.FLAGGED, marked)):
            interval = Estimate(one.value, one.low, one.high)
            measured.append(Measurement(metric, reference, AUDITED_SPACE, one.value, np.empty(0), interval))
    return measured


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


def estimate(rows: pd.DataFrame, metric: str, reference: str) -> Estimate | None:
    """None where it was not measured, or could not be."""
    asked = (rows.metric == metric) & (rows.reference == reference)
    found = rows.loc[asked, list(results.INTERVAL)].dropna()
    return Estimate(*found.iloc[0].astype(float)) if len(found) else None
