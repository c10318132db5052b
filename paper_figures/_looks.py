"""One colour, marker and line for every method, in every figure of every experiment, and colours that read as text.

The colour tells the start (and of samples from the prior: their sampler), after Okabe and Ito (Wong 2011, Nature
Methods 8:441) with five of Tol's muted colours. The marker tells the sampler, of a mixture also K; the line the level:
solid up to 1.5 and as in the paper, broken above 1.5, 2.5 and 5. Whatever else tells methods of a kind apart, such as
a grid or a guidance, moves both on by some places. Nothing depends on the other methods of an experiment, but where two
would look alike.
"""

from bisect import bisect
from dataclasses import dataclass
from functools import cache
from itertools import product
from math import log10
from typing import NamedTuple
from zlib import crc32

from matplotlib.colors import to_hex, to_rgb

from dpmot.experiment.methods import Method
from dpmot.experiment.networks import Network
from dpmot.results import FLOORS
from paper_figures._agreement import OUTSIDE
from paper_figures._results import Results

BLACK, ORANGE, SKY, GREEN, BLUE, VERMILLION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
INDIGO, TEAL, OLIVE, WINE, FOREST = "#332288", "#44AA99", "#999933", "#882255", "#117733"
GREY, DARK = "#6E6E6E", "#4D4D4D"
CONTRAST = 4.5  # of text against white, WCAG 2.1 level AA

PRIOR = {  # sampler -> colour and markers
    "ddim": (BLUE, "oHd8"),
    "ddpm": (SKY, "^v<>"),
    "edm": (INDIGO, "v^<>"),
    "ipndm": (SKY, "phH8d"),
    "dpm_solver_pp": (INDIGO, "<>^v"),
    "er_sde": (INDIGO, "dDHp"),
    "sa_solver": (INDIGO, "8ph>"),
    "pfdiff": (INDIGO, "Hhd8"),
    "unipc": (SKY, "<>d8"),
    "deis": (SKY, "s8Hh"),
    "gs": (SKY, "dHph"),
    "pas": (TEAL, "><^v"),
    "none": (GREY, "XdPv"),
}
KINDS = {  # what a method is, but for those above -> colour and markers
    "dpm_ot": (VERMILLION, "sPhD8"),
    "dpm_ot, sigma_M*": (ORANGE, "D*sPH"),
    "as coded": (WINE, "*Pvd^"),
    "mixture": (FOREST, "Dso*Xdph8^"),
    "mixture, labels": (GREEN, "P*Xpd8"),
    "rewired": (PURPLE, "DsPX8"),
    "rewired, minibatch": (OLIVE, "^v<>8"),
    "longer": (DARK, "X*dPs"),  # the network before, trained for longer as it was
    "copy": (BLACK, "XPd*h"),
    "copy, sigma_M*": (DARK, "PXd*h"),
    "fresh_noise": (DARK, "d>D<"),
    "gaussian": (OLIVE, "pH8h"),
    "distilled": (TEAL, "8Hph"),
    "discard": (TEAL, "v<^>"),
    "treat": (OLIVE, "^>v<"),
    "smooth": (PURPLE, "oHp8"),
    "of the atoms": (GREY, "<d>^v"),  # zero heights, some noises an image
    "given": (WINE, "dDph"),
}
SPARE = tuple(product((SKY, INDIGO, TEAL, OLIVE), ("><^v", "dHph", "8ph>")))  # samplers and starts without a row above
SAMPLERS = ("ddim", "edm", "ipndm", "dpm_solver_pp", "none")  # in the order of a kind's markers
GRIDS = ("karras", "gits", "dmn")  # of samples from the prior, beside the usual one
BOUNDS = (1.5, 2.5, 5.0)  # of levels, between lines
LINES = ("-", "--", "-.", ":")


@dataclass(frozen=True)
class Style:
    """Colour, marker and line of one method."""

    colour: str
    marker: str
    line: str = "-"
    width: float = 1.0


class Kind(NamedTuple):
    """What a method is, whatever its experiment calls it.

    Attributes:
        name: a key of KINDS up to its comma, or another start, or prior.
        sampler: as the configuration names it.
        of: "labels" of a mixture by class, "minibatch" of a network rewired by assignments inside each batch.
        number: how far its marker is moved on by the components of its mixture.
        level: how far its line is by its level.
        more: how far both are by whatever else makes it another method.
    """

    name: str
    sampler: str
    of: str = ""
    number: int = 0
    level: int = 0
    more: int = 0


