"""The coupling of noise and samples: what optimal transport can change where the law of the samples stays the same.

x is the prior noise, T(x) the start's point, G(x) the sample behind the network. Moved noise is
x' = sqrt(1 - e^2) x + e z, z fresh, so that x' has the law of x and e = 1 is an independent noise. Measured are

    transport_cost     E |x - T(x)|^2 / 2, and independent_cost, the same for x and the point of another noise;
    cell_changes       P(x' is sent to another stored image than x), start_distance E |T(x') - T(x)|,
    sample_distance    E |G(x') - G(x)|, for each move e;
    mass_chi2          chi2 of the stored images' masses (their cells, K each), n sum p_i^2 - 1, unbiased;
    singular_share, redraws, angle      draws near the singular set, noises drawn anew a sample, mean angle;
    noise_level        the standard deviation of the starts' noise over the sigma that the network is told.

A start that does not look at the noise (copy, fresh_noise) is no map of it: with a moved noise it draws another image.
Strips are samples along the great arc cos(t) x + sin(t) x'', 0 <= t <= pi/2, which stays inside the prior's shell.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from dpmot import plugins
from dpmot import seeds as streams
from dpmot.experiment.cells import Cell
from dpmot.experiment.stages import sample
from dpmot.experiment.stages._prepared import encode
from dpmot.results import COUPLING
from dpmot.runtime.closure import code_digest
from dpmot.runtime.files import atomic
from dpmot.runtime.fingerprint import digest, environment, file_digest
from dpmot.runtime.session import session
from dpmot.starts import Points, Start, prior_noise, transport
from dpmot.statistics.jackknife import Estimate, groups, interval, mean_interval

if TYPE_CHECKING:
    from dpmot.experiment.jobs import Couple, Job
    from dpmot.experiment.layout import Layout

PAIRS, FRAMES = 2, 12
Found = tuple[str, float | None, Estimate, int]  # quantity, move, value with its interval, noises


def run(job: "Job[Couple]", layout: "Layout") -> None:
    """Write coupling.csv, and strips.safetensors: <method>/images (pairs, frames, *S)."""
    task = job.task
    with session(job, layout) as stage:
        mark = {"environment": environment(job.threads, job.device), "job": job.identity, "code": code_digest(job.code)}
        mark["inputs"] = {path.name: file_digest(path) for path in job.inputs}
        rows, strips = [], {}
        for name, drawing in tqdm(task.samples.items(), desc="coupling", unit="method", mininterval=5):
            kept = stage.kept(name)
            if kept is None:
                with stage.watch.arithmetic():
                    coupling = Coupling(sample.LoadedMethod.load(job, layout, drawing), drawing.cells[0])
                    found, counted = coupling.measured(task.moves, task.num_noises, task.num_samples)
                    images = coupling.strips()
                facts = [[quantity, move, one.value, one.low, one.high, n] for quantity, move, one, n in found]
                kept = {"images": images}, {"facts": json.dumps({"found": facts, "nfe": counted})}
                stage.keep(name, *kept)
            strips[f"{name}/images"] = kept[0]["images"]
            facts = json.loads(kept[1]["facts"])
            described: dict[str, Any] = {"method": name}
            described |= {key: getattr(drawing.method, key) for key in ("network", "start", "sampler")}
            described |= {"sigma_start": drawing.cells[0].sigma_start, "nfe_counted": facts["nfe"]}
            names = ("quantity", "move", "value", "low", "high", "num_noises")
            rows += [{**described, **dict(zip(names, one, strict=True))} for one in facts["found"]]
        common = {"experiment": task.experiment, "dataset": task.dataset, "fingerprint": digest(mark)}
        table = pd.DataFrame(rows).assign(**common).reindex(columns=COUPLING.columns)
        with stage.watch.io(), atomic(layout.coupling) as temporary:
            table.to_csv(temporary, index=False)
        stage.save(layout.strips, strips, {"experiment": task.experiment})


def moved(e: float) -> Callable[..., Tensor]:
    """Prior noise x' = sqrt(1 - e^2) x + e z, z from the stream (seed, "move")."""
    return partial(_turned, math.sqrt(1 - e * e), e, "move")


def on_arc(t: float) -> Callable[..., Tensor]:
    """Prior noise cos(t) x + sin(t) x'', x'' from the stream (seed, "far end")."""
    return partial(_turned, math.cos(t), math.sin(t), "far end")


def _turned(cos: float, sin: float, stream: str, seeds: Sequence[int], shape: Sequence[int], **options: Any) -> Tensor:
    return cos * prior_noise(seeds, shape, **options) + sin * prior_noise(seeds, shape, **options, stream=stream)


