"""From features to estimates: every metric of one set of samples, with jackknife replicates and intervals.

Group k mod 20 holds sample k of every seed, so methods that share seeds have paired replicates. Real images have no
seeds, and their splits hold each class in its share: their groups are drawn at random within the classes
(:func:`real_groups`).

Replicates leave samples out and answer what the same references would say of other samples, which is what two methods
are compared by. Intervals answer, where the metric's file has ``reference_rows``, what other references of this size
would say too: those of FD and KD, which are distances to a law, and of FLD, a mean over held-out images. The others ask
about these very images: which of them are reached, or near.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType

import numpy as np

from dpmot import plugins, seeds
from dpmot.features import Extractor, Features
from dpmot.metrics import AUDITED_SPACE, NotMeasurable
from dpmot.results import OTHER, PLAIN
from dpmot.statistics import jackknife
from dpmot.statistics.jackknife import Estimate

NUM_GROUPS = 20


@dataclass(frozen=True)
class Measurement:
    """One metric of one set of samples.

    Attributes:
        features: extractor.
        full: plain value of all samples.
        leave_out: plain values without each group, (G,).
        estimate: the value reported, debiased where the metric's bias falls like 1/n, with its 95 % interval; None
            where there are too few images for one, and nothing of the above.
        remark: what a reader of the value must know, or why there is none.
    """

    metric: str
    reference: str
    features: str
    full: float
    leave_out: np.ndarray
    estimate: Estimate | None
    remark: str = ""


def measure(
    generated: Mapping[str, Features],
    references: Mapping[str, Mapping[str, Features]],
    group: np.ndarray,
    *,
    stored: str = "train",
    names: Sequence[str] | None = None,
    real: bool = False,
) -> Iterator[Measurement]:
    """All metrics of one set of samples.

    Args:
        generated: extractor -> features of the n samples.
        references: extractor -> "train" and "test" features.
        group: jackknife group of each sample, (n,).
        stored: the reference whose images the method could copy: "train", or "test" where its atoms come from the
            test split. The copying audit asks about these images; its rows say so in their reference.
        names: the metrics to take, files of ``dpmot/metrics/``; None for all.
        real: whether the samples are real images, of the law of the references.
    """
    for name in plugins.names("metrics") if names is None else names:
        module = plugins.find("metrics", name)
        for extractor, features in generated.items():
            if wanted(module, extractor, features):
                swap = getattr(module, "COPYING", False) and stored == "test"
                seen = as_seen(references[extractor], stored) if swap else references[extractor]
                try:
                    measured = list(_one(module, features, seen, group, real=real))
                except NotMeasurable as absent:
                    key = absent.metric, absent.reference
                    measured = [Measurement(*key, extractor, np.nan, np.empty(0), None, str(absent))]
                for one in measured:
                    yield replace(one, reference=OTHER.get(one.reference, one.reference)) if swap else one


def as_seen(references: Mapping[str, Features], stored: str) -> Mapping[str, Features]:
    """The references as the copying audit sees them: "train" is what could be copied, "test" is held out."""
    return references if stored == "train" else {name: references[OTHER[name]] for name in references}


def wanted(module: ModuleType, extractor: str, features: Features) -> bool:
    """Whether a metric applies: pixel metrics to pixels, those of classes to the data set's own classifier."""
    if module.SPACE in ("any", "gallery"):
        return module.SPACE == "any"
    if AUDITED_SPACE in (module.SPACE, extractor):
        return extractor == module.SPACE
    if module.SPACE == "probabilities":
        own = Extractor(extractor).own_classes or not getattr(module, "OF_CLASSES", False)
        return features.probabilities is not None and own
    return True


def real_groups(labels: np.ndarray | None, n: int) -> np.ndarray:
    """The jackknife group of each of n real images, of the classes ``labels`` where they are known: int64 (n,)."""
    strata = np.zeros(n, dtype=np.int64) if labels is None else labels
    return jackknife.stratified_groups(strata, seeds.generator(0, "real groups"), NUM_GROUPS)


def _one(
    module: ModuleType, features: Features, references: Mapping[str, Features], group: np.ndarray, *, real: bool
) -> Iterator[Measurement]:
    if hasattr(module, "pointwise"):
        for (metric, reference), values in module.pointwise(features, references).items():
            leave_out, mean = jackknife.leave_out_of_means(values, group), float(values.mean())
            estimate = jackknife.interval(mean, leave_out, debias=False)
            if values.dtype == bool:
                estimate = jackknife.mean_interval(values)
            yield Measurement(metric, reference, features.extractor, mean, leave_out, estimate)
        return
    whole, parts = _evaluated(module, features, references, group)
    remark = module.remark(features, references) if hasattr(module, "remark") else ""
    bound_low, bound_high = getattr(module, "RANGE", (-np.inf, np.inf))
    theirs = module.reference_rows(features, references) if hasattr(module, "reference_rows") else {}
    of_reference = {key: jackknife.variance_of_mean(rows, references[key[1]].labels) for key, rows in theirs.items()}
    same_law = real and getattr(module, "DISTANCE", False)
    debias = module.DEBIAS and len(features) >= getattr(module, "FEWEST", 0) * features.values.shape[1]
    for (metric, reference), full in whole.items():
        left = parts[metric, reference]
        interval = partial(jackknife.interval, full, left, same_law=same_law)
        interval = partial(interval, reference=of_reference.get((metric, reference), 0.0))
        wide = interval(debias=debias)
        estimate = replace(wide, low=max(bound_low, wide.low), high=min(bound_high, wide.high))
        yield Measurement(metric, reference, features.extractor, full, left, estimate, remark)
        if module.DEBIAS:
            plain = interval(debias=False)
            yield Measurement(f"{PLAIN}{metric}", reference, features.extractor, full, left, plain)


def _evaluated(module: ModuleType, features: Features, references: Mapping[str, Features], group: np.ndarray):
    """Values of all samples, and without each group (G,), by key."""
    if hasattr(module, "leave_out"):
        found = module.leave_out(features, references, group + 1)  # without group 0, which is empty: all samples
        return {key: float(values[0]) for key, values in found.items()}, {key: v[1:] for key, v in found.items()}
    each = [module.evaluate(features.subset(group != g), references) for g in range(NUM_GROUPS)]
    whole = module.evaluate(features, references)
    return whole, {key: np.array([values[key] for values in each]) for key in whole}
