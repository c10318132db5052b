"""One colour and marker for every kind of method, in every figure of every experiment, and colours that read as text.

The colour tells the start (and which samples have none but the prior: their sampler), after Okabe and Ito (Wong 2011,
Nature Methods 8:441) with three of Tol's muted colours. Methods of one kind on one network, such as two levels of one
start, differ by marker and line.
"""

from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import NamedTuple
from zlib import crc32

from matplotlib.colors import to_hex, to_rgb

from dpmot.results import FLOORS
from paper_figures._results import Results

BLACK, ORANGE, SKY, GREEN, BLUE, VERMILLION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
INDIGO, TEAL, OLIVE, WINE = "#332288", "#44AA99", "#999933", "#882255"
GREY, DARK = "#6E6E6E", "#4D4D4D"
CONTRAST = 4.5  # of text against white, WCAG 2.1 level AA

PRIOR = {  # sampler -> colour and markers
    "ddim": (BLUE, "oHd8"),
    "ddpm": (SKY, "^v<>"),
    "edm": (INDIGO, "v^<>"),
    "ipndm": (SKY, "phH8"),
    "dpm_solver_pp": (INDIGO, "<>^v"),
    "none": (GREY, "XdPv"),
}
KINDS = {  # what a method is, but for those above -> colour and markers
    "dpm_ot": (VERMILLION, "sPhD8"),
    "dpm_ot, sigma_M*": (ORANGE, "D*sPH"),
    "as coded": (WINE, "*Pvd^"),
    "mixture": (GREEN, "P*pXh"),
    "rewired": (PURPLE, "hH8pd"),
    "copy": (BLACK, "XPd*h"),
    "copy, sigma_M*": (DARK, "PXd*h"),
    "fresh_noise": (DARK, "d>D<"),
    "gaussian": (OLIVE, "pH8h"),
    "distilled": (TEAL, "8Hph"),
    "discard": (TEAL, "v<^>"),
    "treat": (OLIVE, "^>v<"),
    "smooth": (PURPLE, "oHp8"),
    "of the atoms": (GREY, "<d>^"),  # zero heights, some noises an image
    "given": (WINE, "dDph"),
}
SPARE = tuple(product((SKY, INDIGO, TEAL, OLIVE), ("><^v", "dHph", "8ph>")))  # samplers and starts without a row above
LINES = ("-", "--", "-.", ":")


@dataclass(frozen=True)
class Style:
    """Colour, marker and line of one method."""

    colour: str
    marker: str
    line: str = "-"
    width: float = 1.0


class Kind(NamedTuple):
    """What a method is, whatever its experiment calls it: a key of KINDS, or another start, and its sampler."""

    name: str
    sampler: str


def kind(results: Results, method: str) -> Kind:
    """The kind of a method: how its network was trained where that matters, else its start."""
    planned = results.experiment.drawn.get(method)
    if planned is None:
        return Kind("given", "none")
    network = results.experiment.networks.get(planned.network)
    name = "dpm_ot" if planned.start == "transport" else planned.start
    if planned.start == "prior" and network and network.training and network.training.couples:
        name = "rewired"
    elif planned.start == "prior" and network and network.teacher:
        name = "distilled"
    elif planned.group == "as_code" or planned.singular == "as_code":
        name = "as coded"
    elif planned.singular != "plain":
        name = planned.singular
    elif planned.level == "star":
        name = f"{name}, sigma_M*"
    elif name == "dpm_ot" and (planned.heights == "zero" or planned.noises > 1 or planned.sampler == "none"):
        name = "of the atoms"
    return Kind(name, planned.sampler)


def network_of(results: Results, method: str) -> str:
    """The network in whose panel a method stands: its chain's, and of a rewired one that which it was before."""
    name = results.chain(method)
    network = results.experiment.networks.get(name)
    return (network and network.rewires) or name


def _look(of: Kind) -> tuple[str, str]:
    """Colour and markers of a kind: those of a name that no row has follow from the name."""
    known = PRIOR.get(of.sampler) if of.name == "prior" else KINDS.get(of.name)
    name = of.sampler if of.name == "prior" else of.name
    return known or SPARE[crc32(name.encode()) % len(SPARE)]


def styles(results: Results) -> dict[str, Style]:
    """One style for each method: that of its kind, or the next marker or line that none on its network has."""
    found: dict[str, Style] = {}
    taken: set[tuple[str, str, str, str]] = set()
    for method in results.methods:
        own = kind(results, method)
        colour, markers = _look(own)
        width = 1.7 if own.name.startswith("dpm_ot") else 1.0
        place, count = network_of(results, method), len(markers)
        turn = [(markers[k % count], LINES[(k // count + k % count) % len(LINES)]) for k in range(count * len(LINES))]
        free = [one for one in turn if (place, colour, *one) not in taken]
        marker, line = (free or turn)[0]
        taken.add((place, colour, marker, line))
        found[method] = Style(colour, marker, line, width)
    return found | {method: Style(GREY, "_") for method in FLOORS}


def luminance(colour: str) -> float:
    """Relative luminance of a colour, 0 black to 1 white (WCAG 2.1)."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(colour: str) -> float:
    """Contrast against white, 1 to 21 (WCAG 2.1)."""
    return 1.05 / (luminance(colour) + 0.05)


@cache
def ink(colour: str) -> str:
    """A colour for text: the same, darkened until its contrast against white is enough."""
    shares = (1 - step / 50 for step in range(50))
    red, green, blue = to_rgb(colour)
    darker = (to_hex((share * red, share * green, share * blue)) for share in shares)
    return next(one for one in darker if contrast(one) >= CONTRAST)
