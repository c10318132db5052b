"""What must hold in any run."""

from collections.abc import Iterator

from dpmot.gate.findings import Finding
from dpmot.gate.runs import Run, cell_name, metric_name
from dpmot.results import REAL_TEST

MASS_ERROR = 5.0  # standard deviations


def invariants(candidate: Run, reference: Run) -> Iterator[Finding]:
    """What must hold, whatever has changed: only violations."""
    yield from _evaluations(candidate, reference)
    yield from _masses(candidate, reference)
    yield from _mixtures(candidate)
    yield from _orders(candidate, reference)


def _evaluations(candidate: Run, reference: Run) -> Iterator[Finding]:
    seen = set()
    for key, row in candidate.cells.items():
        cell, counted = cell_name(row), row["nfe_counted"]
        if cell in seen:
            continue
        seen.add(cell)
        was = reference.cells[key]["nfe_counted"] if key in reference.cells else counted
        budget = row["nfe_budget"]
        if float(counted or 0) != float(was or 0) or (budget.isdigit() and float(counted or 0) > int(budget)):
            text = f"{counted} evaluations counted, budget {budget}, reference {was}"
            yield Finding(cell, "counted NFE", was, counted, "violated", text=text)


def _masses(candidate: Run, reference: Run) -> Iterator[Finding]:
    for key, row in candidate.cells.items():
        if row["metric"].startswith("mass_error_") and float(row["value"]) > MASS_ERROR:
            was = reference.cells.get(key)
            if was is None or float(was["value"]) <= MASS_ERROR:
                text = f"the stored images are used unequally: {float(row['value']):.1f} standard deviations"
                yield Finding(
                    cell_name(row), "mass error", was["value"] if was else "", row["value"], "violated", text=text
                )


def _mixtures(candidate: Run) -> Iterator[Finding]:
    floors = {
        row["metric"]: row
        for row in candidate.cells.values()
        if row["method"] == REAL_TEST and row["metric"].startswith("mmr_")
    }
    for row in candidate.cells.values():
        floor = floors.get(row["metric"])
        if floor and row["start"] == "prior" and float(row["high"]) < float(floor["low"]):
            text = f"mixes fewer modes than real images do ({float(floor['value']):.3f}): samples of a prior cannot"
            yield Finding(cell_name(row), metric_name(row), floor["value"], row["value"], "violated", text=text)


def _orders(candidate: Run, reference: Run) -> Iterator[Finding]:
    """Two samplers on one network, start and budget that the reference tells apart must not change places."""
    groups: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for key, row in reference.cells.items():
        if row["metric"].startswith("fd_") and row["reference"] == "test" and row["start"] not in ("data", ""):
            groups.setdefault((row["network"], row["start"], row["nfe_budget"], row["metric"]), []).append(key)
    for keys in groups.values():
        for one in keys:
            for other in keys:
                if _below(reference, one, other) and _below(candidate, other, one):
                    row = candidate.cells[one]
                    text = (
                        f"no longer better than {candidate.cells[other]['method']}, which it was beyond both intervals"
                    )
                    was, now = reference.cells[one]["value"], row["value"]
                    yield Finding(cell_name(row), "order of samplers", was, now, "violated", text=text)


def _below(run: Run, one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    return float(run.cells[one]["high"]) < float(run.cells[other]["low"])
