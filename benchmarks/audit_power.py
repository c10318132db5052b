"""Does the audit find copies, and does it leave honest rows alone? Share of draws marked, by kind and share of copies.

Pools are made once and kept: honest samples and copies of each kind, and their nearest registered real images. A draw
of a row is some of them, none twice where there are enough, so the table takes minutes, and draws of a row as large as
its pool are all one. The real images are split A (train), C (test) and B, which no method copies: it tells what being
near by chance looks like. Honest real images are searched for among the others.

example: python -m benchmarks.audit_power digits --folder pools --csv power.csv
         python -m benchmarks.audit_power fashion_mnist --folder pools --honest 4000 --copies 2000
"""

import argparse
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import affine_transform, gaussian_filter, rotate
from tqdm import tqdm

from dpmot import plugins, seeds
from dpmot.data import DataSet
from dpmot.experiment.config import load
from dpmot.experiment.jobs import Jobs
from dpmot.experiment.layout import Layout
from dpmot.experiment.plan import Experiment
from dpmot.experiment.stages import fit, prepare, sample
from dpmot.metrics import _registered
from dpmot.metrics.copies import ROLES, Copies
from dpmot.statistics.copies import Ratios, Share

SAMPLE_SEED = 1000  # no table reports it
NETWORK = {  # honest family -> (method of config/<data set>.yaml, NFE)
    "ddpm, NFE 5": ("ddpm", 5),
    "ddim, NFE 5": ("ddim", 5),
    "gaussian start, NFE 5": ("gaussian_edm_ddim", 5),
    "ipndm, NFE 50": ("edm_ipndm", 50),
    "ddim, NFE 50": ("ddim", 50),
    "edm, NFE 50": ("edm", 50),
}
MIXTURE = {"mixture start, NFE 5": ("mixture_10", 5)}  # the same, of config/*mixture.yaml
MIXTURES = {"digits": "mixture", "fashion_mnist": "fashion_mnist_mixture"}  # data set -> that configuration
STARTS = {  # methods that start at noised training images, copies by construction as far as the noise lets them
    "copy start, edm, NFE 5": ("copy_edm_ddim", 5),
    "copy start, edm, NFE 10": ("copy_edm_ddim", 10),
}
REAL = ("held-out", "held-out, shrunk", "held-out, blurred")
HONEST = {**NETWORK, **MIXTURE}
DRAWN = {**HONEST, **STARTS}
NOISY = ("noisy .1", "noisy .2", "noisy .4")
CHANGED = ("moved", "mirrored", "inverted", "contrast", "brightness", "blurred", "mirrored, moved, contrast, noisy .1")
NOT_SEARCHED = ("rotated 10", "zoomed 1.1")  # degrees, times: what the search does not know
KINDS = ("exact", *NOISY, *CHANGED, *NOT_SEARCHED)
SAMPLES = {"digits": 1500, "fashion_mnist": 2000}  # of a row
TOLERANCE = 0.01  # a row whose lower end lies above it is marked
SHARES = (0.1, 0.3, 1.0)
BASES = ("held-out", "ddim, NFE 50", "ddpm, NFE 5")  # honest samples that copies hide among
OF_TEST = ("exact", "noisy .2", "moved")  # kinds of which there are copies of C too


@dataclass(frozen=True, eq=False)
class Real:
    """The real images of a data set, in the order A, B, C."""

    name: str
    images: np.ndarray
    labels: np.ndarray
    part: np.ndarray

    @classmethod
    def of(cls, data: DataSet) -> "Real":
        """From the three parts."""
        parts = {name: data.part(name) for name in "ABC"}
        images, labels = (np.concatenate([parts[name][i] for name in "ABC"]) for i in (0, 1))
        return cls(data.name, images, labels, np.repeat(list("ABC"), [len(parts[name][0]) for name in "ABC"]))

    @property
    def splits(self) -> dict[str, np.ndarray]:
        """Split -> its images."""
        return {name: self.images[self.part == name] for name in "ABC"}

    def rows(self, parts: str, count: int, *purpose: str) -> np.ndarray:
        """So many rows of some parts, each at most once."""
        rows = np.flatnonzero(np.isin(self.part, list(parts)))
        draw = seeds.generator(0, "audit power", self.name, *purpose)
        return draw.permutation(rows)[:count]


