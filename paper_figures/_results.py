"""A results folder as tables and figures see it: its files, and what the configuration says of methods.

Tables use pooled rows of metrics.csv only: those of a cell over all its sample seeds.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dpmot import results as files
from dpmot.experiment.checks import ConfigError, parsed
from dpmot.experiment.members import Members, members
from dpmot.experiment.plan import Experiment
from dpmot.results import (
    FLOORS,
    OVER_TRAININGS,
    POOLED,
    REAL_TRAIN,
    SKIPPED,
    Schema,
    sigma_key,
    stem,
)
from dpmot.runtime.packed import stored
from paper_figures._agreement import OUTSIDE, of_the_plan, one_sigma
from paper_figures._json import Fingerprint, Star, Timing, record
from paper_figures._verdicts import UNKNOWN, verdicts

CLASSIFIER = "classifier"  # the data set's own: its features come first
GROUPS = {
    "rivals": "Rivals, from the prior",
    "mixture": "Gaussian mixture starts",
    "dpm_ot": "DPM-OT",
    "singular": "DPM-OT, singular set",
    "controls": "Controls",
    "as_code": "DPM-OT, options of the authors' code",
    "given": "Samples from elsewhere, NFE as stated",
}


Row = Mapping[str, Any]  # one row of a table, by the names of its columns


@dataclass(frozen=True)
class Results:
    """What was read from one results folder; whatever else a page asks for is read when it asks.

    Attributes:
        folder: the results folder.
        metrics: metrics.csv, over all training seeds; keys as text, ``value low high sigma_start sigma_atoms`` as
            float (NaN: empty).
        experiment: experiment.json, the resolved config.
        drawn: the same of what was drawn, with each member of a method at several training seeds.
    """

    folder: Path
    metrics: pd.DataFrame
    experiment: Experiment
    drawn: pd.DataFrame

    @cached_property
    def each(self) -> Members:
        """The methods that were drawn: at several training seeds each one's members."""
        return members(self.experiment)

    # CSV files that need not exist: None where they do not
    audit = cached_property(lambda self: self._table("audit", files.AUDIT))
    identity = cached_property(lambda self: self._table("identity", files.IDENTITY))
    ideal = cached_property(lambda self: self._table("ideal", files.IDEAL))
    coupling = cached_property(lambda self: self._table("coupling", files.COUPLING))
    copies = cached_property(lambda self: self._table("copies", files.FLAGS))
    trainings = cached_property(lambda self: self._table("trainings", files.TRAININGS))
    timings = cached_property(lambda self: self._table("timings", files.TIMINGS))
    mixed = cached_property(lambda self: self._table("mixed", files.MIXED))

    @cached_property
    def star(self) -> Star | None:
        """star.json, the selection of sigma_M*, or None."""
        file = self.folder / "star.json"
        return record(file, Star) if file.is_file() else None

    @cached_property
    def fits(self) -> dict[str, dict[str, Any]]:
        """What is known of each fit of a start, by its name: fits/*.json."""
        return {file.stem: files.read_json(file) for file in sorted((self.folder / "fits").glob("*.json"))}

    @cached_property
    def replicates(self) -> dict[tuple[str, str, str], tuple[float, np.ndarray]]:
        """(cell, metric, reference) -> plain value of all samples and without each jackknife group (G,)."""
        file = self.folder / "replicates.csv"
        return files.replicates(file) if stored(file).is_file() else {}

    @cached_property
    def arithmetic(self) -> dict[str, float]:
        """Seconds of arithmetic of each job, from timings.csv and timings/, which is there before that file."""
        table = self.timings
        gathered = {} if table is None else dict(zip(table["job"], table["arithmetic_s"], strict=True))
        single = [record(path, Timing) for path in sorted((self.folder / "timings").glob("*.json"))]
        return gathered | {timing.job: timing.arithmetic_s for timing in single}

    def _table(self, name: str, schema: Schema) -> pd.DataFrame | None:
        file = self.folder / f"{name}.csv"
        known = (*self.experiment.methods, *self.each.experiment.methods)
        return files.read(file, schema, methods=known) if stored(file).is_file() else None

    @cached_property
    def source(self) -> str:
        """The data set with what a reader of every number must know of it: source, exactness (fingerprint.json)."""
        file = self.folder / "fingerprint.json"
        note = record(file, Fingerprint).data.note if file.is_file() else None
        loaded = [name for name, network in self.experiment.networks.items() if _foreign(network.weights)]
        loaded += ["the classifier"] * _foreign(self.experiment.classifier.weights)
        told = f"; loaded weights ({', '.join(loaded)}): trained on images not known here, maybe those of splits B or C"
        return f"Data set {self.experiment.dataset}" + (f" ({note})" if note else "") + (told if loaded else "")

    @property
    def warning(self) -> str:
        """Why no number of a page is a result; "" where the experiment was run as it is written."""
        name, notes = self.experiment.experiment, self.experiment.notes
        if self.experiment.scale == "smoke" or re.search("(^|_)smoke(_|$)", name):
            return "SMOKE RUN: it shows that everything runs; no number here is a result"
        return f"NOT THE EXPERIMENT AS WRITTEN: {'; '.join(notes)}" if notes else ""

    @property
    def chosen(self) -> tuple[str, ...]:
        """What the experiment's own configuration leaves out, a note for the end of a page; () where it is nothing."""
        return tuple(f"Of this experiment's own configuration: {one}." for one in self.experiment.left_out)

    @property
    def fewer(self) -> str:
        """Of the same how many methods, for the small print of a figure, behind its source; "" where it is none."""
        named = [found[1] for one in self.experiment.left_out if (found := re.match("left out: methods ([^;]+)", one))]
        number = sum(len(names.split(", ")) for names in named)
        many = f"{number} method{'s' if number > 1 else ''}"
        return f"; its own configuration leaves out {many}, which the tables name" if number else ""

    def caption(self, told: str, marks: Iterable[str], most: int | None = None) -> str:
        """The source, what is ``told`` of the numbers, and the fingerprints of their rows."""
        return f"{self.source}; {told}; fingerprint: {fingerprints(marks, most)}"

    @property
    def pooled_over(self) -> str:
        """What a value is pooled over, and what its interval is over where that is more than samples."""
        seeds = f"pooled over {len(self.experiment.sample_seeds)} sample seeds"
        if not self.each.repeated:
            return seeds
        number = f"{len(self.experiment.trainings)} training seeds"
        return f"the mean of {number}, each {seeds}; intervals are over the {number} (Student's t)"

    @property
    def in_brackets(self) -> str:
        """What stands in brackets after a value, beside ``pooled_over``."""
        return f"95 % intervals in brackets{self.over}"

    @property
    def over(self) -> str:
        """What intervals are over, to follow them where ``pooled_over`` stands, which says it of training seeds."""
        return "" if self.each.repeated else ", over samples"

    @property
    def units(self) -> str:
        """What two methods are compared in pairs of."""
        return "training seeds" if self.each.repeated else "samples"

    @property
    def at_first(self) -> str:
        """The training seed of what is shown of one network, to stand before its sample seed; "" where there is one."""
        return f"training seed {self.experiment.trainings[0]}, " if self.each.repeated else ""

    @cached_property
    def owner(self) -> dict[str, str]:
        """What was drawn -> its method in the config."""
        return {one: name for name, members in self.each.of.items() for one in members}

    def of_first(self) -> pd.DataFrame:
        """The rows of ``drawn`` at the first training seed, with the methods' names in the config."""
        rows = self.drawn[self.drawn["method"].isin(self.each.firsts.values())]
        return rows.assign(method=rows["method"].map(self.owner))

    @property
    def budgets(self) -> list[str]:
        """NFE budgets, ascending, as text."""
        return [str(nfe) for nfe in sorted(self.experiment.nfe_budgets)]

    @property
    def stored(self) -> int | None:
        """Training images behind the atoms, of which a stored start is one; None where their floor was not measured."""
        number = self.images(REAL_TRAIN)
        return None if number is None else min(number, self.experiment.num_atoms or number)

    def images(self, floor: str) -> int | None:
        """Real images of the split that REAL_TRAIN or REAL_TEST measures; None where it was not measured."""
        rows = self.metrics.loc[self.metrics["method"] == floor, "num_samples"]
        return int(rows.iloc[0]) if len(rows) else None

    @property
    def methods(self) -> list[str]:
        """Methods in the order of the config."""
        return list(self.experiment.methods)

    @property
    def chains(self) -> list[str]:
        """Networks in the order of their methods: a student has its teacher's chain, given samples have none."""
        return list(dict.fromkeys(map(self.chain, self.methods)))

    def label(self, method: str) -> str:
        """Printed name of a method, one line."""
        planned = self.experiment.methods.get(method)
        label = FLOORS.get(method) or (planned and planned.label) or method
        return re.sub(r"[\s\x00-\x1f\x7f]+", " ", label).strip() or method

    def title(self, method: str) -> str:
        """The label, with the network where two methods share a label."""
        label = self.label(method)
        shared = sum(self.label(other) == label for other in self.methods) > 1
        return f"{label} on {self.attribute(method, 'network')}" if shared else label

    def group(self, method: str) -> str:
        """Group of a method: rivals, dpm_ot, ..., reference, given or other."""
        planned = self.experiment.methods.get(method)
        return (planned and planned.group) or ("given" if method in self.experiment.elsewhere else "other")

    def of_groups(self, rows: pd.DataFrame, groups: Sequence[str]) -> pd.Series:
        """Whether the method of each row belongs to one of the groups, bool."""
        return rows["method"].map(self.group).isin(groups)

    def attribute(self, method: str, column: str) -> str:
        """``network``, ``start`` or ``sampler`` of a method; "" where it has none."""
        return str(getattr(self.experiment.methods.get(method), column, None) or "")

    def chain(self, method: str) -> str:
        """The network whose chain a method runs on: its own, or the teacher's of a distilled one."""
        name = self.attribute(method, "network")
        network = self.experiment.networks.get(name)
        return (network and network.teacher) or name

    @property
    def families(self) -> list[str]:
        """Feature families with a Frechet distance, as the suffix of its name; classifier first, and if none."""
        distances = {name.removeprefix("fd_") for name in self.metrics["metric"] if stem(name) == "fd"}
        return sorted(distances, key=lambda family: (family != CLASSIFIER, family)) or [CLASSIFIER]

    def reference(self, metric: str) -> str:
        """The reference a metric with one reference is stored under; "none" where it was not run."""
        stored = self.metrics.loc[self.metrics["metric"] == metric, "reference"]
        return str(stored.iloc[0]) if len(stored) else "none"

    @cached_property
    def main_methods(self) -> list[str]:
        """Methods that have a row in the main tables: those run at an NFE budget, or planned and not yet run."""
        at = self.metrics.groupby("method")["nfe_budget"].agg(set)
        inside = [method for method in self.methods if self.group(method) not in OUTSIDE]
        return [method for method in inside if method not in at or at[method] & set(self.budgets)]

    def pooled(self) -> pd.DataFrame:
        """A copy of the pooled rows, with ``ranked`` (bool), ``verdict`` (of UNRANKED, "smooth" or "") and ``audit``.

        The verdict is audit.csv's, and that of the cell's own metrics: noise, collapsed, or smooth, which is ranked.
        ``audit`` has its reasons.
        """
        return self._pooled.copy()

    @cached_property
    def _pooled(self) -> pd.DataFrame:
        rows = self.metrics[(self.metrics["sample_seed"] == POOLED) & (self.metrics["metric"] != SKIPPED)].copy()
        keys = zip(rows["method"], rows["nfe_budget"], rows["sigma_start"].map(sigma_key), strict=True)
        known = verdicts(self.metrics, self.audit)
        found = [known.get(key, UNKNOWN) for key in keys]
        return rows.assign(**{name: [getattr(one, name) for one in found] for name in ("ranked", "verdict", "audit")})

    def flags_of(self, method: str, nfe: str, sigma: float | None, seed: int) -> pd.DataFrame:
        """The rows of copies.csv of one cell and sample seed, at the first training seed; none without such a file."""
        return self._of_samples(self.copies, files.FLAGS, method, nfe, sigma, seed)

    def mixed_of(self, method: str, nfe: str, sigma: float | None, seed: int) -> pd.DataFrame:
        """The same of mixed.csv, the most mixed first."""
        return self._of_samples(self.mixed, files.MIXED, method, nfe, sigma, seed)

    def _of_samples(
        self, known: pd.DataFrame | None, schema: Schema, method: str, nfe: str, sigma: float | None, seed: int
    ) -> pd.DataFrame:
        table = pd.DataFrame(columns=schema.columns) if known is None else known
        drawn = self.each.firsts.get(method, method)
        own = (table["method"] == drawn) & (table["nfe_budget"] == nfe) & (table["sample_seed"] == str(seed))
        return table[own & (table["sigma_start"].map(sigma_key) == sigma_key(sigma))]

    def skipped(self) -> dict[tuple[str, str], str]:
        """(method, NFE budget) -> reason, for cells that were skipped as a whole, or that there can be none of."""
        rows = self.metrics[self.metrics["metric"] == SKIPPED]
        found = dict(zip(zip(rows["method"], rows["nfe_budget"], strict=True), rows["reason"], strict=True))
        for name, method in self.experiment.elsewhere.items():
            told = f"these samples came from elsewhere, at NFE {method.nfe} only"
            found |= {(name, budget): told for budget in self.budgets if budget != str(method.nfe)}
        return found


