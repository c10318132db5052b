"""Is source recovery what images alone predict, of posterior draws, of the ideal denoiser's DDIM, of trained networks?

predicted   `dpmot.theory.recovery`: the mean over latents of sum_j p_j^2, and of p_T at the end T of the exact flow.
measured    on the same latents, of whose images the prediction has not asked:
            posterior   an image drawn from the posterior: is it the one behind the latent?
            ode         `dpmot.sample` with the ideal denoiser and DDIM, judged as the audit judges, in pixels.
            network     the committed experiments' rows of starts of images, and their selections of sigma_M*: of other
                        latents.

The difference of the first two is of pairs, latent by latent, which spares it the variance of the latents.
Samples of a stored latent are not independent: n of them, drawn with replacement from N, hold 1/(1/n + 1/N) independent
ones or more, and intervals of networks' rows are of so many, but for fresh noise and selections, which have it too.

Writes a row for each level, law and source of the measurement, after each level. What the csv file has of the same
images and level, made with the same options, is not made again, but for networks' rows, which are read anew.

example: python -m benchmarks.predict digits gaussians --csv results/reference/laws/recovery.csv
         python -m benchmarks.predict digits --networks --csv results/reference/laws/recovery.csv
         DPMOT_DATA=data python -m benchmarks.predict fashion_mnist:1000 fashion_mnist:10000 --samples 400
         DPMOT_DATA=data python -m benchmarks.predict fashion_mnist:50000 cifar10:1000 cifar10:5000 cifar10:50000
"""

import argparse
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.predict_rows import BY_POSTERIOR, Known, Measured, Row, by_ode, row_of, with_networks, write
from dpmot import plugins, results, sample
from dpmot.features import pixels
from dpmot.images import to_float
from dpmot.metrics import recovery as metric
from dpmot.statistics.jackknife import Estimate, mean_interval, share_interval
from dpmot.theory import information
from dpmot.theory.recovery import Recovery, Stored, of_each, share, unseen

REFERENCE = plugins.ROOT / "results" / "reference"
EXPERIMENTS = {  # images -> committed experiments whose starts are made of them
    ("digits", 599): ("digits",),
    ("fashion_mnist", 10_000): ("fashion_mnist",),
    ("fashion_mnist", 50_000): ("fashion_mnist_atoms",),
}
LEVELS = {
    "digits": (0.139516, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.256822, 5.0, 10.0),
    "gaussians": (0.005, 0.02, 0.05, 0.2),
    "fashion_mnist": (0.139516, 1.0, 2.0, 3.256822, 5.0, 10.0),
    "cifar10": (0.139516, 1.0, 2.0, 3.256822, 5.0, 10.0),
}
FRESH = "fresh_noise"  # the start whose every sample has noise of its own
STARTS = ("copy", "transport", FRESH)


@cache
def population(name: str, levels: tuple[float, ...]) -> list[Estimate]:
    """The bound on the population's information, of all images of a data set: one for every N."""
    return information.population(torch.from_numpy(plugins.find("data", name).load().images), levels, seed=0)


def images_of(case: str) -> tuple[str, Tensor]:
    """Name and the stored images in [-1, 1] of a case as "fashion_mnist:1000".

    Split A gives the images; where it has fewer than are asked for, split B gives the rest.
    """
    name, _, number = case.partition(":")
    data = plugins.find("data", name).load()
    order = np.concatenate([np.flatnonzero(data.split == part) for part in "AB"])
    count = int(number) if number else int((data.split == "A").sum())
    if count > len(order):
        raise SystemExit(f"predict: {case}: splits A and B hold {len(order)} images")
    stored = torch.from_numpy(data.images[order[:count]])
    return name, to_float(stored) if stored.dtype == torch.uint8 else stored


def simulated(stored: Stored, sigma: float, number: int, nfe: int) -> tuple[Recovery, list[Measured]]:
    """What is predicted of latents, and posterior draws and samples of the ideal denoiser by DDIM of the same ones."""
    source, noise = stored.latents(number, 0)
    x = stored.images[source] + sigma * noise
    told, own = of_each(stored, source, noise, sigma), stored.group[source]
    draw = torch.Generator().manual_seed(1)
    found = [
        torch.multinomial(stored.ideal.weights(x[few], sigma), 1, generator=draw)[:, 0]
        for few in torch.arange(number).split(256)
    ]
    drawn = sample(stored.ideal, x, "ddim", nfe, sigma=sigma)
    if stored.images.ndim == 4:
        train, generated = pixels.extract(as_stored(stored.images)), pixels.extract(drawn.images)
        ((_, back),) = metric.pointwise(replace(generated, source=source.numpy()), {"train": train}).items()
    else:
        near = torch.cdist(drawn.x0.double(), stored.images.double()).argmin(1)
        back = (stored.group[near] == own).numpy()
    predicted = Recovery(sigma, share(told.drawn), share(told.ended), mean_interval(told.known))
    return predicted, [
        of_pairs("posterior", BY_POSTERIOR, (stored.group[torch.cat(found)] == own).numpy(), told.drawn),
        of_pairs("ode", by_ode(nfe), back, told.ended),
    ]


def of_pairs(law: str, by: str, back: np.ndarray, predicted: np.ndarray) -> Measured:
    """Which latents gave their image back, bool (n,), beside the chance that was predicted of each."""
    difference = unseen(mean_interval(back - predicted), len(back), least=-1.0)
    return Measured(law, by, mean_interval(back), len(back), difference)


