"""Why cells are unranked, in few words: each rule of the audit once, then a line for all cells that differ in numbers.

audit.csv says every reason in full: "source recovery 1 [0.998, 1] more than 0.01 above 0.00167, that of chance".
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

VALUE = r"[\d.e+-]+ \[[^\]]*\]"
NUMBER = re.compile(r"(?<![\w.])(-?\d[\d.]*(?:e-?\d+)?)(?: \[([-\d.e]+), ([-\d.e]+)\])?")
READ = (
    "Each with its whole interval; (may be): with its upper end alone. A line of several NFE goes from their least to "
    "their largest value, and its brackets hold all their intervals."
)


@dataclass(frozen=True)
class Rule:
    """A reason of the audit as it stands in audit.csv, as a line has it, and said once with its bounds."""

    full: re.Pattern[str]
    brief: str
    said: str


def _rule(full: str, brief: str, said: str) -> Rule:
    bounds = {"VALUE": rf"(?P<value>{VALUE})", "BOUND": r"(?P<bound>[\d.e-]+)", "CHANCE": r"(?P<chance>[\d.e-]+)"}
    return Rule(re.compile(re.sub("|".join(bounds), lambda found: bounds[found[0]], full)), brief, said)


SHARE, RECOVERY = r"share of copies of (?P<of>training|test) images VALUE", "source recovery VALUE"
OF = " (of training images, where test images are not named)"
RULES = (
    _rule(f"{SHARE} above BOUND", "share {of}{value}", f"share of copies{OF} above {{bound}}"),
    _rule(
        f"{RECOVERY} more than BOUND above CHANCE, that of chance",
        "recovery {value}",
        "source recovery more than {bound} above that of chance, 1/N = {chance}",
    ),
    _rule(
        f"{SHARE} may be more than BOUND: (?P<needed>more samples.* needed)",
        "share {of}{value} (may be)",
        f"share of copies{OF} that may be above {{bound}}: {{needed}}",
    ),
    _rule(
        f"{RECOVERY} may be more than BOUND above CHANCE, that of chance",
        "recovery {value} (may be)",
        "recovery that may be more than {bound} above that of chance, 1/N = {chance}",
    ),
)


def rules(reasons: Iterable[str]) -> str:
    """The rules by which there are such reasons, each once, with its bounds; "" where none is one of the audit's."""
    said: dict[str, None] = {}
    for reason in dict.fromkeys(reasons):
        for part in reason.split("; "):
            for rule in RULES:
                if found := rule.full.search(part):
                    said[rule.said.format(**found.groupdict())] = None
    return f"Why: {'; '.join(said)}. {READ}" if said else ""


def brief(reason: str) -> str:
    """A reason without what its rule says."""
    parts = reason.split("; ")
    for rule in RULES:
        parts = [_said(rule, part) for part in parts]
    return "; ".join(parts)


def _said(rule: Rule, part: str) -> str:
    found = rule.full.search(part)
    if found is None:
        return part
    words = {**found.groupdict(), "of": "of test images " if "test" in found.groupdict().values() else ""}
    return part[: found.start()] + rule.brief.format(**words) + part[found.end() :]


def lines(reasons: Mapping[str, str], budgets: Sequence[str]) -> list[str]:
    """A line for each kind of reason of a method.

    Args:
        reasons: NFE -> the reason there.
        budgets: of the table, ascending.
    """
    kinds: dict[str, dict[str, str]] = {}
    for nfe, reason in reasons.items():
        text = brief(reason)
        kinds.setdefault(NUMBER.sub("#", text), {})[nfe] = text
    return [f"NFE {_span(list(of), budgets)}: {_merged(list(of.values()))}" for of in kinds.values()]


def _span(some: list[str], budgets: Sequence[str]) -> str:
    """Neighbouring budgets as "5 to 50"."""
    places = [budgets.index(nfe) if nfe in budgets else -9 for nfe in some]
    run = len(some) > 2 and places == list(range(places[0], places[0] + len(some))) and places[0] >= 0
    return f"{some[0]} to {some[-1]}" if run else ", ".join(some)


def _merged(texts: list[str]) -> str:
    """Texts that differ in numbers as one, with the range of each."""
    columns = iter(zip(*(NUMBER.findall(text) for text in texts), strict=True))
    return NUMBER.sub(lambda _: _range(next(columns)), texts[0])


def _range(numbers: Sequence[tuple[str, str, str]]) -> str:
    values, lows, highs = ([one for one in texts if one] for texts in zip(*numbers, strict=True))
    least, most = min(values, key=float), max(values, key=float)
    told = least if least == most else f"{least} to {most}"
    return f"{told} [{min(lows, key=float)}, {max(highs, key=float)}]" if lows else told
