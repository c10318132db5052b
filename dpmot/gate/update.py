"""Accepting new numbers: the reference is replaced, and what it was is logged."""

import csv
import io
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from dpmot.gate.compare import compare
from dpmot.gate.runs import CannotCompare, Row, Run
from dpmot.results import KEY
from dpmot.runtime.files import atomic
from dpmot.runtime.packed import PACKED, content, packed, stored, write_packed

FILES = ("fingerprint.json", "experiment.json", "identity.csv", "audit.csv", "replicates.csv", "metrics.csv")
LOG = "updates.csv"


def update(candidate: Path, reference: Path, reason: str) -> str:
    """Make the candidate's results the reference; the values that this replaces go to ``updates.csv`` beside them.

    The reference's large files are packed (:mod:`dpmot.runtime.packed`): it is there to be kept.

    Returns:
        What was done, one line.

    Raises:
        CannotCompare: the candidate is no results folder, holds values that are not finite or replicates of another
            run; the reference is a file, or the reason empty.
    """
    if not reason.strip():
        raise CannotCompare('a reference is updated for a reason: --update --reason "why the numbers changed"')
    if not candidate.is_dir() or reference.is_file():
        raise CannotCompare(f"an update takes two results folders, got {candidate} and {reference}")
    new = Run.read(candidate)
    compare(new, new)  # of one fingerprint: its replicates are checked too
    old = Run.read(reference).cells if stored(reference / "metrics.csv").is_file() else {}
    changed = [key for key in {**old, **new.cells} if _value(old, key) != _value(new.cells, key)]
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    first = [[stamp, reason.strip(), *["all"] * len(KEY), "", ""]] if not old else []
    rows = first or [[stamp, reason.strip(), *key, _value(old, key), _value(new.cells, key)] for key in changed]
    log = reference / LOG
    before = (
        log.read_text(encoding="utf-8") if log.is_file() else ",".join(["date", "reason", *KEY, "old", "new"]) + "\n"
    )
    lines = io.StringIO(newline="")
    csv.writer(lines, lineterminator="\n").writerows(rows)
    files = {name: content(candidate / name) for name in FILES if stored(candidate / name).is_file()}
    for path in (reference / name for name in FILES if name not in files):
        path.unlink(missing_ok=True)
        packed(path).unlink(missing_ok=True)
    # the log last, metrics.csv before it: until then the replicates do not fit it, and the gate refuses both
    for name, new_content in {**files, LOG: (before + lines.getvalue()).encode()}.items():
        _write(reference / name, new_content)
    return f"{reference}: {len(changed)} of {len(new.cells)} cells changed, old values are in {log}"


def _write(path: Path, content: bytes) -> None:
    if path.name in PACKED:
        write_packed(path, content)
        return
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def _value(cells: Mapping[tuple[str, ...], Row], key: tuple[str, ...]) -> str:
    return cells[key]["value"] if key in cells else ""
