"""What must hold in any run."""

from collections.abc import Iterator
from itertools import permutations

from dpmot.gate.findings import Finding
from dpmot.gate.runs import Row, Run, cell_name, metric_name
from dpmot.results import REAL_TEST, stem

MASS_ERROR = 5.0  # standard deviations


def invariants(candidate: Run, reference: Run) -> Iterator[Finding]:
    """What must hold, whatever has changed: only violations."""
    yield from _evaluations(candidate, reference)
    yield from _masses(candidate, reference)
    yield from _mixtures(candidate, reference)
    yield from _orders(candidate, reference)
    yield from _ranks(candidate, reference)


def _evaluations(candidate: Run, reference: Run) -> Iterator[Finding]:
    first: dict[str, tuple[str, ...]] = {}
    for key, row in candidate.cells.items():
        first.setdefault(cell_name(row), key)
    for cell, key in first.items():
        row = candidate.cells[key]
        counted, budget, was = row["nfe_counted"], row["nfe_budget"], reference.cells.get(key, row)["nfe_counted"]
        if float(counted or 0) != float(was or 0) or float(counted or 0) > candidate.budget(row):
            text = f"{counted} evaluations counted, budget {budget}, reference {was}"
            yield Finding(cell, "counted NFE", was, counted, "violated", text=text)


def _masses(candidate: Run, reference: Run) -> Iterator[Finding]:
    for key, row in candidate.cells.items():
        was = reference.cells[key]["value"] if key in reference.cells else ""
        if stem(row["metric"]) == "mass_error" and float(row["value"]) > MASS_ERROR >= float(was or 0):
            text = f"the stored images are used unequally: {float(row['value']):.1f} standard deviations"
            yield Finding(cell_name(row), "mass error", was, row["value"], "violated", text=text)


def _mixtures(candidate: Run, reference: Run) -> Iterator[Finding]:
    """Samples of a prior that newly mix fewer modes than real images do.

    No law forbids it: a network with labels, and a sampler of few steps, which smooths, do so honestly. Where the
    reference did not, it is a sign of samples that are no longer drawn from the prior.
    """
    few = _below_real(reference)
    for key, floor in _below_real(candidate).items():
        if key in reference.cells and key not in few:
            row = candidate.cells[key]
            text = f"mixes fewer modes than real images do ({float(floor['value']):.3f}), which it did not"
            yield Finding(cell_name(row), metric_name(row), floor["value"], row["value"], "violated", text=text)


def _below_real(run: Run) -> dict[tuple[str, ...], Row]:
    """Cells of samples of a prior whose mode-mixture ratio lies below that of real images -> the cell of these."""
    floors = {row["metric"]: row for row in run.cells.values() if row["method"] == REAL_TEST}
    return {
        key: floor
        for key, row in run.cells.items()
        if stem(row["metric"]) == "mmr" and row["start"] == "prior" and (floor := floors.get(row["metric"]))
        if float(row["high"]) < float(floor["low"])
    }


def _ranks(candidate: Run, reference: Run) -> Iterator[Finding]:
    """The audit must rank what it ranked, and leave out what it left out."""
    now, was = candidate.audit, reference.audit
    if now is None or was is None:
        return
    for key in was.keys() & now.keys():
        row, ranked = now[key], (was[key]["ranked"], now[key]["ranked"])
        if ranked[0] != ranked[1]:
            marked = was[key] if ranked[1] == "True" else row
            text = f"{'no longer' if ranked[1] == 'True' else 'now'} marked by the audit: {marked['reasons']}"
            yield Finding(cell_name(row), "ranked by the audit", *ranked, "violated", text=text)


def _orders(candidate: Run, reference: Run) -> Iterator[Finding]:
    """Two samplers on one network, start and budget that the reference tells apart must not change places."""
    groups: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for key, row in reference.cells.items():
        if row["metric"].startswith("fd_") and row["reference"] == "test" and row["start"] not in ("data", ""):
            groups.setdefault((row["network"], row["start"], row["nfe_budget"], row["metric"]), []).append(key)
    for one, other in (pair for keys in groups.values() for pair in permutations(keys, 2)):
        if _below(reference, one, other) and _below(candidate, other, one):
            row, was = candidate.cells[one], reference.cells[one]["value"]
            text = f"no longer better than {candidate.cells[other]['method']}, which it was beyond both intervals"
            yield Finding(cell_name(row), "order of samplers", was, row["value"], "violated", text=text)


def _below(run: Run, one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    return float(run.cells[one]["high"]) < float(run.cells[other]["low"])
