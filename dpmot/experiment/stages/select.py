"""Find sigma_M*: the smallest level at which DPM-OT stops copying, judged on seeds and images that no table reports.

DPM-OT's start hands out N stored latents x0 + sigma eps with the noise of one atom seed, each with the same chance (its
certificate says so). Here every sample has a noise of its own, so what is judged is that law over all atom seeds, and
no table's latents. The question is the one that every row with stored images is asked (:mod:`dpmot.statistics.audit`):
is recovery shown to exceed chance by at most the tolerance? More samples therefore allow smaller levels. What a network
remembers by itself, from whatever start, is no matter of the level: the share of copies of the training images (told
against split B, of which nothing is reported) is written beside it and judges rows, not levels. A level whose transport
did not converge is not inside; sigma_M* is the smallest candidate that is, and none may be.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from tqdm import tqdm

from dpmot.evaluation.estimates import measure
from dpmot.experiment.cells import Problem
from dpmot.experiment.stages._prepared import read, read_data
from dpmot.experiment.stages.sample import LoadedMethod
from dpmot.features import Features, pixels
from dpmot.metrics.copies import SEARCHED, Copies
from dpmot.runtime.files import write_json
from dpmot.runtime.session import session
from dpmot.statistics import jackknife
from dpmot.statistics.audit import judge

if TYPE_CHECKING:
    from dpmot.experiment.cells import Cell
    from dpmot.experiment.jobs import Job, Select
    from dpmot.experiment.layout import Layout


def run(job: "Job[Select]", layout: "Layout") -> None:
    """Write ``star.json``: sigma (or null), the reason, and one row per candidate."""
    with session(job, layout) as stage:
        parts, _, _ = read_data(layout.data)
        drawn = job.task.drawn
        method, solved = LoadedMethod.load(job, layout, drawn), read(layout.heights)[1]
        train = pixels.extract(parts["A"].first(drawn.num_atoms))
        copies = Copies({name: parts[name].raw.numpy() for name in "AB"})
        rows: list[dict] = []
        for cell in tqdm(sorted(drawn.cells, key=_sigma), desc="selection", unit="level", mininterval=5):
            row = stage.kept_json(cell.key)
            if row is None:
                with stage.watch.arithmetic():
                    row = _row(method, cell, train, copies, solved, tolerance=job.task.tolerance)
                stage.keep_json(cell.key, row)
            rows.append(row)
            if rows[-1]["inside"]:
                break  # the smallest level inside: larger ones do not matter
        found = rows[-1]["inside"]
        sigma = rows[-1]["sigma"] if found else None
        tried = ", ".join(f"{row['sigma']:g}" for row in rows)
        reason = "smallest level inside" if found else f"no level among {tried} is shown not to copy"
        write_json(layout.star, {"sigma": sigma, "reason": reason, "rows": rows})
        print(f"sigma_M* = {sigma}: {reason}")


def _sigma(cell: "Cell") -> float:
    return cell.sigma_atoms or 0.0


def _row(
    method: LoadedMethod, cell: "Cell", train: Features, copies: Copies, solved: Mapping[str, Mapping], tolerance: float
) -> dict:
    """One candidate: what was measured, the reasons against it, and whether it lies inside."""
    if cell.reason:
        return {"sigma": _sigma(cell), "reasons": [cell.reason], "inside": False}
    images, counted = method.draw(cell)
    generated = replace(pixels.extract(images["images"]), source=images["source"].numpy())
    pixel, group = generated.extractor, jackknife.groups(len(generated))
    (measured,) = measure({pixel: generated}, {pixel: {"train": train}}, group, names=["recovery"])
    share = copies.shares(copies.search(images["images"][:SEARCHED].numpy()))["train"]
    problem = solved[Problem("A", "normal", _sigma(cell)).name]
    verdict = judge(
        {},
        sets=(),
        num_samples=len(generated),
        tolerance=tolerance,
        recovery=measured.estimate,
        num_sources=len(train),
        unsolved=None if problem["converged"] else problem["reason"],
    )
    estimate = measured.estimate
    recovered = estimate and (estimate.value, estimate.low, estimate.high)
    told = {"recovery": recovered, "copies": (share.value, share.low, share.high)}
    found = {"reasons": verdict.reasons, "inside": verdict.ranked}
    return {"sigma": cell.sigma_atoms, "nfe": counted, "num_samples": len(generated), **told, **found}