def kind(results: Results, method: str) -> Kind:
    """The kind of a method: how its network was trained where that matters, else its start."""
    planned = results.experiment.drawn.get(method)
    if planned is None:
        return Kind("given", "none")
    network = results.experiment.networks.get(planned.network)
    training, of, number = network and network.training, "", 0
    name = "dpm_ot" if planned.start == "transport" else planned.start
    if planned.start == "prior" and training and training.couples:
        name, of = "rewired", "minibatch" if training.coupling == "minibatch" else ""
    elif planned.start == "prior" and network and network.rewires:
        name = "longer"
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
    if name == "mixture":
        of = "labels" if planned.start_options.get("by") == "labels" else ""
        number = _half_decades(planned.start_options.get("components", 1))
    level = bisect(BOUNDS, planned.level) if isinstance(planned.level, int | float) else 0
    return Kind(name, planned.sampler, of, number, level, _more(planned, network))


def _more(planned: Method, network: Network | None) -> int:
    """Places by which marker and line are moved on: what no other part of the kind tells."""
    places = (GRIDS.index(planned.grid) + 1 if planned.grid in GRIDS else 0) + 4 * planned.balanced
    places += (planned.guidance or 0) > 1
    places += (planned.guidance or 0) > 2
    places += 2 * planned.per_class + (planned.start_options.get("part") == "half")
    places += 2 * (planned.start_options.get("covariance") == "shared")
    places += 3 * (planned.heights == "zero") + _half_decades(planned.noises)
    coded = [planned.source_measure, planned.targets, planned.level, planned.nfe]
    if planned.group == "as_code" and coded.count("as_code") == 1:
        places += 1 + coded.index("as_code")
    if planned.singular != "plain":
        places += round(20 * (planned.angle or 0)) + _half_decades(planned.tau or 1) + (planned.top_k or 2) // 5
    if network and network.rewires and network.training:
        places += int(2 * log10(network.training.steps)) - 4  # from 100 steps on
    return places


def _half_decades(number: float) -> int:
    """1, 3, 10, 30, ... -> 0, 1, 2, 3, ..."""
    return round(2 * log10(number))


def network_of(results: Results, method: str) -> str:
    """The network in whose panel a method stands: its chain's, and of a rewired one that which it was before."""
    name = results.chain(method)
    network = results.experiment.networks.get(name)
    return (network and network.rewires) or name


def _look(of: Kind) -> tuple[str, str]:
    """Colour and markers of a kind: those of a name that no row has follow from the name."""
    named = of.sampler if of.name == "prior" else f"{of.name}, {of.of}" if of.of else of.name
    return (PRIOR if of.name == "prior" else KINDS).get(named) or SPARE[crc32(named.encode()) % len(SPARE)]


def _turn(own: Kind, markers: str) -> list[tuple[str, str]]:
    """Markers and lines of a kind, its own first."""
    known = own.sampler in SAMPLERS
    sampler = SAMPLERS.index(own.sampler) if known else len(SAMPLERS) + crc32(own.sampler.encode())
    first = own.more + own.number + (0 if own.name == "prior" else sampler)
    count, lines = len(markers), len(LINES)
    steps = ((k % count, k // count + k % count) for k in range(count * lines))
    return [(markers[(first + k) % count], LINES[(own.level + own.more + n) % lines]) for k, n in steps]


def styles(results: Results) -> dict[str, Style]:
    """One style for each method: its own, or the next one of its kind where another on its network has that.

    Methods of the main tables come first, so that none of them gives way to one of a sweep.
    """
    found: dict[str, Style] = {}
    taken: set[tuple[str, str, str, str]] = set()
    for method in sorted(results.methods, key=lambda one: results.group(one) in OUTSIDE):
        own = kind(results, method)
        colour, markers = _look(own)
        place, turn = network_of(results, method), _turn(own, markers)
        marker, line = next((one for one in turn if (place, colour, *one) not in taken), turn[0])
        taken.add((place, colour, marker, line))
        found[method] = Style(colour, marker, line, 1.7 if own.name.startswith("dpm_ot") else 1.0)
    return {method: found[method] for method in results.methods} | {floor: Style(GREY, "_") for floor in FLOORS}


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
