"""What the gate finds."""

from dataclasses import dataclass

import numpy as np

from dpmot.gate.runs import Run
from dpmot.statistics.equivalence import Change

PASSED, REGRESSED, INCOMPARABLE = 0, 1, 2


@dataclass(frozen=True)
class Finding:
    """What the gate says of one cell, or of one thing that must hold.

    Attributes:
        cell: method at NFE budget.
        metric: with its reference, or the name of the invariant.
        was, now: values of reference and candidate, as text.
        change: the test; None where the rule is exact.
        p: ``change.p_beyond`` after Holm.
        verdict: same, equivalent, not shown, new, worse, better, changed, or violated.
    """

    cell: str
    metric: str
    was: str
    now: str
    verdict: str
    change: Change | None = None
    p: float = 1.0
    text: str = ""

    @property
    def failed(self) -> bool:
        """Whether it closes the gate."""
        return self.verdict in ("worse", "better", "changed", "violated")


@dataclass(frozen=True)
class Report:
    """The gate's answer.

    Attributes:
        how: exact, paired, unpaired, or mixed of the two.
        findings: of every cell, and violated invariants.
        sight: half-widths of an interval, beyond the margin, from which a change that is not in pairs shows, or None.
    """

    how: str
    candidate: Run
    reference: Run
    findings: tuple[Finding, ...]
    sight: float | None = None

    @property
    def failed(self) -> list[Finding]:
        """What closes the gate, worst first."""
        return sorted((one for one in self.findings if one.failed), key=_badness)

    @property
    def status(self) -> int:
        """Exit status."""
        return REGRESSED if self.failed else PASSED


def _badness(one: Finding) -> tuple:
    change = one.change
    return one.verdict != "violated", one.p, -(abs(change.difference) / (change.margin or 1e-300) if change else np.inf)
