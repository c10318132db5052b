"""A prediction of copying as typed rows, as a table for a terminal, as JSON and as a csv file."""

import csv
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dpmot.runtime.files import atomic
from dpmot.statistics.jackknife import Estimate
from dpmot.theory.recovery import enough

TOLERANCE = 0.01  # recovery beyond chance up to which a level counts as one that does not copy, as an experiment's
LAWS = {"ode": "exact DDIM", "posterior": "posterior draws"}
QUANTITIES = ("posterior", "ode", "information", "population")


@dataclass(frozen=True)
class Level:
    """What is predicted at one noise level of the start.

    Attributes:
        sigma: the level, images in [-1, 1].
        posterior: share of posterior draws that are the image behind their start, with its 95 % interval.
        ode: the same of the ideal denoiser's flow, which DDIM follows.
        information: of a latent about which of the N images it came from, in nats.
        population: an upper bound on I(x0; x_sigma) of the population, in nats; None where images are too few.
    """

    sigma: float
    posterior: Estimate
    ode: Estimate
    information: Estimate
    population: Estimate | None


@dataclass(frozen=True)
class Prediction:
    """What :func:`predict` found.

    Attributes:
        name: of the images.
        shape: S of an image, (C, H, W), or (d,) of a point.
        num_images: N.
        num_distinct: how many of them differ.
        chance: recovery of what does not look at its start: 1 / N where all images differ.
        log_images: entropy of the images in nats: log N where all differ.
        num_latents: n, over which intervals are.
        seed: of the latents, of the density's halves and of its fit.
        num_population: images of which the population's information is estimated.
        levels: by ascending sigma.
        notes: what a reader should know of the images.
    """

    name: str
    shape: tuple[int, ...]
    num_images: int
    num_distinct: int
    chance: float
    log_images: float
    num_latents: int
    seed: int
    num_population: int
    levels: tuple[Level, ...]
    notes: tuple[str, ...] = ()

    def sigma_star(self, law: str = "ode", *, tolerance: float = TOLERANCE) -> float | None:
        """The smallest level from which on recovery beyond chance is at most the tolerance, by its upper end.

        Args:
            law: "ode" or "posterior".
            tolerance: in [0, 1].

        Returns:
            One of the levels, or None: the largest copies too, or chance is so large that nothing is beyond it.
        """
        found = None
        if 1 - self.chance <= tolerance:
            return None
        for level in reversed(self.levels):
            if getattr(level, law).high - self.chance > tolerance:
                break
            found = level.sigma
        return found

    @property
    def sigma_information(self) -> float | None:
        """The smallest level at which the population's information is below log N; None: the bound decides at none.

        By the upper end of the bound. Information falls as sigma grows, so that it is below log N from there on.
        """
        return next((one.sigma for one in self.levels if _decided(one, self.log_images)), None)

    def table(self, *, tolerance: float = TOLERANCE) -> str:
        """A table for a terminal, and what it says in words."""
        head = ("sigma", "posterior draws", "exact DDIM", "nats about its source", "nats of the population, at most")
        body = [_cells(level, self.log_images) for level in self.levels]
        widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
        padded = ["  ".join(map(str.ljust, one, widths)).rstrip() for one in (head, *body)]
        rule = "-" * max(map(len, padded))
        notes = (f"Note: {note}" for note in self.notes)
        return "\n".join([self._title(), "", padded[0], rule, *padded[1:], "", *self._words(tolerance), *notes])

    def _title(self) -> str:
        same = "all different" if self.num_distinct == self.num_images else f"{self.num_distinct:,} of them different"
        size = " x ".join(map(str, self.shape))
        told = f"{self.name}: {self.num_images:,} images of {size}, {same}"
        told += f"; log N = {self.log_images:.2f} nats; chance {self.chance:.2g}"
        return f"{told}; {self.num_latents:,} latents a level"

    def _words(self, tolerance: float) -> list[str]:
        if 1 - self.chance <= tolerance:
            lines = [
                f"Chance is {self.chance:.2g}: no recovery is more than {tolerance:g} beyond it; no level is named."
            ]
            return lines + self._of_the_population()
        told = "; ".join(f"{name}: {self._star(law, tolerance)}" for law, name in LAWS.items())
        lines = [f"Smallest level from which on recovery beyond chance is at most {tolerance:g}: {told}."]
        return lines + self._of_the_population()

    def _star(self, law: str, tolerance: float) -> str:
        star, last = self.sigma_star(law, tolerance=tolerance), self.levels[-1]
        if star is not None:
            return f"{star:g}"
        if getattr(last, law).value - self.chance > tolerance:
            return f"{last.sigma:g} copies too"
        told = f"of {last.sigma:g}, {self.num_latents:,} latents are too few to tell"
        number = enough(getattr(last, law), self.num_latents, self.chance + tolerance)
        return f"{told} and about {_rounded_up(number):,} could" if math.isfinite(number) else told

    def _of_the_population(self) -> list[str]:
        known = [level.sigma for level in self.levels if level.population]
        if not known:
            return []
        least = self.sigma_information
        if least is None:
            return [
                "The bound on the population's information is above log N at all levels: it decides at none of them."
            ]
        told = f"From sigma {least:g} on the population's information is below log N: copying is not forced there"
        return [f"{told}; below {least:g} the bound does not decide." if least > known[0] else f"{told}."]

    def to_json(self, *, tolerance: float = TOLERANCE) -> str:
        """Everything as one JSON object."""
        found = asdict(self) | {
            "sigma_star": {law: self.sigma_star(law, tolerance=tolerance) for law in LAWS},
            "sigma_information": self.sigma_information,
            "tolerance": tolerance,
        }
        return json.dumps(found, indent=1)

    def to_csv(self, path: Path | str) -> None:
        """Write a row a level."""
        head = [f"{name}{end}" for name in QUANTITIES for end in ("", "_low", "_high")]
        with atomic(Path(path)) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["images", "num_images", "log_images", "sigma", *head])
            for level in self.levels:
                ends = [end for name in QUANTITIES for end in _ends(getattr(level, name))]
                writer.writerow([self.name, self.num_images, self.log_images, level.sigma, *ends])

    def __str__(self) -> str:
        return self.table()


def _rounded_up(number: float) -> int:
    """To two digits."""
    unit = 10 ** max(0, math.floor(math.log10(number)) - 1)
    return math.ceil(number / unit) * unit


def _cells(level: Level, log_images: float) -> tuple[str, ...]:
    bound = "not estimated" if level.population is None else _interval(level.population, "{:.2f}")
    if level.population is not None and not _decided(level, log_images):
        bound += "  bound above log N"
    shares = (_interval(one, _digits(one.value)) for one in (level.posterior, level.ode))
    return f"{level.sigma:g}", *shares, _interval(level.information, "{:.2f}"), bound


def _decided(level: Level, log_images: float) -> bool:
    """Whether the bound shows the population's information to be below log N."""
    return level.population is not None and level.population.high <= log_images


def _digits(value: float) -> str:
    return "{:.3f}" if value >= 0.01 else "{:.2g}"


def _interval(one: Estimate, form: str) -> str:
    show: Callable[[float], str] = form.format
    return f"{show(one.value)} [{show(one.low)}, {show(one.high)}]"


def _ends(one: Estimate | None) -> tuple[Any, Any, Any]:
    return (None,) * 3 if one is None else (one.value, one.low, one.high)
