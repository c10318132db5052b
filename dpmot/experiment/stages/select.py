"""Find sigma_M*: the smallest level at which DPM-OT stops copying, judged on seeds and images no table reports.

At each candidate samples (of 50 evaluations or more in the protocol; star.json records it) are audited against images
(split A) and held-out images (split B, which the pixel audit shares with nothing that is reported); a problem that
did not converge is not inside. sigma_M* is the smallest candidate at which recovery, authenticity and, where there are
samples enough for it, C_T all lie inside; none may exist.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from tqdm import tqdm

from dpmot.experiment.stages._estimates import held_out, measure
from dpmot.experiment.stages._prepared import Part, read_data
from dpmot.experiment.stages.sample import LoadedMethod
from dpmot.features import Features, pixels
from dpmot.metrics import AUDITED, AUDITED_BY
from dpmot.runtime.files import write_json
from dpmot.runtime.session import session
from dpmot.statistics import jackknife
from dpmot.statistics.audit import audit

if TYPE_CHECKING:
    from dpmot.experiment.cells import Cell
    from dpmot.experiment.jobs import Job, Sample
    from dpmot.experiment.layout import Layout


def run(job: "Job[Sample]", layout: "Layout") -> None:
    """Write ``star.json``: sigma (or null), the reason, and one row per candidate."""
    with session(job, layout) as stage:
        parts, _, _ = read_data(layout.data)
        method, references = LoadedMethod.load(job, layout), _references(parts)
        rows: list[dict] = []
        for cell in tqdm(sorted(job.task.cells, key=_sigma), desc="selection", unit="level", mininterval=5):
            row = stage.kept_json(cell.key)
            if row is None:
                with stage.watch.arithmetic():
                    skipped = {"sigma": _sigma(cell), "reasons": [cell.reason], "inside": False}
                    row = skipped if cell.reason else _row(method, cell, references)
                stage.keep_json(cell.key, row)
            rows.append(row)
            if rows[-1]["inside"]:
                break  # the smallest level inside: larger ones do not matter
        found = rows[-1]["inside"]
        sigma = rows[-1]["sigma"] if found else None
        tried = ", ".join(f"{row['sigma']:g}" for row in rows)
        reason = "smallest level inside" if found else f"no level among {tried} lies inside the held-out intervals"
        write_json(layout.star, {"sigma": sigma, "reason": reason, "rows": rows})
        print(f"sigma_M* = {sigma}: {reason}")


def _sigma(cell: "Cell") -> float:
    return cell.sigma_atoms or 0.0


def _references(parts: Mapping[str, Part]) -> dict[str, Features]:
    return {"train": pixels.extract(parts["A"].raw), "test": pixels.extract(parts["B"].raw)}


def _row(method: LoadedMethod, cell: "Cell", references: Mapping[str, Features]) -> dict:
    drawn, counted = method.draw(cell)
    generated = replace(pixels.extract(drawn["images"]), source=drawn["source"].numpy())
    group, space = jackknife.groups(len(generated)), generated.extractor
    measured = measure({space: generated}, {space: references}, group, names=AUDITED_BY)
    found = {one.metric: one.estimate for one in measured}
    audited = {name: found[metric] for name, metric in AUDITED.items()}
    missed = method.unsolved(cell)
    reasons = audit(held_out=held_out(references), **audited)
    reasons += [f"transport not converged: {missed}"] if missed else []
    described = {name: [e.value, e.low, e.high] for name, e in audited.items() if e is not None}
    return {"sigma": cell.sigma_atoms, "nfe": counted, **described, "reasons": reasons, "inside": not reasons}
