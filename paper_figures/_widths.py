r"""How wide text is at \scriptsize, in points: a table that is too wide for its page is divided before LaTeX sees it.

Advance widths of Computer Modern Roman at 7 pt (cmr7.tfm), without kerning, which only narrows.
"""

_CLASSES = {
    2.26: "!',.:;i[]_`l<",
    2.48: "fj",
    2.69: "-",
    2.89: "I",
    3.13: "()rt",
    3.17: "s",
    3.56: "cez",
    3.77: ">?",
    3.99: '"$*/0123456789\\^ag{}~oS–',
    4.2: "kqvxyJ",
    4.42: "bdhnpu",
    5.0: "LZ†‡§¶ ",
    5.4: "EFP",
    5.75: "BCTRw",
    6.2: "&+=@ADGHKNOQUVXY",
    6.6: "#%m",
    7.97: "|MW−±×→≈≤≥↓↑",
}
_WIDTHS = {letter: width for width, letters in _CLASSES.items() for letter in letters} | {" ": 2.7, "W": 8.1}
UNKNOWN = 7.0  # of a letter of another alphabet
BOLD = 1.2  # bold over roman, the most


def width(text: str, *, bold: bool = False) -> float:
    """Points that a text takes on one line."""
    return sum(_WIDTHS.get(letter, UNKNOWN) for letter in text) * (BOLD if bold else 1)


def folded(text: str, most: float) -> list[str]:
    """The text in lines of at most that width where its words allow it."""
    lines: list[str] = []
    for word in text.split(" "):
        if lines and width(f"{lines[-1]} {word}") <= most:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
