"""What the gate says: to read, as annotations of GitHub, as JUnit XML."""

import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from dpmot.gate.compare import ALPHA, compare
from dpmot.gate.findings import INCOMPARABLE, PASSED, Finding, Report
from dpmot.gate.runs import Run
from dpmot.runtime.files import atomic

WORST = 15
HOW = {
    "exact": "one fingerprint: to the last digit",
    "paired": "the same sample seeds: differences in pairs",
    "unpaired": "other sample seeds, or no replicates.csv: from the intervals, which see large changes only",
    "mixed": "differences in pairs where the sample seeds are the same, else from the intervals",
}


def text(report: Report) -> str:
    """The report to read: the verdict, counts, and the worst cells."""
    counts = sorted(Counter(one.verdict for one in report.findings).items())
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts)
    lines = [f"gate {'PASSED' if report.status == PASSED else 'REGRESSED'}: {HOW[report.how]}; {told}"]
    if report.sight:
        lines.append(
            f"from intervals a change shows from its margin and {report.sight:.1f} half-widths of an interval on; "
            "give both runs the same sample seeds to see smaller ones"
        )
    if not report.failed:
        return "\n".join(lines)
    rows = [("cell", "metric", "was", "now", "difference", "margin", "p (Holm)", "verdict")]
    for one in report.failed[:WORST]:
        tested = ("", "", "")
        if change := one.change:
            moved = f"{change.difference:+.4g} [{change.low:.4g}, {change.high:.4g}]"
            tested = (moved, f"{change.margin:.3g}", f"{one.p:.1g}")
        rows.append((one.cell, one.metric, _short(one.was), _short(one.now), *tested, one.text or one.verdict))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines += ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if len(report.failed) > WORST:
        lines.append(f"... and {len(report.failed) - WORST} more")
    lines.append('A change that is meant: dpmot gate ... --update --reason "why"')
    return "\n".join(lines)


def _short(value: str) -> str:
    try:
        return f"{float(value):.5g}"
    except ValueError:
        return value


def annotations(report: Report) -> str:
    """GitHub's workflow commands: one error for each method that failed."""
    lines = []
    for cell, members in _by_cell(report.failed).items():
        told = "; ".join(f"{one.metric} {_short(one.was)} -> {_short(one.now)}" for one in members[:3])
        more = f" and {len(members) - 3} more" if len(members) > 3 else ""
        lines.append(annotation(cell, told + more))
    return "\n".join(lines)


def annotation(title: str, message: str) -> str:
    """One error as a workflow command of GitHub, which reads , and : in a title as its own."""
    message = message.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    title = title.replace("%", "%25").replace(":", "%3A").replace(",", "%2C")
    return f"::error title=dpmot gate {title}::{message}"


def junit(report: Report) -> bytes:
    """JUnit XML: one test case for each cell."""
    cases = {}
    for cell, members in _by_cell(report.findings).items():
        bad = [one for one in members if one.failed]
        text = "\n".join(f"{one.metric}: {one.was} -> {one.now} {one.text or one.verdict}" for one in bad)
        cases[cell] = ("failure", f"{len(bad)} of {len(members)} metrics failed", text) if bad else None
    return _suite(cases)


def _suite(cases: Mapping[str, tuple[str, str, str | None] | None]) -> bytes:
    """JUnit XML: name of a case -> "failure" or "error" with its message and text, or None where it passed."""
    bad = Counter(f"{case[0]}s" for case in cases.values() if case)
    counts = {"failures": str(bad["failures"])} | {kind: str(count) for kind, count in bad.items()}
    suite = ElementTree.Element("testsuite", {"name": "dpmot gate", "tests": str(len(cases)), **counts})
    for name, case in cases.items():
        element = ElementTree.SubElement(suite, "testcase", classname="dpmot.gate", name=name)
        if case:
            ElementTree.SubElement(element, case[0], message=case[1]).text = case[2]
    return ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)


def _by_cell(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for one in findings:
        found.setdefault(one.cell, []).append(one)
    return found


def run(
    candidate: Path, reference: Path, *, alpha: float = ALPHA, junit_file: Path | None = None, github: bool = False
) -> int:
    """Compare, print, write what is asked for; returns the exit status.

    Raises:
        CannotCompare: see :func:`compare`.
    """
    report = compare(Run.read(candidate), Run.read(reference), alpha=alpha)
    print(text(report))
    if github and report.failed:
        print(annotations(report))
    if junit_file:
        _write(junit_file, junit(report))
    return report.status


def refuse(line: str, *, junit_file: Path | None = None, github: bool = False) -> int:
    """Say where it is looked for that the gate cannot compare; returns the exit status."""
    if github:
        print(annotation("cannot compare", line))
    if junit_file and junit_file.parent.is_dir():
        _write(junit_file, _suite({"cannot compare": ("error", line, None)}))
    return INCOMPARABLE


def _write(path: Path, content: bytes) -> None:
    with atomic(path) as temporary:
        temporary.write_bytes(content)
