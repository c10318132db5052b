"""A network before and after it was rewired: what each network saw and took, and which rows are compared.

Rows are compared that share sampler and grid, and whose networks go on from the same one: *after* its coupling is
semidiscrete, the *control* went on for as many images with independent noise, *minibatch* with an assignment inside
each batch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isnan, nan
from typing import Any

import pandas as pd

from dpmot.experiment.networks import Network
from dpmot.results import COPIES, POOLED, by_key
from paper_figures._results import Results, Row

BATCH = 128  # of a training that does not say its own


@dataclass(frozen=True)
class Trained:
    """What one network of the configuration saw and took, in the mean over its training seeds; NaN: not known.

    Attributes:
        name, origin: of it, and of the network that it goes on from; "" where it starts from nothing.
        coupling: independent, minibatch or semidiscrete; as of its own training.
        tau, chi2, off: of the coupling; chi2 as certified, off: share of prior draws that are no point of it.
        images, before: seen in its own training, and by the network that it goes on from.
        train_s, map_s: seconds of its training, and of the map, which is solved once for all of its kind.
    """

    name: str
    origin: str
    coupling: str
    tau: float = nan
    chi2: float = nan
    off: float = nan
    images: float = nan
    before: float = nan
    train_s: float = nan
    map_s: float = nan

    @property
    def share(self) -> float:
        """Images of its own training over those that the network before had seen."""
        return self.images / self.before

    @property
    def seconds(self) -> float:
        """Of its training and its map."""
        return self.train_s + (0.0 if self.coupling != "semidiscrete" else self.map_s)


def networks(results: Results) -> dict[str, Trained]:
    """Each network of the configuration, from trainings.csv, or from the configuration alone."""
    rows = results.trainings
    return {name: _trained(name, given, rows) for name, given in results.experiment.networks.items()}


def _trained(name: str, given: Network, rows: pd.DataFrame | None) -> Trained:
    training = given.training
    stated = (training.coupling if training else None) or "independent"
    if rows is None or (own := rows[rows["of"] == name]).empty:
        images = training.steps * (training.batch or BATCH) if training and given.how == "trained" else nan
        return Trained(name, given.rewires or "", stated, (training and training.tau) or nan, images=images)
    known = {
        field: float(own[column].mean())
        for field, column in {
            **{one: one for one in ("tau", "chi2", "off", "train_s", "map_s")},
            "images": "images_seen",
            "before": "images_before",
        }.items()
    }
    if isnan(known["tau"]) and training and training.tau:
        known["tau"] = training.tau
    coupling = str(own["coupling"].iloc[0] or "") if given.how == "loaded" else stated
    return Trained(name, given.rewires or "", coupling or "independent", **known)


@dataclass(frozen=True)
class Compared:
    """Rows of one sampler and grid on networks that go on from one.

    Attributes:
        results: of which they are.
        before, after: methods; after with the semi-discrete coupling.
        control, minibatch: methods, as many images with these; "" where there are none.
        network: of ``after``.
    """

    results: Results
    before: str
    after: str
    control: str
    minibatch: str
    network: Trained

    @cached_property
    def metric(self) -> str:
        """Its name in metrics.csv."""
        return f"fd_{self.results.families[0]}"

    @cached_property
    def rows(self) -> Mapping[tuple[Any, ...], Row]:
        """(method, NFE budget, metric, reference) -> its pooled row."""
        return rows_of(self.results, self.metric)

    def fd(self, method: str, nfe: str) -> Row | None:
        """FD against test."""
        return self.rows.get((method, nfe, self.metric, "test"))

    def copies(self, method: str, nfe: str) -> Row | None:
        """Share of copies of train."""
        return self.rows.get((method, nfe, COPIES, "train"))

    @property
    def budgets(self) -> list[str]:
        """At which both rows are measured."""
        return [nfe for nfe in self.results.budgets if self.fd(self.before, nfe) and self.fd(self.after, nfe)]

    @property
    def sampler(self) -> str:
        """Its printed name."""
        method = self.results.experiment.drawn[self.after]
        return {"ddim": "DDIM", "ipndm": "iPNDM-4"}.get(method.sampler, method.sampler)


def rows_of(results: Results, metric: str) -> Mapping[tuple[Any, ...], Row]:
    """(method, NFE budget, metric, reference) -> pooled row with a value, of FD against test and of copies of train."""
    rows = results.pooled()
    wanted = (rows["metric"] == metric) & (rows["reference"] == "test")
    wanted |= (rows["metric"] == COPIES) & (rows["reference"] == "train")
    return by_key(rows[wanted & rows["value"].notna()], "method", "nfe_budget", "metric", "reference")


def of_samples(results: Results, metric: str) -> dict[tuple[str, str], tuple[float, float]]:
    """(method, NFE budget) -> mean low and high of its members' intervals, over the samples of one network each."""
    rows = results.drawn
    rows = rows[(rows["metric"] == metric) & (rows["reference"] == "test") & (rows["sample_seed"] == POOLED)]
    rows = rows[rows["method"].isin(results.owner) & rows["value"].notna()]
    found = rows.assign(method=rows["method"].map(results.owner)).groupby(["method", "nfe_budget"])[["low", "high"]]
    return {key: (row["low"], row["high"]) for key, row in found.mean().iterrows()}  # type: ignore[misc]


def compared(results: Results) -> list[Compared]:
    """Every semi-discrete row that stands beside one before it: main rows, in the configuration's order."""
    known, drawn = networks(results), results.experiment.drawn
    found = []
    for name in results.main_methods:
        method = drawn.get(name)
        own = known.get(method.network) if method else None
        if method is None or own is None or own.coupling != "semidiscrete" or not own.origin:
            continue
        training = results.experiment.networks[method.network].training
        if training and training.heights:  # a control, whose map nothing solves
            continue
        alike = [
            other
            for other in results.main_methods
            if other in drawn
            and (drawn[other].sampler, drawn[other].grid, drawn[other].start) == (method.sampler, method.grid, "prior")
        ]

        def one(coupling: str, own: Trained = own, alike: list[str] = alike) -> str:
            fit = (other for other in alike if _goes_on(known[drawn[other].network], own, coupling))
            return next(fit, "")

        before = next((other for other in alike if drawn[other].network == own.origin), "")
        if before:
            found.append(Compared(results, before, name, one("independent"), one("minibatch"), own))
    return found


def _goes_on(other: Trained, own: Trained, coupling: str) -> bool:
    return other.origin == own.origin and other.coupling == coupling and other.images == own.images
