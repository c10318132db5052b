"""The copying audit of one set of samples: its share of copies, and the samples that are flagged."""

from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import blake2b

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dpmot import results, seeds
from dpmot.evaluation.estimates import Measurement
from dpmot.metrics import AUDITED_SPACE
from dpmot.metrics._registered import Flag, Found
from dpmot.metrics.copies import ROLES, SEARCHED, Copies
from dpmot.statistics.jackknife import Estimate, share_interval

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


def handed_back(samples: np.ndarray, real: np.ndarray) -> int:
    """How many samples are real images, to the last bit."""
    known, drawn = ([blake2b(image.tobytes(), digest_size=16).digest() for image in some] for some in (real, samples))
    there = set(known)
    return sum(key in there for key in drawn)


def estimate(rows: pd.DataFrame, metric: str, reference: str) -> Estimate | None:
    """None where it was not measured, or could not be."""
    asked = (rows.metric == metric) & (rows.reference == reference)
    found = rows.loc[asked, list(results.INTERVAL)].dropna()
    return Estimate(*found.iloc[0].astype(float)) if len(found) else None
