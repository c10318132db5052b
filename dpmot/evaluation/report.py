"""An evaluation as typed rows, as a table for a terminal, and as a csv file."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from itertools import compress
from pathlib import Path

from dpmot import results
from dpmot.runtime.files import atomic
from dpmot.statistics.audit import RANKED, UNKNOWN, Verdict
from dpmot.statistics.jackknife import Estimate

ROLES = {"samples": "samples", "test": "reference", "train": "train", "held_out": "held out"}  # as a table says
LEGEND = {
    "as published": "with the bias that falls like 1/n, as papers print it; the value is without",
    "real images": "what so many real images get in the samples' place, train against reference and the reverse",
}
SHOWN = 5  # flagged samples that a table names


@dataclass(frozen=True)
class Row:
    """One metric.

    Attributes:
        metric: its full name, as "fd_thumbnails".
        features: extractor.
        reference: "test" (the reference), "train", or "none".
        value, low, high: without the bias that falls like 1/n, where there is one, and its 95 % interval; None where
            it could not be measured.
        plain: with its bias, as published numbers have it.
        real: what real images get, as many as there are samples if there are; None where nothing is measured.
        remark: what a reader of the value must know, or why there is none.
    """

    metric: str
    features: str
    reference: str
    value: float | None
    low: float | None
    high: float | None
    plain: float | None
    real: float | None = None
    remark: str = ""

    @property
    def estimate(self) -> Estimate | None:
        """The value and its interval."""
        if self.value is None or self.low is None or self.high is None:
            return None
        return Estimate(self.value, self.low, self.high)

    def beside(self, real: float | None) -> "Row":
        """The same with what real images get."""
        return replace(self, real=real)


@dataclass(frozen=True)
class Flagged:
    """A sample that lies nearer to a real image than nearly all held-out images do.

    Attributes:
        sample, nearest: rows of the samples and of ``images``.
        images: "train", "test" or "held_out".
        ratio: distance to the nearest image over that to the second nearest, after registration: 0 a copy, 1 new.
    """

    sample: int
    images: str
    nearest: int
    ratio: float


@dataclass(frozen=True)
class Evaluation:
    """What :func:`dpmot.evaluate` found.

    Attributes:
        rows: the metrics, in order.
        images: "samples", "test", "train", "held_out" -> what they are called.
        counts: the same -> how many they are.
        shape: of an image, (C, H, W).
        verdict: the copying audit's; None where it was not asked.
        searched: samples that were searched for copies.
        flagged: those that look like copies, the rarest first.
        notes: what a reader should know of the images.
        cache: folder where features and answers are kept; may be deleted.
    """

    rows: tuple[Row, ...]
    images: Mapping[str, str]
    counts: Mapping[str, int]
    shape: tuple[int, ...]
    verdict: Verdict | None
    searched: int
    flagged: tuple[Flagged, ...]
    notes: tuple[str, ...]
    cache: Path

    def row(self, metric: str, reference: str | None = None) -> Row:
        """The row of a metric by its full name; ``reference`` where there are several.

        Raises:
            KeyError: there is none, or there are several; names those that there are.
        """
        found = [row for row in self.rows if row.metric == metric and reference in (None, row.reference)]
        if len(found) != 1:
            there = ", ".join(f"{row.metric} ({row.reference})" for row in self.rows)
            raise KeyError(f"{len(found)} rows of {metric} {reference or ''}; there are {there}")
        return found[0]

    @property
    def sentence(self) -> str:
        """The verdict in one line."""
        if self.verdict is None:
            return "Verdict: not asked whether samples are copies; give the training images (train) to ask"
        words = {RANKED: "no copies found", UNKNOWN: "not told whether samples are copies"}
        told = words.get(self.verdict.word, self.verdict.word)
        reasons = "; ".join(self.verdict.reasons) or self._shares()
        return f"Verdict: {told}: {reasons}"

    def table(self) -> str:
        """A table for a terminal: values with intervals, as published, and of real images; then the verdict."""
        head: tuple[str, ...] = ("metric", "against", "value [95 % interval]", "as published", "real images", "better")
        body = [_cells(row) for row in self.rows]
        filled = [name not in LEGEND or any(one[k] for one in body) for k, name in enumerate(head)]
        head, *body = (tuple(compress(one, filled)) for one in (head, *body))
        widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
        padded = ([text.ljust(width) for text, width in zip(one, widths, strict=True)] for one in (head, *body))
        lines = ["  ".join(texts).rstrip() for texts in padded]
        lines.insert(1, "-" * max(map(len, lines)))
        read = [f"Read: {name}: {LEGEND[name]}" for name in head if name in LEGEND]
        mind = dict.fromkeys(row.remark for row in self.rows if row.remark)
        lines += ["", *read, *(f"Mind: {remark}" for remark in mind), *(f"Note: {note}" for note in self.notes)]
        return "\n".join([self._title(), "", *lines, *self._flags(), self.sentence])

    def to_csv(self, path: Path | str) -> None:
        """Write the rows, with the names and numbers of the images in every one."""
        columns = [f"{role}_{what}" for role in ("samples", "test", "train") for what in ("name", "number")]
        known = [str(of.get(role, "")) for role in ("samples", "test", "train") for of in (self.images, self.counts)]
        names = [entry.name for entry in fields(Row)]
        with atomic(Path(path)) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([*columns, *names, "verdict"])
            for row in self.rows:
                values = ["" if (value := getattr(row, name)) is None else value for name in names]
                writer.writerow([*known, *values, self.verdict.word if self.verdict else "not asked"])

    def __str__(self) -> str:
        return self.table()

    def _title(self) -> str:
        size = " x ".join(map(str, self.shape))
        told = [f"{ROLES[role]} {name} ({self.counts[role]})" for role, name in self.images.items()]
        return f"{', '.join(told)}; images {size}"

    def _shares(self) -> str:
        told = [f"{row.reference} {_interval(row)}" for row in self.rows if row.metric == results.COPIES]
        return f"share of copies of {', of '.join(told)}"

    def _flags(self) -> list[str]:
        if not self.flagged:
            return []
        some = ", ".join(f"{one.sample} ({one.images} {one.nearest})" for one in self.flagged[:SHOWN])
        more = ", ..." if len(self.flagged) > SHOWN else ""
        told = f"Flagged, of {self.searched} that were searched: samples {some}{more}; of real images 2 in 1,000 are"
        return [told, "(numbers count from 0, files in the order of their names)"]


def _cells(row: Row) -> tuple[str, ...]:
    fact = results.fact(row.metric)
    better = "" if fact.direction == "none" else f"{fact.direction}"
    plain = "" if row.plain is None or row.plain == row.value else _number(row.plain, row)
    real = "" if row.real is None else _number(row.real, row)
    against = {"test": "reference", "none": ""}.get(row.reference, row.reference)
    return results.printed_name(row.metric), against, _interval(row), plain, real, better


def _interval(row: Row) -> str:
    if (found := row.estimate) is None:
        return "not measured"
    value, low, high = (_number(end, row) for end in (found.value, found.low, found.high))
    return f"{value} [{low}, {high}]"


def _number(value: float, row: Row) -> str:
    """With the metric's decimals, else two, or four where two would leave nothing of the row's value."""
    digits = results.fact(row.metric).digits
    if digits is None:
        digits = 2 if abs(row.value or 0) >= 0.1 else 4
    return f"{value:.{digits}f}" if abs(value) < 1e5 else f"{value:.3g}"
