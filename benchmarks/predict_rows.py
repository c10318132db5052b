"""The rows of `benchmarks.predict`: a prediction beside a measurement, and the csv file that keeps them."""

import argparse
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from dpmot import results
from dpmot.runtime.files import atomic
from dpmot.statistics.jackknife import Estimate
from dpmot.theory.recovery import Recovery, Stored

BY_POSTERIOR = "posterior draws"


@dataclass(frozen=True)
class Row:
    """A prediction beside a measurement, shares in 0..1 and nats, with 95 % intervals."""

    dataset: str
    num_images: int
    dim: int
    log_images: float
    chance: float
    sigma: float
    law: str
    by: str
    num_latents: int
    num_samples: int
    predicted: float
    predicted_low: float
    predicted_high: float
    measured: float
    low: float
    high: float
    difference: float
    difference_low: float
    difference_high: float
    information: float
    population: float
    population_low: float
    population_high: float


@dataclass(frozen=True)
class Measured:
    """A measured share, what measured it, of how many samples.

    Attributes:
        apart: less what was predicted of the same latents; None of others.
    """

    law: str
    by: str
    share: Estimate
    num_samples: int
    apart: Estimate | None = None


def by_ode(nfe: int) -> str:
    """What measures the recovery of the exact flow."""
    return f"ideal denoiser, DDIM, NFE {nfe}"


def row_of(name: str, stored: Stored, told: Recovery, bound: Estimate, latents: int, one: Measured) -> Row:
    """The prediction of the law that a measurement follows (of networks: the exact flow) beside it."""
    predicted = told.posterior if one.law == "posterior" else told.ode
    return Row(
        dataset=name,
        num_images=len(stored),
        dim=stored.images[0].numel(),
        log_images=stored.entropy,
        chance=stored.chance,
        sigma=told.sigma,
        law=one.law,
        by=one.by,
        num_latents=latents,
        num_samples=one.num_samples,
        predicted=predicted.value,
        predicted_low=predicted.low,
        predicted_high=predicted.high,
        measured=one.share.value,
        low=one.share.low,
        high=one.share.high,
        **(apart(one.share, predicted) if one.apart is None else columns(one.apart)),
        information=told.information.value,
        population=bound.value,
        population_low=bound.low,
        population_high=bound.high,
    )


def with_networks(rows: list[Row], networks: list[tuple[float, Measured]]) -> list[Row]:
    """Rows of predictions, and beside those of the exact flow what networks do from their levels."""
    found = list(rows)
    for told in [row for row in rows if row.law == "ode"]:
        predicted = Estimate(told.predicted, told.predicted_low, told.predicted_high)
        for one in (one for level, one in networks if abs(level - told.sigma) < 1e-4 * told.sigma):
            measured = {"law": one.law, "by": one.by, "num_samples": one.num_samples, "measured": one.share.value}
            ends = {"low": one.share.low, "high": one.share.high}
            found.append(replace(told, **measured, **ends, **apart(one.share, predicted)))
    return found


def apart(share: Estimate, predicted: Estimate) -> dict[str, float]:
    """Columns of what was measured minus what was predicted, which are independent."""
    down = np.hypot(share.value - share.low, predicted.high - predicted.value)
    up = np.hypot(share.high - share.value, predicted.value - predicted.low)
    found = share.value - predicted.value
    return columns(Estimate(found, float(found - down), float(found + up)))


def columns(difference: Estimate) -> dict[str, float]:
    """Of a row."""
    return {
        "difference": difference.value,
        "difference_low": difference.low,
        "difference_high": difference.high,
    }


@dataclass(frozen=True)
class Known:
    """What a file has, by the keys of levels.

    Attributes:
        rows: of posterior draws and of the ideal denoiser, where both are there and were made with these options.
        bounds: on the information of the population, which is one for all N of a data set.
    """

    rows: dict[str, list[Row]]
    bounds: dict[str, Estimate]

    @classmethod
    def of(cls, path: Path | None, name: str, number: int, options: argparse.Namespace) -> "Known":
        """Of these images; nothing where there is no file."""
        if path is None or not path.is_file():
            return cls({}, {})
        table = pd.read_csv(path)
        every = [Row(**row) for row in results.records(table[table["dataset"] == name])]
        ends = ("population", "population_low", "population_high")
        bounds = {results.sigma_key(row.sigma): Estimate(*(getattr(row, end) for end in ends)) for row in every}
        how = {"posterior": BY_POSTERIOR, "ode": by_ode(options.nfe)}
        rows: dict[str, list[Row]] = {}
        for row in every:
            made = (row.num_images, row.num_latents, row.num_samples) == (number, options.samples, options.samples)
            if made and how.get(row.law) == row.by:
                rows.setdefault(results.sigma_key(row.sigma), []).append(row)
        return cls({key: some for key, some in rows.items() if len(some) == len(how)}, bounds)


def _keys(table: pd.DataFrame) -> list[tuple[str, int, str]]:
    """Data set, images and level, as the file keeps it."""
    return [(str(name), int(number), f"{sigma:.6g}") for name, number, sigma in table.itertuples(index=False)]


def write(path: Path, rows: list[Row]) -> None:
    """The file with these rows in the place of those of the same images and levels."""
    table = pd.DataFrame([asdict(row) for row in rows])
    keys = ["dataset", "num_images", "sigma"]
    if path.is_file():
        before = pd.read_csv(path)
        new = set(_keys(table[keys]))
        kept = [key not in new for key in _keys(before[keys])]
        table = pd.concat([before[kept], table])
    table = table.sort_values([*keys, "law", "by"], kind="stable")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")
