r"""Mistakes of a denoiser, each as its repair: a change D -> D' that undoes it from outside.

Only D(x, sigma) is asked, so that one list serves every network. If D' errs much less than D on the same images and
noise, the mistake was made. What a mistake did to the input is undone by asking D elsewhere, at s x or at another
level; what it did to the output is a mix a x + b D with unknown a(sigma), b(sigma): a repair that is ``fitted`` takes
the best such mix, and of the mean image, at each level. Two parametrisations of one network differ by such a mix alone
(:mod:`dpmot.diffusion.forms`), so exchanging them is undone in closed form.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import permutations
from operator import mul
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpmot.diffusion.forms import LIKELY_WITH_EDM, forms

Asked = Callable[[Tensor, float, Tensor | None], Tensor]  # D(x, sigma, labels): (B, *S), a number, (B,) or None
FACTORS = (0.25, 0.5, 0.7, 1.4, 2.0, 4.0)  # between true and given levels
SKEWS = (0.4, 0.5, 0.65, 0.8, 1.25, 1.5, 2.0, 2.5)  # between true and given sigma_data
FLOWS = ("flow", "meanflow")  # kinds whose networks see x / (1 + sigma)
STEP = 1.15  # ratio of neighbouring levels from which on one index matters


@dataclass(frozen=True)
class Repair:
    """One mistake and what undoes it.

    Attributes:
        mistake: its name.
        told: what is wrong and what to do, one line.
        mend: D -> D'.
        fitted: whether D' is the best mix a x + b D'.
        gross: whether it spoils D so much that it is looked for only where D errs more than it should.
        anew: whether D is asked anew; a mix of x and D needs only the answers that are there.
        factor: by which it multiplies the level.
        symmetry: whether it shows D other images and takes that back: no sound D errs less then, not even a little.
    """

    mistake: str
    told: str
    mend: Callable[[Asked], Asked]
    fitted: bool = False
    gross: bool = False
    anew: bool = True
    factor: float | None = None
    symmetry: bool = False


def mixes(taken: str | None, sigma_data: float) -> Iterator[Repair]:
    """Outputs taken for another parametrisation's; they ask D nowhere else.

    Args:
        taken: the form that D is known to take the network's output for; None: any.
    """
    for assumed, true in permutations(forms(1.0, sigma_data), 2):
        unlikely = "EDM" in assumed + true and {assumed, true} not in LIKELY_WITH_EDM
        if assumed == (taken or assumed) and (taken or not unlikely):
            told = f"the network predicts {true}, D takes it for {assumed}: correct `denoise` (docs/extending.md)"
            mend = partial(_remixed, taken=(assumed, sigma_data), true=(true, sigma_data))
            yield Repair(f"{true} taken for {assumed}", told, mend, anew=False)


def _remixed(asked: Asked, *, taken: tuple[str, float], true: tuple[str, float]) -> Asked:
    def mended(x: Tensor, sigma: float, labels: Tensor | None) -> Tensor:
        (a, b), (right_a, right_b) = (forms(sigma, s)[name] for name, s in (taken, true))
        return (right_a - right_b * a / b) * x + right_b / b * asked(x, sigma, labels)

    return mended


@dataclass(frozen=True)
class Known:
    """What is known of a network beside its answers.

    Attributes:
        shape: S of the images.
        ends: (sigma_min, sigma_max).
        levels: of its chain; () where unknown.
        kind: the file of dpmot/diffusion/networks/; None for another's callable.
        form: what D takes the network's output for, a key of the table above; None where unknown.
        sigma_data: s of an EDM network; None where unknown.
        classes: labels it takes.
    """

    shape: tuple[int, ...]
    ends: tuple[float, float]
    levels: tuple[float, ...] = ()
    kind: str | None = None
    form: str | None = None
    sigma_data: float | None = None
    classes: int = 0

    @property
    def s(self) -> float:
        """sigma_data; EDM's own where unknown."""
        return self.sigma_data or 0.5

    def scale(self, sigma: float) -> float:
        """c_in, by which it scales its input."""
        return _flow(sigma) if self.kind in FLOWS else _edm(1.0 if self.kind in ("ddpm", "ncsnv2") else self.s, sigma)


