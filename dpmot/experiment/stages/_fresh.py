"""Fresh real images: split B, which no method stores, measured beside the floors.

A method that hands back N stored images tends to the law of these, whose distances keep their bias: it is to be read
against the same number of images that nobody stored, as a finite law too. Where a metric knows no such copier, they are
measured as a second real sample, as many as the methods draw where there are so many: its floor.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dpmot import plugins, results
from dpmot.evaluation.estimates import NUM_GROUPS, Measurement, measure, real_groups
from dpmot.evaluation.feature_cache import Extractors
from dpmot.experiment.stages._prepared import Part
from dpmot.features import Extractor, Features
from dpmot.metrics import Fact
from dpmot.statistics.jackknife import Estimate

if TYPE_CHECKING:
    from dpmot.experiment.plan import Experiment


@dataclass(frozen=True, eq=False)
class Fresh:
    """Features of split B by extractor, and how many of its images are a law and a sample; 0 where it has too few."""

    features: Mapping[str, Features]
    law: int
    sample: int


def fresh(experiment: "Experiment", extract: Extractors, parts: Mapping[str, Part]) -> Fresh | None:
    """As many images as are stored for a law, and as are drawn, if there are so many, for a sample; None for neither.

    Images are extracted only if a metric of the experiment has a value for them.
    """
    held = len(parts["B"].raw)
    stored = experiment.num_atoms or len(parts["A"].raw)
    law = stored if NUM_GROUPS <= stored <= held and _files(experiment.metrics, law=True) else 0
    drawn = min(held, experiment.num_samples * len(experiment.sample_seeds))
    sample = drawn if drawn >= NUM_GROUPS and _files(experiment.metrics, law=False) else 0
    most = max(law, sample)
    return Fresh(extract(parts["B"].raw[:most], labels=parts["B"].labels[:most].numpy()), law, sample) if most else None


def of_fresh(
    images: Fresh, references: Mapping[str, Mapping[str, Features]], names: Sequence[str]
) -> Iterator[tuple[int, list[Measurement]]]:
    """How many images, and their values against "test"; their metrics begin with ``fresh_``."""
    for number, law in ((images.law, True), (images.sample, False)):
        if number:
            taken = {extractor: features.subset(np.arange(number)) for extractor, features in images.features.items()}
            group = real_groups(next(iter(taken.values())).labels, number)
            found = measure(taken, references, group, names=_files(names, law=law), real=True)
            asked = [one for one in found if _asked(results.fact(one.metric), law=law) and one.reference == "test"]
            yield number, [_named(as_law(one) if law else one) for one in asked]


def as_law(one: Measurement) -> Measurement:
    """The plain value of a finite law: resampling one finite set any number of times leaves it, so it has no bias."""
    return replace(one, estimate=Estimate(one.full, one.full, one.full))


def _named(one: Measurement) -> Measurement:
    known = "the classifier was trained on these images" if Extractor(one.features.partition("-")[0]).trained else ""
    told = "; ".join(filter(None, (one.remark, known)))
    return replace(one, metric=f"{results.FRESH}{one.metric}", remark=told)


def _asked(fact: Fact, *, law: bool) -> bool:
    return fact.fresh and fact.copier == law


def _files(names: Sequence[str], *, law: bool) -> list[str]:
    """The metric files that have a value for fresh images, as a law or as a sample."""
    return [name for name in names if any(_asked(one, law=law) for one in plugins.find("metrics", name).FACTS.values())]
