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
from dpmot.data import _given as given_images
from dpmot.diffusion import weights
from dpmot.experiment import grid
from dpmot.experiment.fits import Fit, fit_of, fits
from dpmot.experiment.layout import Layout
from dpmot.experiment.learning import learning_starts, seed_of
from dpmot.experiment.members import Members, members
from dpmot.experiment.pairings import Pair, drawing, pairings
from dpmot.experiment.plan import Experiment, Given, Method
from dpmot.experiment.refusals import ConfigError, named
from dpmot.experiment.tasks import Classify, Couple, Measure, Prepare, Read, Sample, Select, Solve, Train, Trained
from dpmot.features import Extractor, Offer
from dpmot.metrics import AUDITED_BY, AUDITED_SPACE
from dpmot.runtime.files import read_json, write_json
from dpmot.runtime.fingerprint import digest
from dpmot.runtime.job import Job, once

STAGES = "dpmot.experiment.stages"
COUPLING = ("dpmot.couplings",)  # which a training with a coupling imports by name
Files = Iterable[Path]
Plugin = tuple[str, str]  # kind, name


@dataclass(frozen=True)
class Jobs:
    """Every job of an experiment; a :class:`ConfigError` for one that it does not have."""

    experiment: Experiment
    layout: Layout

    @cached_property
    def each(self) -> Members:
        """The networks and methods that are trained and drawn: at several training seeds each one's members."""
        return members(self.experiment)

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
        return self._job("prepare", task, [], [self.layout.data], ("data", e.dataset), threads=1, device="cpu")

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
        return self._job(
            "train", task, inputs, [self.layout.network(name)], plugged, of=name, also=COUPLING if coupled else ()
        )

    @once
    def classify(self) -> Job[Classify]:
        """The job that trains the classifier on split B and records its accuracy and calibration."""
        given = self.experiment.classifier
        inputs = [self.layout.data, *([Path(given.weights)] if given.weights else [])]
        task = Classify(given, self.experiment.trainings[0])
        return self._job("classify", task, inputs, [self.layout.classifier], device="cpu")

    @once
    def solve(self) -> Job[Solve]:
        """The job that solves every transport problem of the experiment."""
        e, layout = self.experiment, self.layout
        task = Solve(tuple(grid.problems(e)), e.transport, e.atom_seed, e.num_atoms, e.fit_seed)
        return self._job("solve", task, [layout.data], [layout.heights])

    @cached_property
    def pairings(self) -> Mapping[str, Pair]:
        """The maps that trainings are coupled by, by name."""
        return pairings(self.each.experiment)

    @once
    def pair(self, name: str) -> Job[Pair]:
        """The job that solves one of them."""
        task = named(self.pairings, name, "pairing")
        return self._job("pair", task, [self.layout.data], [self.layout.pairing(name)], of=name)

    @cached_property
    def fits(self) -> Mapping[str, Fit]:
        """What starts are fitted to, by name."""
        return fits(self.experiment)

    @once
    def fit(self, name: str) -> Job[Fit]:
        """The job that fits a start to images."""
        task = named(self.fits, name, "fit")
        outputs = [self.layout.fit(name), self.layout.facts_of_fit(name)]
        return self._job("fit", task, [self.layout.data], outputs, ("starts", task.start), of=name, device="cpu")

    @once
    def select(self) -> Job[Select]:
        """The job that finds sigma_M*, on seeds, latents and held-out images that no table reports."""
        e, selection = self.experiment, self.each.experiment.selection
        if selection is None:
            raise ConfigError("selection: this experiment has no such block; config/digits.yaml has one")
        count = selection.num_samples or e.num_samples * len(e.sample_seeds)  # the audit of the tables has this power
        drawn = self._drawing("selection", selection.trial(), count)
        plugged = *self._plugged(drawn), *(("metrics", name) for name in AUDITED_BY)
        inputs = (*self._read_by(drawn), self.layout.heights)
        return self._job("select", Select(drawn, e.copying_tolerance), inputs, [self.layout.star], *plugged)

    @once
    def sample(self, name: str) -> Job[Sample] | Job[Read]:
        """The job that draws all samples of one method, or reads those that come from elsewhere."""
        method, outputs = named(self.each.experiment.methods, name, "method"), [self.layout.samples(name)]
        if isinstance(method, Given):
            return self._reading(name, method, outputs)
        task = self._drawing(name, method, self.experiment.num_samples)
        inputs = (*self._read_by(task), *([self.layout.learned(name)] if method.learns else []))
        return self._job("sample", task, inputs, outputs, *self._plugged(task), of=name)

    @once
    def learn(self, name: str) -> Job[Sample]:
        """The job that learns what a method leaves open, from starts that no table uses."""
        method = named(self.each.experiment.drawn, name, "method")
        if not method.learns:
            raise ConfigError(f"methods.{name}: nothing of it is learned, `dpmot sample {name}` draws it")
        starts = min(learning_starts(method), self.experiment.num_samples)  # a smoke run has few
        training = self.each.seeds[name] if self.each.repeated else None
        task = self._drawing(name, method.but(sample_seeds=(seed_of(training),)), starts)
        plugged, outputs = self._plugged(task), [self.layout.learned(name)]
        return self._job("learn", task, self._read_by(task), outputs, *plugged, of=name)

    @once
    def couple(self) -> Job[Couple]:
        """The job that measures what the map from noise to sample is like."""
        e, coupling = self.experiment, self.experiment.coupling
        if coupling is None:
            raise ConfigError("coupling: this experiment has no such block; config/singular.yaml has one")
        drawn = {name: self.each.experiment.drawn[self.each.firsts[name]] for name in coupling.methods}
        samples = {name: self._drawing(name, coupling.of(one), e.num_samples) for name, one in drawn.items()}
        task = Couple(e.experiment, e.dataset, samples, coupling.moves, coupling.num_noises, coupling.num_samples)
        inputs = sorted({file for one in samples.values() for file in self._read_by(one)})
        plugged = sorted({plugin for one in samples.values() for plugin in self._plugged(one)})
        return self._job("couple", task, inputs, [self.layout.coupling, self.layout.strips], *plugged)

    @once
    def measure(self) -> Job[Measure]:
        """The job that measures every cell and writes the tidy tables."""
        e, layout = self.experiment, self.layout
        extractors = {name: e.feature_options.get(name, {}) for name in self.extractors}
        code = tuple(sorted({module for job in self.compute() for module in job.code}))
        offered = (Extractor(name, Offer(given=options)) for name, options in extractors.items())
        inputs = [layout.data, *(file for extractor in offered for file in extractor.inputs())]
        inputs += [layout.classifier] if self.needs_classifier else []
        inputs += map(layout.samples, self.each.experiment.methods)
        networks = {method.network for method in self.each.experiment.drawn.values()}
        inputs += map(layout.network, sorted(networks))  # for the fingerprint
        plugged = [*(("features", name) for name in extractors), *(("metrics", name) for name in e.metrics)]
        return self._job("measure", Measure(e, e.scientific(), extractors, code), inputs, layout.measured, *plugged)

    @once
    def page(self, name: str) -> Job[Mapping[str, Any]]:
        """The job that draws one table or figure; its text depends on everything that the configuration says."""
        layout, e, root = self.layout, self.experiment, self.layout.root
        metrics, replicates, audit, identity, copies, mixed, fingerprint = layout.measured
        reads = {
            "identity": [identity],
            "replicates": [replicates],
            "copies": [copies],
            "mixed": [mixed],
            "coupling": [layout.coupling] if e.coupling else [],
            "star": [layout.star] if e.selection else [],
            "data": [layout.data],
            "strips": [layout.strips] if e.coupling else [],
            "samples": [layout.samples(method) for method in self.each.firsts.values()],
            "timings": [layout.timing(job) for job in (*self._solves, *self._draws)],
            "reported": [Path("paper_figures/reported.csv")],
            "fits": [layout.facts_of_fit(fit) for fit in self.fits],
            "trainings": [layout.trainings],
        }
        asked: Any = plugins.constant("pages", name, "READS") or ()
        inputs = [metrics, audit, fingerprint, *(file for kind in asked for file in reads[kind])]
        table, figure = ("tables", (".md", ".tex", "_full.tex", ".csv")), ("figures", (".png", ".pdf"))
        folder, endings = table if name in e.tables else figure
        files = [root / folder / f"{name}{ending}" for ending in endings]
        facts = [("metrics", metric) for metric in plugins.names("metrics")]  # dpmot.results finds both by name
        facts += [("features", extractor) for extractor in self.extractors]
        code = _modules(("pages", name), *facts)
        task = {"name": name, "config": e.written()}
        return Job("page", name, task, tuple(inputs), (*files, layout.timing(name)), code)

    def pages(self) -> list[Job[Mapping[str, Any]]]:
        """Every table and figure."""
        return [self.page(name) for name in (*self.experiment.tables, *self.experiment.figures)]

    @once
    def trainings(self) -> Job[tuple[Trained, ...]]:
        """The job that gathers what networks saw in training."""
        each, layout = self.each, self.layout
        networks = each.experiment.networks.items()
        maps = {one: drawing(each.experiment, one)[1] for one, _ in networks}
        task = tuple(Trained(one, each.origin[one], each.seeds[one], given.how, maps[one]) for one, given in networks)
        inputs = [file for one in maps for file in (layout.network(one), layout.timing(f"train_{one}"))]
        for one in dict.fromkeys(filter(None, maps.values())):
            inputs.append(layout.timing(f"pair_{one}"))
        code = (f"{STAGES}.trainings",)
        return Job("trainings", "trainings", task, tuple(inputs), (layout.trainings,), code)

    @once
    def timings(self) -> Job[tuple[str, ...]]:
        """The job that gathers the timings of all others."""
        e = self.experiment
        names = tuple(job.name for job in (*self.compute(), *([self.couple()] if e.coupling else []), self.measure()))
        names += (*e.tables, *e.figures)
        inputs, code = tuple(map(self.layout.timing, names)), (f"{STAGES}.timings",)
        return Job("timings", "timings", names, inputs, (self.layout.timings,), code)

    @once
    def compute(self) -> tuple[Job, ...]:
        """Every job before measuring, in the order of the paper."""
        jobs: list[Job] = [self.prepare(), *map(self.pair, self.pairings)]
        jobs += map(self.train, self.each.experiment.networks)
        jobs += [self.classify()] if self.needs_classifier else []
        jobs += [self.solve()] if self._solves else []
        jobs += map(self.fit, self.fits)
        jobs += [self.select()] if self.experiment.selection else []
        each = self.each.experiment
        jobs += [self.learn(name) for name, method in each.drawn.items() if method.learns]
        return (*jobs, *map(self.sample, each.methods))

    @once
    def all(self) -> tuple[Job, ...]:
        """Every job that can be asked for."""
        coupling = [self.couple()] if self.experiment.coupling else []
        return (*self.compute(), *coupling, self.measure(), self.trainings(), *self.pages(), self.timings())

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

    @property
    def _solves(self) -> tuple[str, ...]:
        """The job that solves transport problems, where samples are drawn."""
        return ("solve",) if self.experiment.drawn else ()

    @property
    def _draws(self) -> tuple[str, ...]:
        """The jobs that draw or read samples."""
        return tuple(f"sample_{method}" for method in self.each.experiment.methods)

    def _reading(self, name: str, method: Given, outputs: Files) -> Job[Read]:
        """The job that reads samples; what a folder holds is in its task, as are times and sizes of all files."""
        paths = [*map(Path, filter(None, (*method.paths, method.train_reference)))]
        state = digest([given_images.file_state(path) for path in paths])
        task = Read(name, method.but(label=None, group=None), method.cells(), state)
        inputs = [self.layout.data, *(path for path in paths if path.is_file())]
        return self._job("read", task, inputs, outputs, of=name, job="sample", threads=1, device="cpu")

    def _drawing(self, name: str, method: Method, num_samples: int) -> Sample:
        e, cells = self.experiment, tuple(grid.cells_of(self.each.experiment, method))
        fit = fit_of(e, method)
        drawn = method.but(label=None, group=None)
        return Sample(name, drawn, cells, num_samples, e.atom_seed, e.num_atoms, fit.name if fit else None)

    def _read_by(self, task: Sample) -> tuple[Path, ...]:
        files = [self.layout.data, self.layout.network(task.method.network)]
        files += [self.layout.heights] if task.method.needs_heights else []
        files += [self.layout.classifier] if task.method.balanced else []
        files += [self.layout.fit(task.fit)] if task.fit else []
        return (*files, *([self.layout.star] if task.method.level == "star" else []))

    def _plugged(self, task: Sample) -> list[tuple[str, str]]:
        method, networks = task.method, self.each.experiment.networks
        network = networks[method.network]
        kind = network.kind or networks[str(network.teacher)].kind
        sampler = [("baselines", method.sampler)] if method.sampler != "none" else []
        judge = [("features", "classifier")] if method.balanced else []
        return [("starts", method.start), ("networks", str(kind)), *sampler, *judge]

    def _job(
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
        name, e = f"{job or stage}_{of}" if of else stage, self.experiment
        code = (f"{STAGES}.{stage}", *_modules(*plugged), *also)
        inputs, outputs = tuple(inputs), tuple(outputs)
        if own := {file.resolve() for file in inputs} & {file.resolve() for file in outputs}:
            raise ConfigError(f"{name} would read and write {own.pop()}; give a copy of it, or another `experiment:`")
        machine = {"threads": e.threads, "device": e.device, **machine}
        return Job(stage, name, task, inputs, (*outputs, self.layout.timing(name)), code, **machine)


def _modules(*plugged: Plugin) -> tuple[str, ...]:
    return tuple(plugins.module_name(kind, name) for kind, name in plugged)