def changed(kind: str, images: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Copies of a kind of images, uint8 (n, C, H, W)."""
    if ", " in kind:
        for one in kind.split(", "):
            images = changed(one, images, draw)
        return images
    n, side = len(images), images.shape[-1]
    each = (n, 1, 1, 1)
    x = images.astype(np.float64)
    if kind.startswith("noisy"):
        x = x + 127.5 * float(kind.split()[1]) * draw.standard_normal(x.shape)
    elif kind == "moved":
        most = 1 if side < 16 else 2
        steps = [(i, j) for i in range(-most, most + 1) for j in range(-most, most + 1) if (i, j) != (0, 0)]
        chosen = draw.integers(len(steps), size=n)
        x = np.concatenate([_registered.moved(x[i : i + 1], *steps[chosen[i]], mode="constant") for i in range(n)])
    elif kind == "contrast":
        x = 127.5 + draw.uniform(0.4, 0.8, each) * (x - 127.5)
    elif kind == "brightness":
        x = x + 255 * draw.choice([-1, 1], each) * draw.uniform(0.1, 0.3, each)
    elif kind == "blurred":
        x = gaussian_filter(x, (0, 0, *[0.7 if side < 16 else 1.0] * 2), mode="nearest")
    elif kind.startswith("rotated"):
        x = rotate(x, float(kind.split()[1]), axes=(2, 3), reshape=False, order=1, mode="nearest")
    elif kind.startswith("zoomed"):
        scale, middle = float(kind.split()[1]), (side - 1) / 2
        matrix, offset = [1, 1, 1 / scale, 1 / scale], [0, 0, *[middle - middle / scale] * 2]
        x = affine_transform(x, matrix, offset, order=1, mode="nearest")
    elif kind == "mirrored":
        x = x[..., ::-1]
    elif kind == "inverted":
        x = 255 - x
    return x.clip(0, 255).round().astype(np.uint8)


def prepared(folder: Path, experiment: Experiment, network: str) -> Layout:
    """A folder with an experiment's prepared data and one of its committed networks."""
    layout = Layout(folder / "run")
    if not layout.data.exists():
        prepare.run(Jobs(experiment, layout).prepare(), layout)
    weights = layout.network(network)
    if not weights.exists():
        weights.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(plugins.ROOT / "results" / "reference" / experiment.dataset / "weights" / weights.name, weights)
    return layout


@cache
def configured(name: str, dataset: str) -> Experiment:
    """The experiment that a family's method is of."""
    return load([str(plugins.ROOT / "config" / f"{MIXTURES[dataset] if name in MIXTURE else dataset}.yaml")])


def sampled(folder: Path, experiment: Experiment, method: str, nfe: int, count: int) -> np.ndarray:
    """Samples of a method of the data set's experiment, from its committed networks."""
    planned = experiment.methods[method].but(sample_seeds=(SAMPLE_SEED,), nfe_budgets=(nfe,))
    layout = prepared(folder, experiment, planned.network)
    jobs = Jobs(experiment.but(methods={method: planned}, num_samples=count), layout)
    job = jobs.sample(method)
    for name in jobs.fits:
        if not layout.fit(name).exists():
            fit.run(jobs.fit(name), layout)
    drawn, _ = sample.LoadedMethod.load(job, layout).draw(job.task.cells[0])
    return drawn["images"].numpy()


def family(name: str, real: Real, folder: Path, options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Images of a family and the rows of the gallery that they are, or copy; -1 for none."""
    draw = seeds.generator(0, "audit power", real.name, name, "change")
    if name in DRAWN:
        method, nfe = DRAWN[name]
        file = folder / "images" / f"{method}_{nfe}.npy"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            count = options.honest if name in HONEST else options.copies
            np.save(file, sampled(folder, configured(name, real.name), method, nfe, count))
        images = np.load(file)[: options.honest]
        return images, np.full(len(images), -1)
    if name in REAL:
        rows = real.rows("A", options.honest, "real")
        x = real.images[rows]
        if name == "held-out, shrunk":
            means = np.stack([real.images[real.labels == k].mean(axis=0) for k in range(real.labels.max() + 1)])
            x = (0.8 * x + 0.2 * means[real.labels[rows]]).round().astype(np.uint8)
        elif name == "held-out, blurred":
            x = changed("blurred", x, draw)
        return x, rows
    kind, _, part = name.removeprefix("copy, ").rpartition(" of ")
    rows = seeds.generator(0, "audit power", real.name, name).choice(np.flatnonzero(real.part == part), options.copies)
    return changed(kind, real.images[rows], draw), rows


def families(dataset: str) -> list[str]:
    """Every pool, those that the table needs most first."""
    drawn = [name for name, (method, _) in DRAWN.items() if method in configured(name, dataset).methods]
    copies = [f"copy, {kind} of A" for kind in KINDS] + [f"copy, {kind} of C" for kind in OF_TEST]
    return [*REAL, *copies, *drawn]


def pools(real: Real, folder: Path, options: argparse.Namespace) -> Mapping[str, tuple[_registered.Found, ...]]:
    """The nearest images of every family, made where they are not there yet."""
    found: dict[str, tuple[_registered.Found, ...]] = {}
    prepared = None
    for name in tqdm(families(real.name), mininterval=5):
        file = folder / "found" / f"{name}.npz"
        if not file.exists():
            prepared = prepared or Copies(real.splits)
            images, rows = family(name, real, folder, options)
            start = time.perf_counter()
            spaces = prepared.nearest(images, rows if name in REAL else None)  # real ones are changed, or not
            seconds = time.perf_counter() - start
            print(f"{real.name}, {name}: {len(images)} searched in {seconds:.0f} s", flush=True)
            columns = {f"{i}/{f.name}": getattr(one, f.name) for i, one in enumerate(spaces) for f in fields(one)}
            file.parent.mkdir(parents=True, exist_ok=True)
            np.savez(file, rows=rows, seconds=seconds, **columns)
        with np.load(file) as stored:
            found[name] = tuple(
                _registered.Found(*(stored[f"{i}/{f.name}"] for f in fields(_registered.Found)))
                for i in range(len(_registered.SPACES))
            )
    return found


def taken(spaces: tuple[Ratios, ...], rows: np.ndarray) -> tuple[Ratios, ...]:
    """Some samples, one of them as often as it is named."""
    return tuple(Ratios(one.ratio[rows], one.nearest[rows], one.part[rows]) for one in spaces)


def mixed(parts: list[tuple[tuple[Ratios, ...], int]], draw: np.random.Generator) -> list[Ratios]:
    """So many samples of each pool, none twice where the pool has so many.

    Samples that are there twice share a nearest image and count as one observation, so the audit would be asked about
    fewer samples than a row has, and would mark too seldom.
    """

    def rows(pool: int, count: int) -> np.ndarray:
        return draw.choice(pool, count, replace=count > pool)

    drawn = [taken(spaces, rows(len(spaces[0].ratio), count)) for spaces, count in parts if count]
    return [
        Ratios(*(np.concatenate([getattr(one[i], f.name) for one in drawn]) for f in fields(Ratios)))
        for i in range(len(drawn[0]))
    ]


def row(parts: list, copies: Copies, draws: int, truth: dict[str, float], *key: str) -> dict:
    """Draws of one row: how many are marked, and the means of value and ends of the interval, towards train and test.

    ``covered`` is how many of both intervals hold the ``truth``.
    """
    shares: dict[str, list[Share]] = {role: [] for role in ROLES}
    start = time.perf_counter()
    for k in range(draws):
        drawn = mixed(parts, seeds.generator(0, "audit power", *key, k))
        for role, found in copies.shares_of(drawn).items():
            shares[role].append(found)
    lows = {role: np.array([one.low for one in found]) for role, found in shares.items()}
    told: dict[str, float] = {f"marked {role}": int((low > TOLERANCE).sum()) for role, low in lows.items()}
    told["marked"] = int((np.maximum(*lows.values()) > TOLERANCE).sum())
    inside = [one.low <= truth.get(role, 0.0) <= one.high for role, found in shares.items() for one in found]
    told["covered"] = round(float(np.mean(inside)), 4)
    for role, found in shares.items():
        for name in ("value", "low", "high"):
            told[f"{name} {role}"] = round(float(np.mean([getattr(one, name) for one in found])), 4)
    return {**told, "draws": draws, "seconds a draw": round((time.perf_counter() - start) / draws, 4)}


def table(real: Real, found: Mapping[str, tuple[_registered.Found, ...]], options: argparse.Namespace) -> pd.DataFrame:
    """False marks of honest families, then the power for each kind and share of copies among honest samples."""
    gallery = Copies(real.splits)
    pool = {name: gallery.ratios(spaces) for name, spaces in found.items()}
    n, rows = options.samples, []
    copies = [name for name in pool if name.startswith("copy, ")]

    def add(honest: str, name: str, part: float, parts: list, draws: int, truth: dict[str, float]) -> None:
        told = row(parts, gallery, draws, truth, real.name, honest, name, str(part))
        what = {"dataset": real.name, "n": n, "honest": honest, "copies": name, "share": part}
        rows.append({**what, "pool": len(parts[0][0][0].ratio), **told})

    for name in (name for name in pool if name not in (*copies, *STARTS)):
        add(name, "none", 0.0, [(pool[name], n)], options.false_draws, {})
    for base in (name for name in BASES if name in pool):
        for name in copies:
            for part in SHARES if base == BASES[0] else SHARES[:-1]:
                parts = [(pool[name], round(part * n)), (pool[base], n - round(part * n))]
                truth = {"train" if name.endswith("A") else "test": part}
                add(base, name.removeprefix("copy, "), part, parts, options.draws, truth)
    for name in (name for name in STARTS if name in pool):
        add("none", name, np.nan, [(pool[name], n)], options.draws, {})
    return pd.DataFrame(rows)


def main() -> None:
    """Make the pools and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", choices=tuple(SAMPLES))
    parser.add_argument("--folder", type=Path, required=True, help="keeps the pools")
    parser.add_argument("--honest", type=int, default=20_000, help="samples of an honest family")
    parser.add_argument("--copies", type=int, default=2000, help="samples of each kind of copy")
    parser.add_argument("--samples", type=int, help="samples of a row (default: as the experiment has them)")
    parser.add_argument("--draws", type=int, default=50, help="draws of a row with copies")
    parser.add_argument("--false-draws", type=int, default=200, help="draws of an honest row")
    parser.add_argument("--csv", type=Path, help="write the table there too, beside that of another data set")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.samples = options.samples or SAMPLES[options.dataset]
    real = Real.of(plugins.find("data", options.dataset).load())
    found = table(real, pools(real, options.folder / options.dataset, options), options)
    with pd.option_context("display.max_rows", None, "display.width", 200, "display.max_columns", None):
        print(found.drop(columns=["dataset", "n"]).to_string(index=False))
    if options.csv:
        options.csv.parent.mkdir(parents=True, exist_ok=True)
        if options.csv.exists():
            others = pd.read_csv(options.csv, keep_default_na=False)
            found = pd.concat([others[others["dataset"] != options.dataset], found])
        found.to_csv(options.csv, index=False)


if __name__ == "__main__":
    main()