def _foreign(weights: str | None) -> bool:
    """Whether weights come from elsewhere: what this project trained, on split A, lies under results/."""
    return weights is not None and Path(weights).parts[0] != "results"


def fingerprints(values: Iterable[str], most: int | None = None, *, where: str = "") -> str:
    """The first distinct ones, how many more there are (``where``), or "none"."""
    distinct = [text for text in dict.fromkeys(values) if text and pd.notna(text)]
    more = len(distinct) - (most or len(distinct))
    return (", ".join(distinct[:most]) or "none") + (f" and {more} more{where}" if more > 0 else "")


def load(folder: Path) -> Results:
    """Read a results folder.

    Raises:
        ValueError: metrics.csv or experiment.json is missing, a file is malformed, or they contradict each other.
    """
    for name in ("metrics.csv", "experiment.json"):
        if not stored(folder / name).is_file():
            raise ValueError(f"{folder / name} does not exist; run the experiment first, or check --results")
    written = files.read_json(folder / "experiment.json")
    try:
        experiment = parsed(written).completed()
    except ConfigError as error:
        raise ValueError(f"{folder / 'experiment.json'}: {error}; make it again") from None
    known = [*experiment.methods, *members(experiment).experiment.methods]
    metrics = files.read(folder / "metrics.csv", files.METRICS, methods=known)
    if metrics.empty:
        raise ValueError(f"{folder / 'metrics.csv'} has no rows; run the experiment first")
    shown = metrics["method"].isin([*experiment.methods, *FLOORS])
    results = Results(folder, metrics[shown], experiment, metrics[metrics["training_seed"] != OVER_TRAININGS])
    of_the_plan(results, metrics)
    one_sigma(results)
    return results
