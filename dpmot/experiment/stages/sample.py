"""Draw all samples of one method: every level, NFE budget and seed, with the evaluations counted."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dpmot import plugins, seeds
from dpmot.device import chosen
from dpmot.diffusion import metering, network
from dpmot.diffusion.denoiser import NonFiniteOutput, TiledDenoiser
from dpmot.diffusion.protocols import Noise, is_posterior_mean
from dpmot.diffusion.sigmas import BadGrid, Chain, current_step
from dpmot.experiment import grid, learning, pairings
from dpmot.experiment.cells import Cell, Problem
from dpmot.experiment.stages import _balanced
from dpmot.experiment.stages._prepared import Part, encode, read, read_data
from dpmot.runtime.files import read_json
from dpmot.runtime.session import Fault, session
from dpmot.starts import Points, Setting, Start, prior_noise
from dpmot.tiles import in_blocks

if TYPE_CHECKING:
    from dpmot.experiment.jobs import Job, Sample
    from dpmot.experiment.layout import Layout

COUPLED = "was trained with a coupling of noise and images"
AT_ONCE = 2**30  # bytes of points in float64 on which a sampler works
KEPT = 2**28  # bytes of samples in float64 that are kept for other seeds of their starts
SHOWN = 16  # start points and prior noises kept for the figures


class OverBudget(ValueError):
    """A sampler spent more network evaluations than its budget allows."""


def run(job: "Job[Sample]", layout: "Layout") -> None:
    """Write ``samples/<method>.safetensors``: <cell>/images, /source, and the first starts and prior noises."""
    with session(job, layout) as stage:
        method = LoadedMethod.load(job, layout)
        star = read_json(layout.star) if job.task.method.level == "star" else None
        tensors: dict[str, Tensor] = {}
        cells: list[Cell] = []
        for planned in tqdm(job.task.cells, desc=job.task.name, unit="cell", mininterval=5):
            cell = resolved(planned, star, method.network.chain)
            if not cell.reason:
                kept = stage.kept(cell.key)
                if kept is None:
                    with stage.watch.arithmetic():
                        drawn, counted = method.draw(cell)
                    kept = drawn, {"nfe": str(counted)}
                    stage.keep(cell.key, *kept)
                tensors |= {f"{cell.key}/{name}": tensor for name, tensor in kept[0].items()}
                cell = replace(cell, nfe_counted=int(kept[1]["nfe"]), unsolved=method.unsolved(cell))
            cells.append(cell)
        cells = _balanced.one_cost(cells) if job.task.method.balanced else cells
        texts = {"cells": json.dumps([asdict(cell) for cell in cells])}
        if notes := learning.notes(method.learned):
            texts["notes"] = json.dumps(notes)
        stage.save(layout.samples(job.task.name), tensors, texts)


def resolved(cell: Cell, star: Mapping | None, chain: Chain) -> Cell:
    """The cell with sigma_M* filled in, or with the reason why there is none."""
    if star is None or cell.reason:
        return cell
    if star["sigma"] is None:
        return replace(cell, reason=f"no sigma_M*: {star['reason']}")
    found = replace(cell, sigma_start=star["sigma"], sigma_atoms=star["sigma"])
    return found if not cell.steps else grid.checked(chain, found)


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

    def draw(self, cell: Cell) -> tuple[dict[str, Tensor], int]:
        """All samples of a cell, and the network evaluations spent on each; in blocks, by halves where memory is short.

        Returns:
            "images" (n, *S) as stored, "source" (n,) where images stand behind the start, "redraws" (n,) where noise
            is drawn anew, "labels" (n,) where the network takes classes, "start" and "prior", the first points.

        Raises:
            OverBudget: more evaluations than predicted for the cell.
        """
        rows = seeds.sample_seeds(cell.sample_seed, self.task.num_samples)
        parts = in_blocks(lambda some: self._drawn(cell, some), rows, self.part.raw[0].numel(), most=AT_ONCE)
        first, counted = parts[0][0], max(counted for _, counted in parts)
        joined = {name: torch.cat([drawn[name] for drawn, _ in parts]) for name in first}
        return {name: one[:SHOWN] if name in ("start", "prior") else one for name, one in joined.items()}, counted

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
        x, counted = self.finish(points, cell, rows, labels=labels)
        self.check_spent(counted + start.nfe, cell)
        shape = self.part.raw.shape[1:]
        drawn = {"images": encode(x, self.part.raw), "start": points.x[:SHOWN].float()}
        law = self.task.method.start_arguments.get("law", self.task.method.law)
        redraws = None if points.redraws is None else points.redraws[:SHOWN]
        drawn["prior"] = prior_noise(rows[:SHOWN], shape, source_measure=law, redraws=redraws)
        optional = {"source": points.source, "redraws": points.redraws, "labels": labels}
        return drawn | {name: one for name, one in optional.items() if one is not None}, counted + start.nfe

    def finish(
        self, points: Points, cell: Cell, rows: Sequence[int], *, labels: Tensor | None = None
    ) -> tuple[Tensor, int]:
        """The sampler's way from the points of these seeds to the samples, (B, *S), and the evaluations of each.

        Where no noise is drawn on the way, samples of one start are one sample. Such starts are evaluated once, for all
        seeds of a method; tiles give them the bits that they would have beside others.
        """
        if self.task.method.sampler == "none":
            return points.x.double(), 0
        given = {"labels": labels} if labels is not None and self.network.classes else {}
        if points.source is not None and not self.draws_noise(cell):
            try:
                return self._each_once(points.x, given, cell, rows)
            except metering.NoiseDrawn:  # it depends on the answers of the network
                self._noisy.append(cell.steps)
        return self._sampled(points.x, given, cell, rows)

    def _each_once(self, x: Tensor, given: Mapping[str, Tensor], cell: Cell, rows: Sequence[int]) -> tuple[Tensor, int]:
        known = self._known(replace(cell, key="", sample_seed=0))
        keys = [_key(*parts) for parts in zip(x, *given.values(), strict=True)]
        first: dict[bytes, int] = {}
        for k, key in enumerate(keys):
            first.setdefault(key, k)
        new = [k for key, k in first.items() if key not in known]
        fresh: dict[bytes, tuple[Tensor, int]] = {}
        if new:
            some = {name: labels[new] for name, labels in given.items()}
            end, counted = self._sampled(x[new], some, cell, [rows[k] for k in new], noisy=False)
            fresh = {keys[k]: (one, counted) for k, one in zip(new, end, strict=True)}
        found = known | fresh
        room = max(0, KEPT // (8 * x[0].numel()) - len(known))
        known.update(islice(fresh.items(), room))
        ends = [found[key] for key in keys]
        return torch.stack([end for end, _ in ends]), max(counted for _, counted in ends)

    @lru_cache(maxsize=1)  # noqa: B019 - one method per process; the seeds of a budget follow each other
    def _known(self, cell: Cell) -> dict[bytes, tuple[Tensor, int]]:
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
    ) -> tuple[Tensor, int]:
        planned, x = self.task.method, x.double()
        denoiser = TiledDenoiser(self.network.denoiser(cell.steps, planned.guidance), labels=given.get("labels"))
        sampler = f"baselines/{planned.sampler}.py"

        def noise(some: Sequence[int]) -> Noise:
            chosen = [rows[k] for k in some]
            drawn = seeds.trajectory(chosen, x.shape[1:], expected=cell.nfe)  # no more than it evaluates
            return lambda step: drawn(step).to(x)

        noisy = noisy and is_posterior_mean(denoiser)
        final = self.network.chain.sigma_min if planned.nfe == "as_code" else None
        try:
            return metering.run(
                str(planned.sampler),
                denoiser,
                x,
                self._sigmas(cell),
                noise=noise if noisy else None,
                options=self._options(cell),
                final=final,
            )
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


def _key(*parts: Tensor) -> bytes:
    """Of what a sample without noise depends on."""
    return blake2b(b"".join(part.numpy().tobytes() for part in parts), digest_size=16).digest()
