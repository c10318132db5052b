"""How large a change of a metric must be to matter, and which way is worse."""

from collections.abc import Mapping

from dpmot import results

RELATIVE = 0.02  # least change that matters, as a share of the reference's value, where the metric states no other
OWN = 0.1  # and as a share of the half-width of the reference's interval


def margin_of(row: Mapping[str, str]) -> float:
    """The least change of a metric that matters, in its own units."""
    fact = results.fact(row["metric"])
    value, low, high = (float(row[name]) for name in results.INTERVAL)
    least = RELATIVE * abs(value) if fact.least is None else fact.least
    return least if fact.exact else max(least, OWN * (high - low) / 2)


def worse(metric: str, difference: float) -> int:
    """1 where the difference is for the worse, -1 for the better, 0 where a metric has no better direction."""
    direction = results.fact(metric).direction
    return 0 if direction == "none" else 1 if (difference > 0) == (direction == "lower") else -1
