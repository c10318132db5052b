"""One question: samples, real images, metrics; and its answers, kept by content as they are found.

What is left of a question that was interrupted, and what another one shares with it, is read and not computed again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from tqdm import tqdm

from dpmot import plugins, results, seeds
from dpmot.evaluation.answers import Answers
from dpmot.evaluation.copying import handed_back, searched
from dpmot.evaluation.estimates import NUM_GROUPS, Measurement, measure, real_groups, wanted
from dpmot.evaluation.feature_cache import Extractors
from dpmot.evaluation.kept_arrays import OfImages
from dpmot.evaluation.report import ROLES, Evaluation, Flagged, Row
from dpmot.evaluation.sources import Images
from dpmot.features import Features
from dpmot.features._kept import keep_results
from dpmot.metrics.copies import Copies
from dpmot.runtime.closure import code_digest
from dpmot.runtime.fingerprint import digest
from dpmot.statistics.audit import COPIES, SETS, Verdict, judge
from dpmot.statistics.jackknife import share_interval

QUALITY = ("frechet", "kernel_distance", "inception_score", "fidelity", "diversity", "likelihood")
COPYING = ("novelty", "ct", "copies")
TOLERANCE = 0.01  # share of copies up to which samples are no copies, as an experiment's default


def of_train(name: str) -> bool:
    """Whether a metric asks about training images."""
    return name == "copies" or bool(getattr(plugins.find("metrics", name), "COPYING", False))


@dataclass(frozen=True, eq=False)
class Question:
    """How good are these samples, by metrics of ``names``, and are they copies?

    Attributes:
        drawn: the samples.
        real: "test", and where they are there "train" and "held_out".
        names: metrics, files of ``dpmot/metrics/``.
        extract: features that they are asked of.
        answers: what was computed before.
        progress: show a bar on standard error.
    """

    drawn: Images
    real: Mapping[str, Images]
    names: Sequence[str]
    extract: Extractors
    answers: Answers
    progress: bool

    def evaluation(self) -> Evaluation:
        """Rows, the verdict and what a reader should know; what was interrupted goes on where it was."""
        found: dict[str, list[dict]] = {}
        copies: dict[str, Any] = {"rows": [], "flags": [], "number": 0}
        order = sorted(self.names, key=lambda name: name != "copies")  # it may refuse the images
        steps = tqdm([*order, "real images"], desc="evaluate", unit="step", disable=None if self.progress else True)
        for name in steps:
            steps.set_postfix_str(name)
            if name == "copies":
                copies = self._kept(name, self.drawn, [name], self._copies)
            elif name in self.names:
                found[name] = self._kept(name, self.drawn, [name], partial(self._rows, name))
        rows = [Row(**row) for name in self.names for row in found.get(name, copies["rows"])]
        beside = self._kept("real images", None, self.names, self._of_real)
        notes = [note for images in (self.drawn, *self.real.values()) for note in images.notes]
        notes += [self._handed(role) for role, number in self._handed_back.items() if number]
        if found.get("inception_score") == []:
            notes.append("IS is not measured: none of these features gives class probabilities")
        return Evaluation(
            rows=tuple(row.beside(beside.get(f"{row.metric}/{row.reference}")) for row in rows),
            images={"samples": self.drawn.name} | {name: one.name for name, one in self.real.items()},
            counts={"samples": len(self.drawn)} | {name: len(one) for name, one in self.real.items()},
            shape=self.drawn.shape,
            verdict=self._verdict(rows) if "copies" in self.names else None,
            searched=copies["number"],
            flagged=tuple(Flagged(*flag) for flag in copies["flags"]),
            notes=tuple(dict.fromkeys(notes)),
            cache=self.answers.folder,
        )

    def _kept(self, what: str, of: Images | None, names: Sequence[str], compute: Callable[[], Any]) -> Any:
        """An answer about samples, or about the real images alone, by these metrics."""
        modules = ["dpmot.evaluation.question", *(plugins.module_name("metrics", name) for name in names)]
        key = {
            "what": what,
            "samples": of and of.sha256,
            "real": {name: [one.sha256, one.labels is not None] for name, one in self.real.items()},
            "number": len(self.drawn),
            "metrics": names,
            "features": self._asked_of if any(name != "copies" for name in names) else [],
            "code": code_digest(modules),
            "packages": self.extract.environment,
        }
        return self.answers.kept(key, compute)

    @cached_property
    def _asked_of(self) -> list[dict[str, Any]]:
        """What features depend on beside images; copies are sought without any."""
        return [self.extract.identity(one) for one in self.extract.extractors]

    @cached_property
    def _generated(self) -> dict[str, Features]:
        return self.extract(self.drawn.tensor)

    @cached_property
    def _references(self) -> dict[str, dict[str, Features]]:
        """Extractor -> "test" and "train"; what is computed of them alone is kept."""
        real = {name: one for name, one in self.real.items() if name != "held_out"}
        found = {name: self.extract(one.tensor, labels=one.labels) for name, one in real.items()}
        for name, by in found.items():
            for extractor in self.extract.extractors:
                seen = {"through": self.extract.identity(extractor), "labels": real[name].labels_sha256}
                keep_results(by[extractor.name], self._keep(seen, name))
        return {one.name: {name: by[one.name] for name, by in found.items()} for one in self.extract.extractors}

    def _keep(self, seen: Any, *names: str) -> OfImages:
        """Where to keep what is computed of real images, and of what they are seen through."""
        content = digest([[self.real[name].sha256 for name in names], seen])
        return OfImages(self.answers.folder / "real", content, self.extract.environment)

    @cached_property
    def _handed_back(self) -> dict[str, int]:
        """How many samples are images of each real set, to the last bit."""
        return {role: handed_back(self.drawn.raw, one.raw) for role, one in self.real.items()}

    def _handed(self, role: str) -> str:
        what = f"images of {ROLES[role]}, to the last bit"
        return f"{self._handed_back[role]} of {len(self.drawn)} samples are {what}"

    def _rows(self, name: str) -> list[dict[str, Any]]:
        group = np.arange(len(self.drawn)) % NUM_GROUPS
        found = measure(self._generated, self._references, group, names=[name])
        return [_row(one) for one in found if not one.metric.startswith(results.PLAIN)]

    def _copies(self) -> dict[str, Any]:
        """Shares of copies, and the samples that are flagged."""
        parts = {"A": "train", "B": "held_out" if "held_out" in self.real else "test"}
        parts |= {"C": "test"} if "held_out" in self.real else {}
        keep = self._keep(list(parts), *parts.values())
        try:
            copies = Copies({split: self.real[name].raw for split, name in parts.items()}, keep)
        except ValueError as error:
            names = {"split A": "train", "split B": "the held-out images", "split C": "reference"}
            said = str(error)
            for split, name in names.items():
                said = said.replace(split, name)
            raise ValueError(f"copies: {said}") from None
        number, found, told = searched(copies, {0: self.drawn.tensor})
        flags = [[row, parts[part], nearest, float(ratio)] for _, row, part, nearest, _, _, ratio, *_ in told]
        return {"number": number, "rows": [_row(one) for one in found], "flags": flags}

    def _of_real(self) -> dict[str, float]:
        """What real images get as samples, as many as there are samples if there are: "metric/reference" -> value."""
        found = self._as_samples("test", [name for name in self.names if name in ("inception_score", "novelty")])
        if "train" in self.real:
            found |= self._as_samples("train", [name for name in self.names if name in QUALITY and not of_train(name)])
        return found

    def _as_samples(self, role: str, names: Sequence[str]) -> dict[str, float]:
        images = self.real[role]
        rows = seeds.generator(0, "evaluate", "real").permutation(len(images))[: len(self.drawn)]
        rows.sort()
        modules = [plugins.find("metrics", name) for name in names]
        asked = {
            name: by
            for name, by in self._references.items()
            if any(wanted(module, name, by[role]) for module in modules)
        }
        taken = {name: by[role].subset(rows) for name, by in asked.items()}
        labels = next(iter(taken.values())).labels if taken else None
        measured = measure(taken, self._references, real_groups(labels, len(rows)), names=names, real=True)
        own = [one for one in measured if one.estimate and one.reference != role]
        return {f"{one.metric}/{one.reference}": one.estimate.value for one in own if one.estimate}

    def _verdict(self, rows: Sequence[Row]) -> Verdict:
        """The audit's, on the share of copies of the training images, and of the reference where others tell chance.

        Where none do, the reference stands for new images: samples that are its very images are copies of it.
        """
        asked = ("train", "test") if "held_out" in self.real else ("train",)
        found = {row.reference: row.estimate for row in rows if row.metric == results.COPIES and row.reference in SETS}
        shares = {name: one for name, one in found.items() if one is not None}
        verdict = judge(shares, num_samples=len(self.drawn), tolerance=TOLERANCE, sets=asked)
        if "test" in asked or share_interval(self._handed_back["test"], len(self.drawn)).low <= TOLERANCE:
            return verdict
        return Verdict(COPIES, (self._handed("test"), *verdict.reasons))


def _row(one: Measurement) -> dict[str, Any]:
    """A measurement as JSON has it."""
    known = {"metric": one.metric, "features": one.features, "reference": one.reference, "remark": one.remark}
    if one.estimate is None:
        return known | dict.fromkeys(("value", "low", "high", "plain"))
    ends = {name: float(getattr(one.estimate, name)) for name in ("value", "low", "high")}
    return known | ends | {"plain": float(one.full)}