def elsewhere(known: Known) -> Iterator[Repair]:
    """Every other mistake: D is asked at another level, another x or with another label."""
    yield from _levels(known)
    yield from _reversals(known)
    yield from _scales(known)
    yield from _ranges()
    yield from _pictures(known.shape)
    if known.classes > 1:
        for shift, true in ((1, "one more"), (-1, "one less")):
            told = f"the network does better with labels that are {true}: correct the order of the classes"
            mend = partial(_relabelled, shift=shift, classes=known.classes)
            yield Repair("labels shifted by one", told, mend, symmetry=True)


def _levels(known: Known) -> Iterator[Repair]:
    moves: list[tuple[str, str, Callable[[float], float], float | None]] = []
    for factor in FACTORS:
        told = f"the network does better at about {factor:g} times the level it is given: correct sigma, or the time"
        moves.append((f"level wrong by a factor of about {1 / factor:.2g}", told, partial(mul, factor), factor))
    index = ByIndex(known.levels)
    if index.ratio > STEP:
        for shift, way in ((1, "next higher"), (-1, "next lower")):
            told = f"the network does better at the {way} of its {len(known.levels)} levels: an index is off by one"
            moves.append(("level off by one index", told, partial(index.shifted, shift), None))
    for mistake, told, move, moved in moves:
        to = _between(move, known.ends)
        yield Repair(mistake, told, partial(_releveled, to=to), factor=moved)
        alone = partial(_releveled, to=to, scale=known.scale)
        yield Repair(mistake, f"{told}, of its condition alone", alone, fitted=True, factor=moved)


def _reversals(known: Known) -> Iterator[Repair]:
    low, high = known.ends
    index = ByIndex(known.levels)
    ways = [index.mirrored] if known.levels else [lambda sigma: 1 / sigma, lambda sigma: low * high / sigma]
    told = "the network does better with its levels in reverse order: its time runs the other way (1 - t, T - t)"
    for way in ways:
        for scale in (None, known.scale, partial(_edm, 1.0), _flow):
            mend = partial(_releveled, to=_between(way, known.ends), scale=scale)
            yield Repair("time reversed", told, mend, fitted=True, gross=True)


class ByIndex:
    """Levels by their index, between which the logarithm of sigma is linear."""

    def __init__(self, levels: Sequence[float]) -> None:
        self.logs = np.log(np.sort(np.asarray(levels, dtype=float)))
        self.indices = np.arange(len(self.logs))
        self.ratio = float(np.exp(np.median(np.diff(self.logs)))) if len(levels) > 1 else 1.0

    def shifted(self, shift: int, sigma: float) -> float:
        """The level so many indices above."""
        return float(np.exp(np.interp(self._of(sigma) + shift, self.indices, self.logs)))

    def mirrored(self, sigma: float) -> float:
        """The level as far from the other end."""
        return float(np.exp(np.interp(len(self.logs) - 1 - self._of(sigma), self.indices, self.logs)))

    def _of(self, sigma: float) -> float:
        return float(np.interp(np.log(sigma), self.logs, self.indices))


def _between(move: Callable[[float], float], ends: tuple[float, float]) -> Callable[[float], float]:
    return lambda sigma: float(np.clip(move(sigma), *ends))


def _flow(sigma: float) -> float:
    return 1 / (1 + sigma)


def _edm(s: float, sigma: float) -> float:
    return (sigma**2 + s**2) ** -0.5  # that of DDPM and ve where s is 1


def _releveled(asked: Asked, *, to: Callable[[float], float], scale: Callable[[float], float] | None = None) -> Asked:
    """D at another level; with ``scale``, its x is scaled beforehand so that the network sees what it should."""

    def mended(x: Tensor, sigma: float, labels: Tensor | None) -> Tensor:
        there = to(sigma)
        return asked(x if scale is None else x * (scale(sigma) / scale(there)), there, labels)

    return mended


