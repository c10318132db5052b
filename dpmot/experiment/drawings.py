"""What jobs that draw samples share: their task, the files that they read, and the plug-ins that they use."""

from dataclasses import dataclass
from pathlib import Path

from dpmot.data import _given as given_images
from dpmot.experiment import grid
from dpmot.experiment.fits import fit_of
from dpmot.experiment.layout import Layout
from dpmot.experiment.plan import Experiment, Given, Method
from dpmot.experiment.tasks import Read, Sample
from dpmot.runtime.fingerprint import digest


@dataclass(frozen=True)
class Drawings:
    """Samples of an experiment as its jobs draw them.

    Attributes:
        experiment: as it is configured.
        each: the same with every member among its networks and methods, see :mod:`dpmot.experiment.members`.
        layout: of its files.
    """

    experiment: Experiment
    each: Experiment
    layout: Layout

    def task(self, name: str, method: Method, num_samples: int) -> Sample:
        """All cells of a method, so many samples each."""
        e, cells = self.experiment, tuple(grid.cells_of(self.each, method))
        fit = fit_of(e, method)
        drawn = method.but(label=None, group=None)
        return Sample(name, drawn, cells, num_samples, e.atom_seed, e.num_atoms, fit.name if fit else None)

    def reading(self, name: str, method: Given) -> tuple[Read, tuple[Path, ...]]:
        """Samples from elsewhere, and the files behind them; a folder is in the task, as are times and sizes of all."""
        paths = [*map(Path, filter(None, (*method.paths, method.train_reference)))]
        state = digest([given_images.file_state(path) for path in paths])
        task = Read(name, method.but(label=None, group=None), method.cells(), state)
        return task, (self.layout.data, *(path for path in paths if path.is_file()))

    def reads(self, task: Sample) -> tuple[Path, ...]:
        """The files behind the samples, but for what was learned."""
        files = [self.layout.data, self.layout.network(task.method.network)]
        files += [self.layout.heights] if task.method.needs_heights else []
        files += [self.layout.classifier] if task.method.balanced else []
        files += [self.layout.fit(task.fit)] if task.fit else []
        return (*files, *([self.layout.star] if task.method.level == "star" else []))

    def behind(self, task: Sample) -> tuple[Path, ...]:
        """The same, and what was learned."""
        return (*self.reads(task), *([self.layout.learned(task.name)] if task.method.learns else []))

    def plugged(self, task: Sample) -> list[tuple[str, str]]:
        """Kind and name of each plug-in."""
        method, networks = task.method, self.each.networks
        network = networks[method.network]
        kind = network.kind or networks[str(network.teacher)].kind
        sampler = [("baselines", method.sampler)] if method.sampler != "none" else []
        judge = [("features", "classifier")] if method.balanced else []
        return [("starts", method.start), ("networks", str(kind)), *sampler, *judge]