class Coupling:
    """The map from noise to sample of one method, at one cell."""

    def __init__(self, method: sample.LoadedMethod, cell: Cell) -> None:
        self.method, self.cell = method, cell
        self.blind = not plugins.constant("starts", method.task.method.start, "LOOKS_AT_NOISE")

    def rows(self, number: int, other: int = 0) -> list[int]:
        """Sample seeds; ``other`` than 0 are those of further runs."""
        return streams.sample_seeds(self.cell.sample_seed + other, number)

    def start(self, noise: Callable[..., Tensor] = prior_noise) -> Start:
        """The method's start, given these prior draws."""
        return self.method.start(self.cell.sigma_atoms, noise)

    def samples(self, points: Points, rows: Sequence[int]) -> tuple[Tensor, int]:
        """G, (B, *S), and the evaluations spent."""
        ends = self.method.finish(points, self.cell, rows, labels=self.method.labels(points))
        return ends.x, ends.nfe

    def measured(self, moves: Sequence[float], num_noises: int, num_samples: int) -> tuple[list[Found], int]:
        """Every quantity, and the evaluations of a sample."""
        rows, few = self.rows(num_noises), slice(num_samples)
        start = self.start()
        points = start(rows)
        found = list(self._of_the_map(start, rows, points))
        first, counted = self.samples(_some(points, few), rows[few])
        for e in moves:
            there = self.rows(num_noises, 1) if self.blind else rows
            other = (start if self.blind else self.start(moved(e)))(there)
            if points.source is not None and other.source is not None:
                found.append(("cell_changes", e, mean_interval(other.source.ne(points.source).numpy()), num_noises))
                found.append(("start_distance", e, _mean(distance(other.x, points.x)), num_noises))
            second, _ = self.samples(_some(other, few), there[few])
            found.append(("sample_distance", e, _mean(distance(second, first)), len(first)))
        return found, counted

    def _of_the_map(self, start: Start, rows: Sequence[int], points: Points) -> Iterator[Found]:
        if points.source is None:
            return
        noise, n = prior_noise(rows, points.x.shape[1:], redraws=points.redraws), len(rows)
        cost = distance(noise, points.x) ** 2 / 2
        other = distance(noise, points.x.roll(20, 0)) ** 2 / 2  # the same group of the jackknife
        for name, values in (("transport_cost", cost), ("independent_cost", other), ("cost_saved", other - cost)):
            yield name, None, _mean(values), n
        images = self.method.part.first(self.method.task.num_atoms)
        yield "mass_chi2", None, mass_chi2(points.source.numpy(), len(images)), n
        if not isinstance(start, transport.Start):
            return
        yield "angle", None, _mean(start.sharpest(noise, points.labels)), n
        if points.redraws is not None:
            yield "singular_share", None, mean_interval((points.redraws > 0).numpy()), n
            yield "redraws", None, _mean(points.redraws), n
        elif start.singular == "treat":
            yield "singular_share", None, mean_interval(start.near(noise, points.labels).numpy()), n
        level = (points.x - start.clean(noise, points.labels)).flatten(1).double().square().mean(1) / start.sigma**2
        squared = _mean(level)
        yield "noise_level", None, Estimate(*(math.sqrt(max(v, 0)) for v in vars(squared).values())), n

    def strips(self) -> Tensor:
        """Samples along arcs between two noises, as stored: (PAIRS, FRAMES, *S)."""
        frames = []
        for frame in range(FRAMES):
            rows = self.rows(PAIRS, frame if self.blind else 0)
            points = self.start(on_arc(math.pi / 2 * frame / (FRAMES - 1)))(rows)
            frames.append(encode(self.samples(points, rows)[0], self.method.part.raw))
        return torch.stack(frames, 1)


def _some(points: Points, few: slice) -> Points:
    return Points(points.x[few], *(None if rows is None else rows[few] for rows in points[1:]))


def distance(a: Tensor, b: Tensor) -> Tensor:
    """|a - b| of each row, float64 (B,)."""
    return (a.double() - b.double()).flatten(1).norm(dim=1)


def _mean(values: Tensor) -> Estimate:
    return mean_interval(values.double().numpy())


def mass_chi2(cells: np.ndarray, number: int) -> Estimate:
    """N sum_i p_i^2 - 1 from the cells (n,) of independent draws, N sum_i c_i (c_i - 1) / (n (n - 1)) - 1: unbiased."""
    group = groups(len(cells))
    counts = np.zeros((group.max() + 1, number))
    np.add.at(counts, (group, cells), 1)

    def chi2(c: np.ndarray) -> np.ndarray:
        n = c.sum(-1)
        return number * (c * (c - 1)).sum(-1) / (n * (n - 1)) - 1

    whole = counts.sum(0)
    return interval(float(chi2(whole)), chi2(whole - counts), debias=False)