def as_stored(images: Tensor) -> Tensor:
    """Floats in [-1, 1] as the uint8 images that they were."""
    return ((images + 1) * 127.5).round().to(torch.uint8)


def committed(name: str, number: int) -> Iterator[tuple[float, Measured]]:
    """Levels and measured recovery of trained networks, from starts made of these images."""
    for experiment in EXPERIMENTS.get((name, number), ()):
        folder = REFERENCE / experiment
        rows = results.read(folder / "metrics.csv", results.METRICS)
        kept = (rows["metric"] == results.RECOVERY) & (rows["reference"] == "train")
        kept &= rows["sample_seed"].eq(results.POOLED) & rows["start"].isin(STARTS) & rows["value"].notna()
        kept &= rows["sampler"].eq("ddim") & rows["num_samples"].astype(int).lt(10_000)
        for row in results.records(rows[kept]):
            count = int(row["num_samples"])
            share = of_stored(row["value"], count, number)
            if row["start"] == FRESH:
                share = Estimate(row["value"], row["low"], row["high"])
            by = f"{row['method']}: {row['network']}, {row['start']}, DDIM, NFE {row['nfe_counted']} ({experiment})"
            yield row["sigma_start"], Measured("network", by, share, count)
        for trial in results.read_json(folder / "star.json")["rows"] if (folder / "star.json").is_file() else ():
            by = f"selection, NFE {trial['nfe']} ({experiment})"
            share = Estimate(*trial["recovery"])  # every sample of a selection has noise of its own
            yield trial["sigma"], Measured("network", by, share, trial["num_samples"])


def of_stored(share: float, count: int, number: int) -> Estimate:
    """A share of ``count`` samples whose starts were drawn with replacement from ``number`` stored latents.

    Of equal starts the samples are equal, so the variance is at most p (1 - p) (1/n + 1/N): the exact binomial interval
    of 1 / (1/n + 1/N) independent samples.
    """
    units = 1 / (1 / count + 1 / number)
    return share_interval(min(share * units, units), units)  # type: ignore[arg-type]


def rows_of(case: str, options: argparse.Namespace) -> Iterator[list[Row]]:
    """All rows of one case, level by level; what --csv has of a level, made as now, is read and not made again."""
    name, images = images_of(case)
    known, networks = Known.of(options.csv, name, len(images), options), list(committed(name, len(images)))
    levels = options.sigmas or sorted({*LEVELS[name], *(round(sigma, 6) for sigma, _ in networks if sigma > 0.1)})
    bounds = known.bounds | asked(name, [one for one in levels if results.sigma_key(one) not in known.bounds])
    stored = None
    for sigma in tqdm(levels, desc=case, mininterval=10):
        key = results.sigma_key(sigma)
        if key in known.rows:
            yield with_networks(known.rows[key], networks)
            continue
        stored = stored or Stored(images)
        told, found = simulated(stored, sigma, options.samples, options.nfe)
        rows = [row_of(name, stored, told, bounds[key], options.samples, one) for one in found]
        yield with_networks(rows, networks)


def asked(name: str, levels: list[float]) -> dict[str, Estimate]:
    """The bound on the population's information at levels, by their keys."""
    found = population(name, tuple(levels)) if levels else []
    return {results.sigma_key(level): one for level, one in zip(levels, found, strict=True)}


def networks_anew(case: str, path: Path) -> list[Row]:
    """All rows that a file has of a case, those of networks read again: nothing is predicted or simulated.

    A level of the networks at which the file holds no prediction of the exact flow is left out.
    """
    name, images = images_of(case)
    table = pd.read_csv(path)
    own = table[(table["dataset"] == name) & (table["num_images"] == len(images)) & (table["law"] != "network")]
    return with_networks([Row(**row) for row in results.records(own)], list(committed(name, len(images))))


def main() -> None:
    """Predict, measure, print the largest difference of each law, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="+", metavar="DATASET[:N]", help=f"{', '.join(LEVELS)}; N images, default A's")
    parser.add_argument("--sigmas", type=float, nargs="+", help="levels (default: those of the data set)")
    parser.add_argument("--samples", type=int, default=2500, help="latents, and samples of them (default %(default)s)")
    parser.add_argument("--nfe", type=int, default=30, help="of the ideal denoiser's DDIM (default %(default)s)")
    parser.add_argument("--csv", type=Path, help="write the rows there")
    parser.add_argument("--networks", action="store_true", help="read networks' rows of --csv anew, and nothing else")
    options = parser.parse_args()
    if options.networks and not (options.csv and options.csv.is_file()):
        parser.error("--networks needs the file whose rows it replaces: --csv FILE")
    torch.set_num_threads(1)
    for case in options.cases:
        rows = []
        for some in [networks_anew(case, options.csv)] if options.networks else rows_of(case, options):
            rows += some
            if options.csv:
                write(options.csv, some)  # level by level: an interrupted run goes on after the last one
        table = pd.DataFrame([asdict(row) for row in rows])
        shown = ["sigma", "law", "by", "predicted", "measured", "difference", "difference_low", "difference_high"]
        print(table[shown].to_string(float_format="{:.4g}".format), flush=True)
        for law, some in table.groupby("law"):
            print(f"{case}, {law}: largest difference {some['difference'].abs().max():.4f}", flush=True)


if __name__ == "__main__":
    main()
