"""How large a change of a metric must be to matter, and which way is worse."""

from collections.abc import Mapping
from functools import cache

from dpmot import plugins

RELATIVE = 0.02  # least change that matters, as a share of the reference's value
OWN = 0.1  # and as a share of the half-width of the reference's interval
GREY = 0.1 / 127.5  # a tenth of a grey level, in pixels of [-1, 1]
EXACT = {"mean": GREY, "std": GREY, "distinct_samples": 0.001}  # by stem of the metric, and nothing else counts
ABSOLUTE = {  # by stem of the metric, instead of RELATIVE
    **dict.fromkeys(("mmr", "precision", "density", "recall", "coverage", "off_mode", "accuracy", "ece"), 0.01),
    **dict.fromkeys(("recovery", "authenticity", "exact_duplicates", "near_duplicates"), 0.01),
    **dict.fromkeys(("distinct_neighbours", "distinct_sources", "label_entropy"), 0.01),
    "ct": 0.5,
    "mass_error": 1.0,
}


def margin_of(row: Mapping) -> float:
    """The least change of a metric that matters, in its own units."""
    stem = stem_of(row["metric"])
    value, low, high = (float(row[name]) for name in ("value", "low", "high"))
    if stem in EXACT:
        return EXACT[stem]
    return max(ABSOLUTE.get(stem, RELATIVE * abs(value)), OWN * (high - low) / 2)


def stem_of(metric: str) -> str:
    """The longest stem of a metric file that a name starts with, or the name."""
    found = [stem for stem in _directions() if metric.startswith(f"{stem}_")]
    return max(found, key=len, default=metric)


@cache
def _directions() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in plugins.names("metrics"):
        found |= plugins.find("metrics", name).DIRECTION
    return found


def worse(metric: str, difference: float) -> int:
    """1 where the difference is for the worse, -1 for the better, 0 where a metric has no better direction."""
    direction = _directions().get(stem_of(metric), "none")
    return 0 if direction == "none" else 1 if (difference > 0) == (direction == "lower") else -1
