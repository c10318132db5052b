"""What each job of the workflow is given: its task, the files that it reads and writes, and the code it depends on.

The Snakefile and the command line build a job in the same way; its task is plain data, so a change of the
configuration re-runs only the jobs whose task changed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dpmot import plugins
from dpmot.diffusion import weights
from dpmot.experiment import grid, measuring_jobs, page_jobs
from dpmot.experiment.code import STAGES, Plugin, modules
from dpmot.experiment.drawings import Drawings
from dpmot.experiment.fits import Fit, fits
from dpmot.experiment.layout import Layout
from dpmot.experiment.learning import learning_starts, seed_of
from dpmot.experiment.members import Members, members
from dpmot.experiment.pairings import Pair, drawing, pairings
from dpmot.experiment.plan import Experiment, Given
from dpmot.experiment.refusals import ConfigError, named
from dpmot.experiment.shards import shards_of
from dpmot.experiment.tasks import (
    Classify,
    Couple,
    Ideal,
    Measure,
    MeasureShard,
    Merge,
    Prepare,
    Read,
    Sample,
    Select,
    Shard,
    Solve,
    Train,
    Trained,
)
from dpmot.features import Extractor
from dpmot.metrics import AUDITED_BY, AUDITED_SPACE
from dpmot.runtime.files import read_json, write_json
from dpmot.runtime.job import Job, once

COUPLING = ("dpmot.couplings",)  # which a training with a coupling imports by name
Files = Iterable[Path]


@dataclass(frozen=True)
class Jobs:
    """Every job of an experiment; a :class:`ConfigError` for one that it does not have."""

    experiment: Experiment
    layout: Layout

    @cached_property
    def each(self) -> Members:
        """The networks and methods that are trained and drawn: at several training seeds each one's members."""
        return members(self.experiment)

    @cached_property
    def drawings(self) -> Drawings:
        """What jobs that draw samples share."""
        return Drawings(self.experiment, self.each.experiment, self.layout)

    def record(self) -> None:
        """Write the resolved configuration beside the results, if it is not there already."""
        written = self.experiment.written()
        if not self.layout.config.exists() or read_json(self.layout.config) != written:
            write_json(self.layout.config, written)

    @once
    def prepare(self) -> Job[Prepare]:
        """The job that loads and splits the data set."""
        e, root = self.experiment, self.experiment.data_root and Path(self.experiment.data_root)
        atoms = {method.split: e.num_atoms for method in e.drawn.values() if e.num_atoms}
        labelled = {name: network.classes for name, network in e.networks.items() if network.classes}
        asked = e.download, self.needs_classifier, atoms, labelled
        task = Prepare(e.dataset, e.dataset_options, root or None, e.scale, *asked)
        return self.job("prepare", task, [], [self.layout.data], ("data", e.dataset), threads=1, device="cpu")

    @once
    def train(self, name: str) -> Job[Train]:
        """The job that trains, distils or loads one network."""
        each = self.each
        network, seed = named(each.experiment.networks, name, "network"), each.seeds[name]
        plugged = ("networks", network.kind) if network.kind else ("distillation", str(network.distillation))
        inputs = [self.layout.data]
        before = network.teacher or (network.rewires if network.how == "trained" else None)
        inputs += [self.layout.network(before)] if before else []
        inputs += weights.files(Path(network.weights)) if network.weights else []
        coupled, pair = drawing(each.experiment, name)
        inputs += [self.layout.pairing(pair)] if pair else []
        seed = each.experiment.training_seed if seed is None else seed
        task = Train(name, network, seed, self.experiment.download, each.origin[name], coupled, pair)
        shared: dict[str, Any] = {"processes": self.experiment.processes} if network.how == "trained" else {}
        also, outputs = COUPLING if coupled else (), [self.layout.network(name)]
        return self.job("train", task, inputs, outputs, plugged, of=name, also=also, **shared)

    @once
    def classify(self) -> Job[Classify]:
        """The job that trains the classifier on split B and records its accuracy and calibration."""
        given = self.experiment.classifier
        inputs = [self.layout.data, *([Path(given.weights)] if given.weights else [])]
        task = Classify(given, self.experiment.trainings[0])
        return self.job("classify", task, inputs, [self.layout.classifier], device="cpu")

    @once
    def solve(self) -> Job[Solve]:
        """The job that solves every transport problem of the experiment."""
        e, layout = self.experiment, self.layout
        task = Solve(tuple(grid.problems(e)), e.transport, e.atom_seed, e.num_atoms, e.fit_seed)
        return self.job("solve", task, [layout.data], [layout.heights])

    @cached_property
    def pairings(self) -> Mapping[str, Pair]:
        """The maps that trainings are coupled by, by name."""
        return pairings(self.each.experiment)

    @once
    def pair(self, name: str) -> Job[Pair]:
        """The job that solves one of them."""
        task = named(self.pairings, name, "pairing")
        return self.job("pair", task, [self.layout.data], [self.layout.pairing(name)], of=name)

    @cached_property
    def fits(self) -> Mapping[str, Fit]:
        """What starts are fitted to, by name."""
        return fits(self.experiment)

    @once
    def fit(self, name: str) -> Job[Fit]:
        """The job that fits a start to images."""
        task = named(self.fits, name, "fit")
        outputs = [self.layout.fit(name), self.layout.facts_of_fit(name)]
        return self.job("fit", task, [self.layout.data], outputs, ("starts", task.start), of=name, device="cpu")

    @once
    def select(self) -> Job[Select]:
        """The job that finds sigma_M*, on seeds, latents and held-out images that no table reports."""
        e, selection = self.experiment, self.each.experiment.selection
        if selection is None:
            raise ConfigError("selection: this experiment has no such block; config/digits.yaml has one")
        count = selection.num_samples or e.num_samples * len(e.sample_seeds)  # the audit of the tables has this power
        drawn = self.drawings.task("selection", selection.trial(), count)
        plugged = *self.drawings.plugged(drawn), *(("metrics", name) for name in AUDITED_BY)
        inputs = (*self.drawings.reads(drawn), self.layout.heights)
        return self.job("select", Select(drawn, e.copying_tolerance), inputs, [self.layout.star], *plugged)

    @once
    def sample(self, name: str) -> Job[Sample] | Job[Merge] | Job[Read]:
        """The job that draws all samples of one method, merges its shards, or reads what comes from elsewhere."""
        method, outputs = named(self.each.experiment.methods, name, "method"), [self.layout.samples(name)]
        if isinstance(method, Given):
            read, inputs = self.drawings.reading(name, method)
            return self.job("read", read, inputs, outputs, of=name, job="sample", threads=1, device="cpu")
        task, shards = self.drawings.task(name, method, self.experiment.num_samples), self.shards(name)
        inputs, plugged = self.drawings.behind(task), self.drawings.plugged(task)
        if not shards:
            return self.job("sample", task, inputs, outputs, *plugged, of=name)
        inputs += tuple(file for shard in shards for file in shard.outputs)
        merge = Merge(task, len(shards))
        return self.job("sample", merge, inputs, outputs, *plugged, of=name, threads=1, device="cpu")

    @once
    def shards(self, name: str) -> tuple[Job[Shard], ...]:
        """The jobs over which the samples of one method are drawn; none where one draws all."""
        method, number = self.each.experiment.methods[name], self.experiment.shards
        if isinstance(method, Given) or number == 1:
            return ()
        task = self.drawings.task(name, method, self.experiment.num_samples)
        inputs, plugged, shards = self.drawings.behind(task), self.drawings.plugged(task), shards_of(task, number)
        files = [self.layout.shard(shard.name) for shard in shards]
        made = zip(shards, files, strict=True) if len(shards) > 1 else ()
        return tuple(self.job("sample", one, inputs, [file], *plugged, of=one.name) for one, file in made)

    @once
    def learn(self, name: str) -> Job[Sample]:
        """The job that learns what a method leaves open, from starts that no table uses."""
        method = named(self.each.experiment.drawn, name, "method")
        if not method.learns:
            raise ConfigError(f"methods.{name}: nothing of it is learned, `dpmot sample {name}` draws it")
        starts = min(learning_starts(method), self.experiment.num_samples)  # a smoke run has few
        training = self.each.seeds[name] if self.each.repeated else None
        task = self.drawings.task(name, method.but(sample_seeds=(seed_of(training),)), starts)
        plugged, outputs = self.drawings.plugged(task), [self.layout.learned(name)]
        return self.job("learn", task, self.drawings.reads(task), outputs, *plugged, of=name)

    @property
    def stores_images(self) -> bool:
        """Whether a sample of the experiment begins at a stored image that it may hand back."""
        levels, star = grid.stored_levels(self.experiment)
        return bool(levels) or star

    @once
    def ideal(self) -> Job[Ideal]:
        """The job that says what an exact denoiser of the stored images would hand back; no network is asked."""
        if not self.stores_images:
            raise ConfigError(
                "ideal: no method of this experiment starts a network that is told no class at stored images"
            )
        task = Ideal(*grid.stored_levels(self.experiment), self.experiment.num_atoms)
        inputs = [self.layout.data, *([self.layout.star] if task.star else [])]
        return self.job("ideal", task, inputs, [self.layout.ideal], device="cpu")

    @once
    def couple(self) -> Job[Couple]:
        """The job that measures what the map from noise to sample is like."""
        e, coupling = self.experiment, self.experiment.coupling
        if coupling is None:
            raise ConfigError("coupling: this experiment has no such block; config/singular.yaml has one")
        drawn = {name: self.each.experiment.drawn[self.each.firsts[name]] for name in coupling.methods}
        samples = {name: self.drawings.task(name, coupling.of(one), e.num_samples) for name, one in drawn.items()}
        task = Couple(e.experiment, e.dataset, samples, coupling.moves, coupling.num_noises, coupling.num_samples)
        inputs = sorted({file for one in samples.values() for file in self.drawings.reads(one)})
        plugged = sorted({plugin for one in samples.values() for plugin in self.drawings.plugged(one)})
        return self.job("couple", task, inputs, [self.layout.coupling, self.layout.strips], *plugged)

    @once
    def measure(self) -> Job[Measure]:
        """The job that measures every cell, or gathers what shards have measured, and writes the tidy tables."""
        return measuring_jobs.measure(self)

    @once
    def measure_shards(self) -> tuple[Job[MeasureShard], ...]:
        """The jobs over which the methods are measured; none where one measures all."""
        return measuring_jobs.shards(self)

    @once
    def page(self, name: str) -> Job[Mapping[str, Any]]:
        """The job that draws one table or figure."""
        return page_jobs.page(self, name)

    def pages(self) -> list[Job[Mapping[str, Any]]]:
        """Every table and figure."""
        return [self.page(name) for name in (*self.experiment.tables, *self.experiment.figures)]

    @once
    def trainings(self) -> Job[tuple[Trained, ...]]:
        """The job that gathers what networks saw in training."""
        return page_jobs.trainings(self)

    @once
    def timings(self) -> Job[tuple[str, ...]]:
        """The job that gathers the timings of all others."""
        return page_jobs.timings(self)

    @once
    def compute(self) -> tuple[Job, ...]:
        """Every job before measuring, in the order of the paper, but for shards."""
        jobs: list[Job] = [self.prepare(), *map(self.pair, self.pairings)]
        jobs += map(self.train, self.each.experiment.networks)
        jobs += [self.classify()] if self.needs_classifier else []
        jobs += [self.solve()] if self.experiment.drawn else []
        jobs += map(self.fit, self.fits)
        jobs += [self.select()] if self.experiment.selection else []
        each = self.each.experiment
        jobs += [self.learn(name) for name, method in each.drawn.items() if method.learns]
        return (*jobs, *map(self.sample, each.methods))

    @once
    def all(self) -> tuple[Job, ...]:
        """Every job that can be asked for."""
        shards: list[Job] = [
            *(shard for name in self.each.experiment.methods for shard in self.shards(name)),
            *self.measure_shards(),
        ]
        computed: tuple[Job, ...] = (*self.compute(), *self.beside(), *shards, self.measure())
        return (*computed, self.trainings(), *self.pages(), self.timings())

    def beside(self) -> tuple[Job, ...]:
        """Those whose numbers are none of metrics.csv."""
        coupling = [self.couple()] if self.experiment.coupling else []
        return (*([self.ideal()] if self.stores_images else []), *coupling)

    def uses_gpu(self) -> bool:
        """Whether jobs use a GPU. "auto" looks for one on this machine (torch takes seconds to import)."""
        if self.experiment.device != "auto":
            return self.experiment.device == "cuda"
        from dpmot.device import chosen

        return chosen("auto").type == "cuda"

    @property
    def extractors(self) -> tuple[str, ...]:
        """Feature extractors by name: pixels, and those asked for or, of a mixture, those that know it."""
        known = (name for name in plugins.names("features") if Extractor(name).domain == "mixture")
        return (AUDITED_SPACE, *(known if self.experiment.has_mixture else self.experiment.features))

    @property
    def needs_classifier(self) -> bool:
        """Whether an extractor needs the classifier that is trained on split B."""
        balanced = any(method.balanced for method in self.experiment.drawn.values())
        return balanced or any(Extractor(name).trained for name in self.extractors)

    def job(
        self,
        stage: str,
        task: Any,
        inputs: Files,
        outputs: Files,
        *plugged: Plugin,
        of: str = "",
        job: str = "",
        also: tuple[str, ...] = (),
        **machine: Any,
    ) -> Job[Any]:
        """A job with its timing; ``of`` is what it is for, ``also`` code beside stage and plug-ins."""
        name, e = f"{job or stage}_{of}" if of else stage, self.experiment
        code = (f"{STAGES}.{stage}", *modules(*plugged), *also)  # of a shard as of the whole: one fingerprint
        inputs, outputs = tuple(inputs), tuple(outputs)
        if own := {file.resolve() for file in inputs} & {file.resolve() for file in outputs}:
            raise ConfigError(f"{name} would read and write {own.pop()}; give a copy of it, or another `experiment:`")
        machine = {"threads": e.threads, "device": e.device, **machine}
        return Job(stage, name, task, inputs, (*outputs, self.layout.timing(name)), code, **machine)
