"""Does the gate sleep, or cry wolf? Twelve planted bugs, and honest runs with other noise.

Bugs: config/gate.yaml is run with the same seeds, one mistake at a time patched into the code, and compared in pairs
with the honest run (as code that changed would be; its fingerprint is made to differ). Exit status 1 or 2 counts as
caught.

False alarms: a pool of samples from other seeds is drawn once; each honest run is n of them drawn again, measured like
a run, and compared with the reference from the intervals.

example: python -m benchmarks.gate_power
         python -m benchmarks.gate_power --bugs truncation nfe_miscounted --redraws 0 --reference results/gate   # CI
"""

import argparse
import importlib
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import partial
from io import StringIO
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from dpmot import plugins, seeds
from dpmot.diffusion import metering, network
from dpmot.diffusion.protocols import Denoiser
from dpmot.evaluation.estimates import NUM_GROUPS
from dpmot.evaluation.estimates import measure as measured
from dpmot.evaluation.feature_cache import Extractors
from dpmot.experiment import grid
from dpmot.experiment.config import load
from dpmot.experiment.jobs import STAGES, Job, Jobs
from dpmot.experiment.layout import Layout
from dpmot.experiment.plan import Classifier
from dpmot.experiment.stages import _measuring, sample, train
from dpmot.experiment.stages._prepared import read_data
from dpmot.features import classifier
from dpmot.gate.compare import compare
from dpmot.gate.runs import Run
from dpmot.runtime.packed import stored
from dpmot.starts import transport

CONFIG = str(plugins.ROOT / "config" / "gate.yaml")
SHARED = ("data.safetensors", "transport.safetensors", "networks")
POOL = 8  # samples in the pool of a cell for each one of a run


def grid_off_by_one() -> None:
    """Trajectories of n steps on the last n + 1 levels of a grid of n + 1 steps: they start one level too low.

    Students have no other grids than their own, and would refuse.
    """
    original = grid.sigmas

    def late(chain, cell):
        return original(chain, replace(cell, steps=cell.steps + 1))[1:]

    grid.sigmas = lambda chain, cell: (original if chain.step_counts else late)(chain, cell)


def missing_final_step() -> None:
    """The last step, from sigma_min to 0, is left out: the last call of the network hands back its input."""
    original = metering.run

    def unfinished(sampler, denoiser, x, sigmas, **options):
        return original(sampler, Unfinished(denoiser, float(sigmas[-2]) * (1 + 1e-9)), x, sigmas, **options)

    metering.run = unfinished


class Unfinished:
    """A denoiser that hands back its input from level ``last`` on."""

    def __init__(self, denoiser: Denoiser, last: float) -> None:
        self.denoiser, self.last = denoiser, last
        self.sigma_min, self.sigma_max = denoiser.sigma_min, denoiser.sigma_max

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """D(x, sigma), or x."""
        found = self.denoiser(x, sigma)
        return x if float(torch.as_tensor(sigma).max()) <= self.last else found


def _encoded(function: Callable) -> None:
    sample.encode = lambda x, like: function((x + 1) * 127.5)


def clamp_forgotten() -> None:
    """Grey levels beyond 0 ... 255 wrap around."""
    _encoded(lambda grey: grey.round().long().remainder(256).to(torch.uint8))


def truncation() -> None:
    """Grey levels are cut off instead of rounded."""
    _encoded(lambda grey: grey.clamp(0, 255).floor().to(torch.uint8))


def wrong_layer() -> None:
    """Features are the logits instead of the layer before."""
    original = classifier.Classifier.forward

    def logits(self, x):
        _, found = original(self, x)
        return found, found

    classifier.Classifier.forward = logits


