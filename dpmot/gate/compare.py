"""The gate itself: every cell of a candidate against the reference."""

from collections.abc import Iterator, Mapping

import numpy as np

from dpmot.gate.findings import Finding, Report
from dpmot.gate.invariants import invariants
from dpmot.gate.margins import margin_of, worse
from dpmot.gate.runs import CannotCompare, Run, cell_name, metric_name
from dpmot.statistics.gate import Change, paired, unpaired
from dpmot.statistics.jackknife import Estimate
from dpmot.statistics.paired import holm

ALPHA = 0.001  # chance of one false alarm in a run


def compare(candidate: Run, reference: Run, *, alpha: float = ALPHA) -> Report:
    """The gate.

    Raises:
        CannotCompare: cells are missing, or measured at another number of samples.
    """
    _check_comparable(candidate, reference)
    held = tuple(invariants(candidate, reference))
    if candidate.fingerprint == reference.fingerprint:
        return Report("exact", candidate, reference, (*_exact(candidate, reference), *held))
    same = candidate.seeds == reference.seeds and candidate.replicates and reference.replicates
    rows = [(row, reference.cells[key]) for key, row in candidate.cells.items() if key in reference.cells]
    rows = [(now, was) for now, was in rows if not now["metric"].startswith("plain_")]  # the same samples once more
    changes = [_change(candidate, reference, now, was, paired_seeds=bool(same)) for now, was in rows]
    corrected = holm([one.p_beyond for one in changes])
    found = [_finding(*row, change, p, alpha) for row, change, p in zip(rows, changes, corrected, strict=True)]
    return Report("paired" if same else "unpaired", candidate, reference, (*found, *held))


def _check_comparable(candidate: Run, reference: Run) -> None:
    missing = [key for key in reference.cells if key not in candidate.cells]
    if missing:
        method, nfe, *_, other, metric = missing[0]
        raise CannotCompare(
            f"{candidate.path} lacks {len(missing)} of {len(reference.cells)} cells of {reference.path}, "
            f"first {metric} (reference {other}) of {method} at NFE {nfe}: run the same configuration, or update"
        )
    for key, row in reference.cells.items():
        now, was = candidate.cells[key]["num_samples"], row["num_samples"]
        if now != was:
            raise CannotCompare(
                f"{row['method']} has n = {now} in {candidate.path} and n = {was} in {reference.path}: metrics at "
                "unequal n do not compare"
            )
        sides = candidate.cells[key], row
        values = [float(one[name] or "nan") for one in sides for name in ("value", "low", "high")]
        if not np.isfinite(values).all():
            raise CannotCompare(
                f"{row['metric']} of {row['method']} at NFE {row['nfe_budget']} is not finite: {values}"
            )


def _exact(candidate: Run, reference: Run) -> Iterator[Finding]:
    for key, was in reference.cells.items():
        now = candidate.cells[key]
        same = all(now[name] == was[name] for name in ("value", "low", "high", "nfe_counted"))
        text = "" if same else "one fingerprint must give one result: something is not deterministic"
        verdict = "same" if same else "changed"
        yield Finding(cell_name(was), metric_name(was), was["value"], now["value"], verdict, text=text)


def _change(candidate: Run, reference: Run, now: Mapping, was: Mapping, *, paired_seeds: bool) -> Change:
    margin = margin_of(was)
    sides = [run.replicates_of(row) for run, row in ((candidate, now), (reference, was))] if paired_seeds else [None]
    if None in sides or len(sides[0][1]) != len(sides[1][1]):
        return unpaired(_estimate(now), _estimate(was), margin=margin)
    (full, parts), (other, others) = sides
    # where a table removes the bias its value is not the plain one
    return paired((full, other), (parts, others), margin=margin, debias=float(was["value"]) != other)


def _finding(now: Mapping, was: Mapping, change: Change, p: float, alpha: float) -> Finding:
    if p <= alpha:
        verdict = {0: "changed", 1: "worse", -1: "better"}[worse(was["metric"], change.difference)]
    else:
        verdict = "equivalent" if change.p_within <= 0.05 else "not shown"
    return Finding(cell_name(was), metric_name(was), was["value"], now["value"], verdict, change, p)


def _estimate(row: Mapping) -> Estimate:
    return Estimate(*(float(row[name]) for name in ("value", "low", "high")))
