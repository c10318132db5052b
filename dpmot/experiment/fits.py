"""What starts are fitted to: once for every distinct start, its options and the images, whatever networks follow.

A start whose file says ``FITS = True`` has a function ``fit(images, labels, *, <options>, seed)``; its file is of no
noise level and no network, so all methods and levels share it. ``part: half`` of its options fits half of the images,
drawn by the seed, and judges by the other half; else images of split B judge, which no method stores.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dpmot.runtime.fingerprint import digest

if TYPE_CHECKING:
    from dpmot.experiment.plan import Experiment, Method

PARTS = ("all", "half")
LONGEST = 80  # of a name


@dataclass(frozen=True)
class Fit:
    """Fit a start to images.

    Attributes:
        start: its file.
        options: of its function ``fit``.
        part: "all" or "half" of the images.
        split: of the images, the first ``num_atoms`` of it.
        seed: of the fit.
    """

    start: str
    options: Mapping[str, Any]
    part: str
    split: str
    num_atoms: int | None
    seed: int

    @property
    def name(self) -> str:
        """Of its file, in letters, digits and underscores: start, split and options."""
        told = {**self.options, **({} if self.part == "all" else {"part": self.part})}
        words = [self.start, *([] if self.split == "A" else [self.split]), *(f"{k}_{told[k]}" for k in sorted(told))]
        name = re.sub("[^a-z0-9]+", "_", "_".join(words).lower()).strip("_")
        plain = all(isinstance(value, str | int) and re.fullmatch("[a-z0-9]+", str(value)) for value in told.values())
        return name if plain and len(name) <= LONGEST else f"{name[:LONGEST]}_{digest(told)[:8]}"


def fit_of(experiment: "Experiment", method: "Method") -> Fit | None:
    """What the start of a method is fitted to; None of one that is not."""
    if not method.fits:
        return None
    options = {key: value for key, value in method.fit_options.items() if value is not None}
    part = options.pop("part", PARTS[0])
    return Fit(method.start, options, part, method.split, experiment.num_atoms, experiment.fit_seed)


def fits(experiment: "Experiment") -> dict[str, Fit]:
    """Every fit of an experiment by its name, each once."""
    wanted = (fit_of(experiment, method) for method in experiment.drawn.values())
    return {fit.name: fit for fit in wanted if fit}
