"""A number as a table prints it: the half-width h = (high - low) / 2 of its interval decides the digits.

h is rounded to two significant digits and the value and its bounds to the last of them, so nothing is printed that the
interval says nothing about. A value with equal bounds, or without, has the decimals of its metric. Minus signs are
U+2212, as in mathematics.
"""

from dataclasses import dataclass
from math import floor, isfinite, isnan, log10, nan

from dpmot.results import fact
from paper_figures._results import Row

MOST = 6  # decimals
LARGE = 1e5  # from here on powers of ten


def decimals(half: float) -> int:
    """Decimals that leave a half-width > 0 two significant digits; below 0: tens, hundreds."""
    return min(1 - int(f"{half:.1e}".partition("e")[2]), MOST)


def fixed(value: float, places: int) -> str:
    """The value to that many decimals, below 0 to tens and hundreds, with a minus of mathematics and no minus zero."""
    text = f"{value:.{places}f}" if places >= 0 else str(int(round(value, places)))
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


@dataclass(frozen=True)
class Number:
    """A value with its interval.

    Attributes:
        value: as measured.
        low: lower bound; NaN: unknown.
        high: upper bound; NaN: unknown.
        places: decimals where the interval has no width; None: two, or four where two would leave nothing.
    """

    value: float
    low: float = nan
    high: float = nan
    places: int | None = None

    @property
    def half(self) -> float:
        """Half the width of the interval; NaN where a bound is unknown."""
        return (self.high - self.low) / 2

    @property
    def digits(self) -> int:
        """Decimals that are printed."""
        if self.half > 0 and isfinite(self.half):
            return decimals(self.half)
        return self.places if self.places is not None else 2 if abs(self.value) >= 0.1 or self.value == 0 else 4

    @property
    def large(self) -> bool:
        """Whether it is printed with a power of ten."""
        return abs(self.value) >= LARGE

    def _powers(self, number: float) -> str:
        top = floor(log10(abs(self.value)))
        places = max(0, min(top + self.digits, 2)) if self.half > 0 else 2
        return f"{number / 10.0**top:.{places}f}e{top}".replace("-", "−")

    def printed(self, number: float) -> str:
        """The value, or a bound, with the digits of this number."""
        return self._powers(number) if self.large else fixed(number, self.digits)

    @property
    def text(self) -> str:
        """``value [low, high]``; ``value [n/a]`` where a bound is unknown."""
        bounds = (self.low, self.high)
        told = "n/a" if any(map(isnan, bounds)) else ", ".join(map(self.printed, bounds))
        return f"{self.printed(self.value)} [{told}]"

    @property
    def plain(self) -> str:
        """The value alone."""
        return self.printed(self.value)

    @property
    def short(self) -> str:
        """``value ± h``; the value alone where there is no interval, or a power of ten."""
        return f"{self.plain} ± {fixed(self.half, self.digits)}" if self.half >= 0 and not self.large else self.plain

    @property
    def even(self) -> bool:
        """Whether ``value ± h`` says the interval: its bounds lie equally far from the value, as far as printed."""
        apart = abs((self.value - self.low) - (self.high - self.value))
        return self.half >= 0 and not self.large and apart < 0.5 * 10.0**-self.digits


def quantity(row: Row, of: str = "value") -> Number:
    """The number of a row of a long form."""
    return Number(row[of], row["low"], row["high"], fact(row["metric"]).digits)


def alone(value: float, metric: str) -> str:
    """A value without an interval, with the decimals of its metric."""
    return Number(value, places=fact(metric).digits).plain


def interval(row: Row, of: str = "value") -> str:
    """``value [low, high]``; ``value [n/a]`` where a bound is missing."""
    return quantity(row, of).text


def plain(row: Row | None, *, absent: str = "not run") -> str:
    """A value without its interval, with the digits that its interval leaves."""
    if row is None:
        return absent
    return {"not run": "not run", "skipped": "–"}.get(row["status"]) or quantity(row).plain


def told(value: float, low: float, high: float) -> str:
    """``34.8 [30.5, 39.2]``, as the tables print it; the value alone where the interval has no width."""
    number = Number(value, low, high)
    return number.text if number.half > 0 else number.plain
