"""Draw all samples of one method: every level, NFE budget and seed, with the evaluations counted."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dpmot import plugins, seeds
from dpmot.device import chosen
from dpmot.diffusion import metering, network
from dpmot.diffusion.denoiser import NonFiniteOutput, TiledDenoiser
from dpmot.diffusion.protocols import Noise, is_posterior_mean
from dpmot.diffusion.sigmas import BadGrid, current_step
from dpmot.diffusion.trajectory import Spread
from dpmot.experiment import grid, learning, pairings
from dpmot.experiment.cells import Cell, Problem
from dpmot.experiment.stages import _balanced, _shards
from dpmot.experiment.stages._ends import MOVED, Ends, each_once, key
from dpmot.experiment.stages._marks import mark
from dpmot.experiment.stages._prepared import Part, encode, read, read_data
from dpmot.experiment.tasks import Merge, Piece, Sample, Shard
from dpmot.runtime.files import read_json
from dpmot.runtime.session import Fault, Session, session
from dpmot.starts import Points, Setting, Start, prior_noise
from dpmot.tiles import in_blocks

if TYPE_CHECKING:
    from dpmot.experiment.jobs import Job
    from dpmot.experiment.layout import Layout

COUPLED = "was trained with a coupling of noise and images"
AT_ONCE = 2**30  # bytes of points in float64 on which a sampler works
KEPT = 2**28  # bytes of samples in float64 that are kept for other seeds of their starts
SHOWN = 16  # start points and prior noises kept for the figures


class OverBudget(ValueError):
    """A sampler spent more network evaluations than its budget allows."""


def run(job: "Job[Sample | Shard | Merge]", layout: "Layout") -> None:
    """Write ``samples/<method>.safetensors``: <cell>/images, /source, and the first starts and prior noises.

    A shard writes its part of that, which is merged when all are there.
    """
    with session(job, layout) as stage:
        task = job.task
        if isinstance(task, Merge):
            inputs = _shards.behind(cast("Job[Merge]", job), layout)
            drawn = _shards.gathered(task, layout, stage.watch, shown=SHOWN, code=job.code, inputs=inputs)
            cells, tensors, texts = drawn
        else:
            cells, tensors, texts = _drawn(cast("Job[Sample | Shard]", job), layout, stage)
        if isinstance(task, Shard):
            texts |= mark(task, job.code, job.inputs)
        elif (task.sample if isinstance(task, Merge) else task).method.balanced:
            cells = _balanced.one_cost(cells)
        stage.save(job.outputs[0], tensors, {"cells": json.dumps([asdict(cell) for cell in cells]), **texts})


def _drawn(job: "Job[Sample | Shard]", layout: "Layout", stage: Session) -> _shards.Drawn:
    """The cells of a method or of a shard, with those that were drawn before an interruption."""
    task = job.task.sample if isinstance(job.task, Shard) else job.task
    pieces = job.task.pieces if isinstance(job.task, Shard) else [Piece(one, 0, task.num_samples) for one in task.cells]
    method, star = LoadedMethod.load(job, layout, task), read_json(layout.star) if task.method.level == "star" else None
    tensors: dict[str, Tensor] = {}
    cells: list[Cell] = []
    for piece in tqdm(pieces, desc=job.task.name, unit="cell", mininterval=5):
        cell = grid.resolved(piece.cell, star, method.network.chain)
        if not cell.reason:
            kept = stage.kept(cell.key)
            if kept is None:
                with stage.watch.arithmetic():
                    drawn, counted = method.draw(cell, slice(piece.first, piece.last))
                kept = drawn, {"nfe": str(counted)}
                stage.keep(cell.key, *kept)
            tensors |= {f"{cell.key}/{name}": tensor for name, tensor in kept[0].items()}
            cell = replace(cell, nfe_counted=int(kept[1]["nfe"]), unsolved=method.unsolved(cell))
        cells.append(cell)
    notes = learning.notes(method.learned)
    return cells, tensors, {"notes": json.dumps(notes)} if notes else {}


@dataclass(frozen=True, eq=False)
class LoadedMethod:
    """network + start + sampler, ready to draw the cells of a task."""

    task: "Sample"
    network: network.Network
    part: Part
    heights: Mapping[str, Tensor]
    solved: Mapping[str, Mapping]
    classifier: Path | None = None
    fitted: Mapping[str, Tensor] | None = None
    learned: Mapping[str, learning.Learned] = field(default_factory=dict)
    _noisy: list[int] = field(default_factory=list)  # step counts at which noise was drawn, though not for D = 0

    @classmethod
    def load(cls, job: "Job", layout: "Layout", task: "Sample | None" = None) -> "LoadedMethod":
        """Read what the job's task needs, or another task of the job; a ValueError if files do not belong together."""
        task = job.task if task is None else task
        planned = task.method
        parts, _, _ = read_data(layout.data)
        device = chosen(job.device)
        faster = torch.channels_last if device.type == "cpu" else torch.preserve_format
        loaded = network.load(layout.network(planned.network), device=device, layout=faster)
        shape = list(parts["A"].raw.shape[1:])
        if list(loaded.card["shape"]) != shape:
            raise ValueError(f"network {planned.network} was made for {loaded.card['shape']}, the data are {shape}")
        if loaded.card.get("name") not in (None, planned.network):
            written = f"was written as {loaded.card['name']}: delete it and run again"
            raise ValueError(f"{layout.network(planned.network)} {written}")
        if loaded.card.get("coupling") and (told := pairings.unfit(planned)):  # the plan may not have known it
            raise ValueError(f"network {planned.network} {COUPLED}: {told}")
        heights, solved = read(layout.heights) if planned.needs_heights else ({}, {})
        fitted = read(layout.fit(task.fit))[0] if task.fit else None
        given = learning.read(layout.learned(task.name)) if planned.learns and job.stage == "sample" else {}
        return cls(task, loaded, parts[planned.split], heights, solved, layout.classifier, fitted, given)

    def unsolved(self, cell: Cell) -> str | None:
        """Why the cell's transport problem did not converge; None where it did, or where there is none."""
        name = self._problem(cell.sigma_atoms)
        return self.solved[name]["reason"] if name in self.solved else None

    def _level(self, sigma: float | None) -> float:
        return self.network.chain.sigma_max if sigma is None else sigma

    def _problem(self, sigma: float | None) -> str:
        planned = self.task.method
        return Problem(planned.split, planned.law, self._level(sigma), planned.noises, planned.per_class).name

    @lru_cache(maxsize=1)  # noqa: B019 - one method per process; cells of one level follow each other
    def start(self, sigma: float | None, noise: Callable[..., Tensor] = prior_noise) -> Start:
        """The start at atoms of noise level sigma, given these prior draws."""
        task, planned, solved = self.task, self.task.method, self.heights.get(self._problem(sigma))
        images, level = self.part.first(task.num_atoms), self._level(sigma)
        labels = self.part.labels if self.network.classes or planned.per_class else None
        setting = Setting(
            self.network.chain, images, level, task.atom_seed, solved, noise, planned.noises, labels, self.fitted
        )
        return plugins.find("starts", planned.start).Start(setting, **planned.start_arguments)

    def draw(self, cell: Cell, some: slice = slice(None)) -> tuple[dict[str, Tensor], int]:
        """Samples of a cell, all or some by number, and the network evaluations spent on each.

        They are drawn in blocks, by halves where memory is short.

        Returns:
            "images" (n, *S) as stored, "source" (n,) where images stand behind the start, "redraws" (n,) where noise
            is drawn anew, "labels" (n,) where the network takes classes, "trajectory_variance" (n,) where there is a
            sampler, "start" and "prior", the first points.

        Raises:
            OverBudget: more evaluations than predicted for the cell.
        """
        rows = seeds.sample_seeds(cell.sample_seed, self.task.num_samples)[some]
        parts = in_blocks(lambda block: self._drawn(cell, block), rows, self.part.raw[0].numel(), most=AT_ONCE)
        return _shards.joined(parts, shown=SHOWN)

    def check_spent(self, spent: int, cell: Cell) -> None:
        """Raise OverBudget for more evaluations than predicted."""
        if spent > cell.nfe:
            raise OverBudget(
                f"sample_{self.task.name}: {spent} evaluations were spent, {cell.nfe} are allowed at "
                f"NFE {cell.nfe_budget}; correct num_steps in baselines/{self.task.method.sampler}.py"
            )

    def _drawn(self, cell: Cell, rows: Sequence[int]) -> tuple[dict[str, Tensor], int]:
        if self.task.method.balanced:
            return _balanced.drawn(self, cell, rows, shown=SHOWN)
        start = self.start(cell.sigma_atoms)
        points = start(rows)
        labels = self.labels(points)
        ends = self.finish(points, cell, rows, labels=labels)
        self.check_spent(ends.nfe + start.nfe, cell)
        shape = self.part.raw.shape[1:]
        drawn = {"images": encode(ends.x, self.part.raw), "start": points.x[:SHOWN].float()}
        law = self.task.method.start_arguments.get("law", self.task.method.law)
        redraws = None if points.redraws is None else points.redraws[:SHOWN]
        drawn["prior"] = prior_noise(rows[:SHOWN], shape, source_measure=law, redraws=redraws)
        moved = None if self.task.method.sampler == "none" else ends.variance
        optional = {"source": points.source, "redraws": points.redraws, "labels": labels, MOVED: moved}
        return drawn | {name: one for name, one in optional.items() if one is not None}, ends.nfe + start.nfe

    def finish(self, points: Points, cell: Cell, rows: Sequence[int], *, labels: Tensor | None = None) -> Ends:
        """The sampler's way from the points of these seeds to the samples.

        Where no noise is drawn on the way, samples of one start are one sample. Such starts are evaluated once, for all
        seeds of a method; tiles give them the bits that they would have beside others.
        """
        if self.task.method.sampler == "none":
            return Ends.unmoved(points.x.double())
        given = {"labels": labels} if labels is not None and self.network.classes else {}
        if points.source is not None and not self.draws_noise(cell):
            try:
                return self._each_once(points.x, given, cell, rows)
            except metering.NoiseDrawn:  # it depends on the answers of the network
                self._noisy.append(cell.steps)
        return self._sampled(points.x, given, cell, rows)

    def _each_once(self, x: Tensor, given: Mapping[str, Tensor], cell: Cell, rows: Sequence[int]) -> Ends:
        def sampled(new: list[int]) -> Ends:
            some = {name: labels[new] for name, labels in given.items()}
            return self._sampled(x[new], some, cell, [rows[k] for k in new], noisy=False)

        keys = [key(*parts) for parts in zip(x, *given.values(), strict=True)]
        known = self._known(replace(cell, key="", sample_seed=0))
        return each_once(sampled, keys, known, most=KEPT // (8 * x[0].numel()))

    @lru_cache(maxsize=1)  # noqa: B019 - one method per process; the seeds of a budget follow each other
    def _known(self, cell: Cell) -> dict[bytes, Ends]:
        """Samples by their start, of the cells that differ in nothing but the seed; filled as they are drawn."""
        return {}

    def draws_noise(self, cell: Cell) -> bool:
        """Whether the sampler draws noise on its way."""
        if cell.steps in self._noisy:
            return True
        x = torch.zeros(1, *self.part.raw.shape[1:], dtype=torch.float64)
        method = self.task.method
        return metering.draws_noise(str(method.sampler), x, self._sigmas(cell), self._options(cell))

    def _sigmas(self, cell: Cell) -> Tensor:
        learned = self._learned(cell).sigmas
        return torch.from_numpy(np.array(learned or grid.sigmas(self.network.chain, cell), dtype=np.float64))

    def _options(self, cell: Cell) -> dict[str, Any]:
        return {**self.task.method.options, **self._learned(cell).options}

    def _learned(self, cell: Cell) -> learning.Learned:
        return learning.of(self.learned, cell, self.task.name) if self.task.method.learns else learning.NOTHING

    def _sampled(
        self, x: Tensor, given: Mapping[str, Tensor], cell: Cell, rows: Sequence[int], *, noisy: bool = True
    ) -> Ends:
        planned, x = self.task.method, x.double()
        denoiser = TiledDenoiser(self.network.denoiser(cell.steps, planned.guidance), labels=given.get("labels"))
        sampler = f"baselines/{planned.sampler}.py"

        def noise(some: Sequence[int]) -> Noise:
            chosen = [rows[k] for k in some]
            drawn = seeds.trajectory(chosen, x.shape[1:], expected=cell.nfe)  # no more than it evaluates
            return lambda step: drawn(step).to(x)

        noisy = noisy and is_posterior_mean(denoiser)
        final = self.network.chain.sigma_min if planned.nfe == "as_code" else None
        sigmas = self._sigmas(cell)
        spread = Spread(len(x), sigmas)
        try:
            end, nfe = metering.run(
                str(planned.sampler),
                denoiser,
                x,
                sigmas,
                noise=noise if noisy else None,
                options=self._options(cell),
                final=final,
                spread=spread,
            )
            return Ends(end, nfe, spread.variance())
        except metering.NoiseDrawn:
            if is_posterior_mean(denoiser):
                raise
            told = f"network {planned.network} {COUPLED}, and is no posterior mean"
            raise ValueError(f"{sampler} draws noise on its way, and {told}: choose a deterministic sampler") from None
        except NonFiniteOutput as error:
            step = f"step {current_step()} of {cell.steps}"
            where = f"{sampler}, {step}, network {planned.network}"
            told = f"{where}: {error}; look at networks/{planned.network}.safetensors"
            raise Fault(told, {**error.batch, "seed": torch.tensor(rows)[error.batch["row"] % len(rows)]}) from None
        except BadGrid as error:
            raise ValueError(f"{sampler}: {error}") from None

    def labels(self, points: Points) -> Tensor | None:
        """The class each sample is drawn for, (B,): the one that its start names, or its source image's.

        Raises:
            ValueError: the network takes classes, and the start names neither.
        """
        if not self.network.classes or points.labels is not None:
            return points.labels
        if points.source is None:
            network = f"network {self.task.method.network} has {self.network.classes} classes"
            raise ValueError(f"start {self.task.method.start}: {network}; give Points their labels (dpmot/starts)")
        return self.part.labels[points.source]
