"""The gate itself: every cell of a candidate against the reference, and how large a change must be to matter."""

from collections.abc import Iterator

import numpy as np

from dpmot.gate.findings import Finding, Report
from dpmot.gate.invariants import invariants
from dpmot.gate.runs import CannotCompare, Row, Run, cell_name, metric_name
from dpmot.results import INTERVAL, KEY, METRICS, PLAIN, fact
from dpmot.runtime.packed import content, stored
from dpmot.statistics.equivalence import Change, least_half_widths, paired, unpaired
from dpmot.statistics.jackknife import Estimate
from dpmot.statistics.paired import holm

ALPHA = 0.005  # chance of one false alarm in a run
RELATIVE = 0.02  # least change that matters, as a share of the reference's value, where the metric states no other
OWN = 0.1  # and as a share of the half-width of the reference's interval
SAME = ("dataset", "training_seed", "network", "start", "sampler")


def compare(candidate: Run, reference: Run, *, alpha: float = ALPHA) -> Report:
    """The gate.

    Raises:
        CannotCompare: cells are missing, measured at another number of samples, or of something else.
    """
    _check_comparable(candidate, reference)
    held = tuple(invariants(candidate, reference))
    if candidate.fingerprint == reference.fingerprint:
        for run in (candidate, reference):
            run.check_replicates()
        return Report("exact", candidate, reference, (*_exact(candidate, reference), *held))
    keys = [key for key, row in reference.cells.items() if not row["metric"].startswith(PLAIN)]  # the same samples
    rows = [(candidate.cells[key], reference.cells[key]) for key in keys]
    changes = [_change(candidate, reference, now, was) for now, was in rows]
    corrected = holm([change.p_beyond for change, _ in changes])
    found = [_finding(*row, change, p, alpha) for row, (change, _), p in zip(rows, changes, corrected, strict=True)]
    new = [
        Finding(cell_name(row), metric_name(row), "", row["value"], "new")
        for key, row in candidate.cells.items()
        if key not in reference.cells
    ]
    sampled = [in_pairs for (now, _), (_, in_pairs) in zip(rows, changes, strict=True) if now["start"] != "data"]
    how = "paired" if all(sampled) else "mixed" if any(sampled) else "unpaired"
    sight = None if all(sampled) else least_half_widths(alpha, len(rows))
    return Report(how, candidate, reference, (*found, *new, *held), sight)


def _check_comparable(candidate: Run, reference: Run) -> None:
    _check_trainings(candidate, reference)
    missing = [key for key in reference.cells if key not in candidate.cells]
    if missing:
        row = reference.cells[missing[0]]
        raise CannotCompare(
            f"{candidate.path} lacks {len(missing)} of {len(reference.cells)} cells of {reference.path}, first "
            f"{metric_name(row)} of {cell_name(row)}: run the same configuration, or update the reference"
        )
    for run in (candidate, reference):
        for row in run.cells.values():
            values = [float(row[name] or "nan") for name in INTERVAL]
            if not np.isfinite(values).all():
                raise CannotCompare(f"{row['metric']} of {cell_name(row)} in {run.path} is not finite: {values}")
    unjudged = sorted((reference.audit or {}).keys() - (candidate.audit or {}).keys())
    if unjudged:
        raise CannotCompare(
            f"{candidate.path.with_name('audit.csv')} lacks {len(unjudged)} of {len(reference.audit or {})} rows of "
            f"{reference.path.with_name('audit.csv')}, first {' at NFE '.join(unjudged[0][:2])}: measure again"
        )
    for key, was in reference.cells.items():
        now = candidate.cells[key]
        if float(now["num_samples"]) != float(was["num_samples"]):
            raise CannotCompare(
                f"{was['method']} has n = {now['num_samples']} in {candidate.path} and n = {was['num_samples']} in "
                f"{reference.path}: metrics at unequal n do not compare"
            )
        other = next((name for name in SAME if now[name] != was[name]), None)
        if other:
            raise CannotCompare(
                f"{was['method']} has {other} {now[other]} in {candidate.path} and {was[other]} in {reference.path}: "
                "run the same configuration, or update the reference"
            )


def _check_trainings(candidate: Run, reference: Run) -> None:
    """Where one run has several training seeds of a method, the other has the same."""
    for name in reference.members.keys() | candidate.members.keys():
        now, was = (run.seeds_of_training(name) for run in (candidate, reference))
        if now and was and now != was:
            raise CannotCompare(
                f"{name} has training seeds {', '.join(now)} in {candidate.path} and {', '.join(was)} in "
                f"{reference.path}: run the same configuration, or update the reference"
            )


def _exact(candidate: Run, reference: Run) -> Iterator[Finding]:
    """Every column of every row, and the replicates, to the last digit."""
    why = "one fingerprint must give one result: something is not deterministic"
    rows = [run.metrics.set_index([*KEY, "sample_seed"]).sort_index() for run in (candidate, reference)]
    if not rows[0].index.equals(rows[1].index):
        yield Finding("all", "rows of metrics.csv", str(len(rows[1])), str(len(rows[0])), "changed", text=why)
        return
    columns = [name for name in METRICS.columns if name in rows[0]]
    differ = (rows[0][columns] != rows[1][columns]).any(axis=1)
    for key, now, was, changed in zip(rows[1].index, *(one["value"] for one in rows), differ, strict=True):
        row = dict(zip([*KEY, "sample_seed"], key, strict=True))
        verdict, text = ("changed", why) if changed else ("same", "")
        yield Finding(cell_name(row), metric_name(row), was, now, verdict, text=text)
    files = [run.path.with_name("replicates.csv") for run in (candidate, reference)]
    if all(stored(file).is_file() for file in files) and content(files[0]) != content(files[1]):
        yield Finding("all", "replicates.csv", "", "", "changed", text=why)


def _change(candidate: Run, reference: Run, now: Row, was: Row) -> tuple[Change, bool]:
    """The test of one cell, and whether it is one of pairs."""
    margin, method = margin_of(was), was["method"]
    pairs = candidate.replicates and reference.replicates and fact(was["metric"]).replicates
    if not (pairs and candidate.seeds[method] == reference.seeds[method]):
        return unpaired(_estimate(now), _estimate(was), margin=margin), False
    (full, parts), (other, others) = candidate.replicates_of(now), reference.replicates_of(was)
    if len(parts) != len(others):
        raise CannotCompare(
            f"{metric_name(was)} of {cell_name(was)} has {len(parts)} replicates in {candidate.path.parent} and "
            f"{len(others)} in {reference.path.parent}: one replicates.csv is cut"
        )
    debias = reference.plain(was)["value"] != was["value"]
    return paired((full, other), (parts, others), margin=margin, debias=debias), True


def margin_of(row: Row) -> float:
    """The least change of a metric that matters, in its own units."""
    known, estimate = fact(row["metric"]), _estimate(row)
    least = RELATIVE * abs(estimate.value) if known.least is None else known.least
    return least if known.exact else max(least, OWN * (estimate.high - estimate.low) / 2)


def _finding(now: Row, was: Row, change: Change, p: float, alpha: float) -> Finding:
    verdict = "equivalent" if change.p_within <= 0.05 else "not shown"
    if p <= alpha:
        direction = fact(was["metric"]).direction
        worse = (change.difference > 0) == (direction == "lower")
        verdict = "changed" if direction == "none" else "worse" if worse else "better"
    return Finding(cell_name(was), metric_name(was), was["value"], now["value"], verdict, change, p)


def _estimate(row: Row) -> Estimate:
    return Estimate(*(float(row[name]) for name in INTERVAL))