def duplicates() -> None:
    """Two samples in a hundred are copies of others."""
    original = sample.LoadedMethod.draw

    def repeated(self, cell):
        drawn, counted = original(self, cell)
        n = len(drawn["images"])
        for name in ("images", "source"):
            if name in drawn:
                drawn[name][n - n // 50 :] = drawn[name][: n // 50].clone()
        return drawn, counted

    sample.LoadedMethod.draw = repeated


def heights_zero() -> None:
    """The transport map's heights are all zero."""
    original = sample.read

    def zero(path):
        tensors, facts = original(path)
        return {name: torch.zeros_like(value) for name, value in tensors.items()}, facts

    sample.read = zero


def uniform_source() -> None:
    """The map for a normal source is fed U[0, 1)."""
    original = transport.Start.__init__

    def fed_uniform(self, setting, **options):
        original(self, setting, **options)
        self.source_measure = "uniform"

    transport.Start.__init__ = fed_uniform


def ddim_noise() -> None:
    """DDIM adds noise, eta = .2."""
    original = metering.fresh

    def noisy(sampler):
        module = original(sampler)
        if sampler == "ddim":
            module.sample = partial(module.sample, eta=0.2)
        return module

    metering.fresh = noisy


def nfe_miscounted() -> None:
    """The first evaluation is not counted."""
    original = metering.run

    def less(*args, **options):
        x, spent = original(*args, **options)
        return x, spent - 1

    metering.run = less


def other_labels() -> None:
    """The classifier is trained on shuffled labels."""
    original = classifier.train

    def shuffled(images, labels, *, seed, **options):
        order = torch.from_numpy(seeds.generator(seed, "shuffled").permutation(len(labels)))
        return original(images, labels[order], seed=seed, **options)

    classifier.train = shuffled


def no_bug() -> None:
    """Nothing is changed: the gate must pass."""


BUGS = {
    function.__name__: function
    for function in (
        *(grid_off_by_one, missing_final_step, clamp_forgotten, truncation, wrong_layer, duplicates, heights_zero),
        *(uniform_source, other_labels, ddim_noise, nfe_miscounted),
    )
}
NO_AVERAGE = "no_average"  # last weights instead of their average; it trains its own reference, in a minute or two


def run_stage(job: Job, layout: Layout) -> None:
    """Run one job in this process, in silence."""
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        importlib.import_module(f"{STAGES}.{job.stage}").run(job, layout)


def finish(jobs: Jobs) -> None:
    """Sample every method and measure."""
    jobs.record()
    for name in jobs.experiment.methods:
        run_stage(jobs.sample(name), jobs.layout)
    run_stage(jobs.measure(), jobs.layout)


def reference_run(folder: Path) -> None:
    """The honest run: everything of config/gate.yaml but its tables."""
    jobs = Jobs(load([CONFIG]), Layout(folder))
    for job in jobs.compute():
        if job.stage != "sample":
            run_stage(job, jobs.layout)
    finish(jobs)


def candidate_run(reference: Path, folder: Path, bug: str) -> Path:
    """The same with a bug, in a process of its own; its fingerprint is made to differ."""
    jobs = Jobs(load([CONFIG]), Layout(folder))
    folder.mkdir(parents=True)
    for name in SHARED:
        (shutil.copytree if (reference / name).is_dir() else shutil.copy2)(reference / name, folder / name)
    if bug == NO_AVERAGE:
        shutil.copy2(reference / "last.safetensors", jobs.layout.network("edm"))
    else:
        {**BUGS, "no_bug": no_bug}[bug]()
    if bug == "other_labels":
        jobs = Jobs(jobs.experiment.but(classifier=Classifier()), jobs.layout)
        run_stage(jobs.classify(), jobs.layout)
    finish(jobs)
    metrics = pd.read_csv(folder / "metrics.csv", dtype=str, keep_default_na=False).assign(fingerprint=f"bug: {bug}")
    metrics.to_csv(folder / "metrics.csv", index=False)
    return folder


def averaged_reference(reference: Path, folder: Path) -> Path:
    """A reference whose EDM network is trained here, with its last weights beside it."""
    jobs = Jobs(load([CONFIG]), Layout(folder))
    shutil.copytree(reference, folder, ignore=shutil.ignore_patterns("samples", "*.csv", "*.csv.xz", ".resume"))
    original = train.fit

    def fit(model, *args, **options):
        found = original(model, *args, **options)
        fit.last = {name: value.detach().clone() for name, value in model.named_parameters()}
        return found

    train.fit = fit
    digits = load([str(plugins.ROOT / "config" / "digits.yaml")])
    run_stage(Jobs(digits, jobs.layout).train("edm"), jobs.layout)
    train.fit = original
    network.save(folder / "last.safetensors", network.load(jobs.layout.network("edm")).card, {None: fit.last})
    finish(jobs)
    return folder


def verdict(reference: Path, folder: Path, bug: str) -> tuple[str, str]:
    """(exit status, first failed line) of a bug's run; a run that stops is caught too."""
    try:
        candidate_run(reference, folder, bug)
        report = compare(Run.read(folder), Run.read(reference))
    except (ValueError, ArithmeticError) as error:
        return "2", " ".join(str(error).split())[:150]
    worst = report.failed[0] if report.failed else None
    told = f"{len(report.failed)} of {len(report.findings)}; first {worst.cell}, {worst.metric}" if worst else ""
    return str(report.status), told


class Pool:
    """Samples of every cell from seeds that the reference does not use, with their features."""

    def __init__(self, layout: Layout, size: int) -> None:
        self.experiment, self.layout = load([CONFIG]), layout
        self.parts, mixture, _ = read_data(layout.data)
        job = Jobs(self.experiment, layout).measure()
        extractors = _measuring.extractors_of(job.task, layout, mixture)
        self.extract = Extractors(extractors, layout.features, threads=job.threads, device=job.device)
        train_, test = (self.extract(self.parts[p].raw, labels=self.parts[p].labels.numpy()) for p in "AC")
        self.references = {name: {"train": train_[name], "test": test[name]} for name in train_}
        self.size, self.cells = size, []

    def draw(self, name: str) -> list[tuple[dict, dict]]:
        """(cell, features) of one method."""
        method_with_seed = self.experiment.methods[name].but(sample_seeds=(1,))
        few = self.experiment.but(methods={name: method_with_seed}, num_samples=self.size)
        job = Jobs(few, self.layout).sample(name)
        method, found = sample.LoadedMethod.load(job, self.layout), []
        for cell in job.task.cells:
            drawn, counted = method.draw(cell)
            source = drawn.get("source")
            features = self.extract(drawn["images"], source=None if source is None else source.numpy())
            described = {key: getattr(job.task.method, key) for key in ("network", "start", "sampler")} | {
                "method": name
            }
            described |= {key: getattr(self.experiment, key) for key in ("dataset", "training_seed")}
            levels = {key: getattr(cell, key) for key in ("nfe_budget", "sigma_start", "sigma_atoms")}
            found.append(({**described, **levels, "nfe_counted": counted}, features))
        return found


def redrawn(pool: Pool, reference: Run, n: int, k: int) -> Counter:
    """The verdicts on honest run k."""
    rows = [row for row in reference.metrics.to_dict("records") if row["start"] == "data"]
    group = np.arange(n) % NUM_GROUPS
    for index, (cell, features) in enumerate(pool.cells):
        chosen = seeds.generator(k, "redrawn", index).choice(pool.size, n, replace=False)
        subset = {name: one.subset(chosen) for name, one in features.items()}
        found = _measuring.rows_of(
            {**cell, "sample_seed": "pooled", "num_samples": n}, measured(subset, pool.references, group)
        )
        rows += found
    table = pd.DataFrame(rows).assign(fingerprint=f"redrawn {k}")
    text_of = {name: table[name].map(lambda v: "" if v is None or v != v else str(v)) for name in table}
    candidate = Run(
        Path(f"redrawn {k}"), pd.DataFrame(text_of).reindex(columns=reference.metrics.columns, fill_value="")
    )
    report = compare(candidate, reference)
    return Counter(f"{one.cell}, {one.metric}: {one.verdict}" for one in report.failed)


_SHARED: dict = {}


def _share(layout: Layout, pool_cells: list, size: int, reference: Path) -> None:
    pool = Pool(layout, size)
    pool.cells = pool_cells
    _SHARED.update(pool=pool, reference=Run.read(reference))


def _redrawn(n: int, k: int) -> Counter:
    return redrawn(_SHARED["pool"], _SHARED["reference"], n, k)


def main() -> None:
    """Print both tables; exit status 1 where a bug was missed or more than one honest run in a hundred was stopped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    everything = [*BUGS, NO_AVERAGE]
    parser.add_argument("--bugs", nargs="*", choices=everything, default=everything)
    parser.add_argument("--redraws", type=int, default=300)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="keep the runs here (default: a folder that is removed)")
    parser.add_argument("--reference", type=Path, help="the honest run, as `make gate` leaves it (default: run here)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        reference = options.reference or folder / "reference"
        if not stored(reference / "metrics.csv").exists():
            reference_run(reference)
        missed = (bugs(folder, reference, options) if options.bugs else 0) + honest(reference, options)
    sys.exit(1 if missed else 0)


def bugs(folder: Path, reference: Path, options: argparse.Namespace) -> int:
    """The table of bugs; returns how many answers were wrong."""
    references = {name: reference for name in ("no_bug", *options.bugs)}
    if NO_AVERAGE in references:
        references[NO_AVERAGE] = folder / "averaged"
        if not stored(references[NO_AVERAGE] / "metrics.csv").exists():
            averaged_reference(reference, references[NO_AVERAGE])
    print("bug                   status  what the gate saw")
    wrong = 0
    # a process for each bug: a patch must not outlive it
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        waiting = {name: pool.submit(verdict, path, folder / name, name) for name, path in references.items()}
        for name, one in waiting.items():
            status, told = one.result()
            wrong += (status == "0") != (name == "no_bug")
            print(f"{name:20s}  {status:6s}  {told}", flush=True)
    print(f"{len(options.bugs) + 1 - wrong} of {len(options.bugs) + 1} right")
    return wrong


def honest(reference: Path, options: argparse.Namespace) -> int:
    """The false alarms; returns 1 where they are more than one in a hundred."""
    if not options.redraws:
        return 0
    layout, experiment = Layout(reference), load([CONFIG])
    n = experiment.num_samples
    pool = Pool(layout, POOL * n)
    for name in tqdm(experiment.methods, desc="pool", mininterval=5):
        pool.cells += pool.draw(name)
    alarms, seen = 0, Counter()
    shared = (layout, pool.cells, pool.size, reference)
    with ProcessPoolExecutor(options.workers, initializer=_share, initargs=shared) as workers:
        waiting = workers.map(partial(_redrawn, n), range(options.redraws))
        for found in tqdm(waiting, total=options.redraws, desc="honest runs", mininterval=5):
            alarms += bool(found)
            seen += found
    print(f"false alarms: {alarms} of {options.redraws} honest runs, n = {n} of a pool of {POOL * n} a cell")
    for told, count in seen.most_common(10):
        print(f"  {count} times {told}")
    return int(alarms > options.redraws // 100)


if __name__ == "__main__":
    main()