def _scales(known: Known) -> Iterator[Repair]:
    s = known.s
    families = (
        ("1 / sqrt(1 + sigma^2)", partial(_edm, 1.0), "epsilon"),
        ("1 / (1 + sigma)", _flow, "flow velocity"),
        (f"1 / sqrt(sigma^2 + {s:g}^2)", partial(_edm, s), "EDM's F"),
    )
    for formula, scale, usual in families:
        mend = partial(_rescaled, scale=scale, form=known.form or usual, s=s)
        told = f"the network does better when x is scaled by c_in = {formula} first: `denoise` forgot it"
        yield Repair("c_in missing", told, mend, gross=True)
        told = f"the network does better when x is divided by c_in = {formula}: it is scaled twice"
        yield Repair("c_in applied twice", told, partial(mend, inverse=True), gross=True)
    for skew in SKEWS if known.kind not in ("ddpm", *FLOWS, "ncsnv2") else ():
        true = skew * s
        told = f"the network does better with sigma_data of about {true:.2g} than with {s:g}: set it as in training"
        yield Repair("sigma_data wrong", told, partial(_of_other_data, given=s, true=true), gross=True)


def _of_other_data(asked: Asked, *, given: float, true: float) -> Asked:
    def mended(x: Tensor, sigma: float, labels: Tensor | None) -> Tensor:
        (a, b), (right_a, right_b) = (forms(sigma, s)["EDM's F"] for s in (given, true))
        k = _edm(true, sigma) / _edm(given, sigma)
        return (right_a - right_b * a * k / b) * x + right_b / b * asked(k * x, sigma, labels)

    return mended


def _rescaled(asked: Asked, *, scale: Callable[[float], float], form: str, s: float, inverse: bool = False) -> Asked:
    """The network asked at k x instead of x, in D = a x + b F: D(k x) + a (1 - k) x."""

    def mended(x: Tensor, sigma: float, labels: Tensor | None) -> Tensor:
        k = 1 / scale(sigma) if inverse else scale(sigma)
        return asked(k * x, sigma, labels) + forms(sigma, s)[form][0] * (1 - k) * x

    return mended


def _ranges() -> Iterator[Repair]:
    """(range, what D works in: u = a x + b, of sigma: a sigma, or sigma itself)."""
    for name, a, b, of_sigma in (
        ("[0, 1]", 0.5, 0.5, 0.5),
        ("[0, 1]", 0.5, 0.5, 1.0),
        ("[0, 255]", 127.5, 127.5, 127.5),
        ("[-1/2, 1/2]", 0.5, 0.0, 0.5),
    ):
        told = (
            f"the network works on images in {name}: give it {a:g} x{f' + {b:g}' if b else ''} at level "
            f"{of_sigma:g} sigma, and map its answer back to [-1, 1]"
        )
        yield Repair(f"range {name} for [-1, 1]", told, partial(_reranged, a=a, b=b, of_sigma=of_sigma), gross=True)
    told = "the images are in [0, 1], D works in [-1, 1]: give it 2 x - 1"
    yield Repair("images in [0, 1]", told, partial(_reranged, a=2.0, b=-1.0, of_sigma=2.0), gross=True)


def _reranged(asked: Asked, *, a: float, b: float, of_sigma: float) -> Asked:
    return lambda x, sigma, labels: (asked(a * x + b, of_sigma * sigma, labels) - b) / a


def _pictures(shape: Sequence[int]) -> Iterator[Repair]:
    told = "the network does better on the negative of the images: black and white are exchanged"
    yield Repair("black and white exchanged", told, partial(_moved, by=torch.neg), symmetry=True)
    if len(shape) != 3:
        return
    if shape[0] == 3:
        told = "the network does better with its channels in reverse order: it was trained on BGR, images are RGB"
        yield Repair("BGR for RGB", told, partial(_moved, by=partial(torch.flip, dims=[1])), symmetry=True)
    if shape[1] == shape[2]:
        told = "the network does better on transposed images: rows and columns are exchanged"
        mend = partial(_moved, by=partial(torch.transpose, dim0=2, dim1=3))
        yield Repair("rows and columns exchanged", told, mend, symmetry=True)
    told = "the network does better on images upside down: rows run the other way"
    yield Repair("upside down", told, partial(_moved, by=partial(torch.flip, dims=[2])), symmetry=True)


def _moved(asked: Asked, *, by: Callable[[Tensor], Any]) -> Asked:
    return lambda x, sigma, labels: by(asked(by(x), sigma, labels))


def _relabelled(asked: Asked, *, shift: int, classes: int) -> Asked:
    return lambda x, sigma, labels: asked(x, sigma, None if labels is None else (labels + shift) % classes)
