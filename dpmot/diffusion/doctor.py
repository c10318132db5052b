r"""Is it a denoiser? D(x, sigma) = E[x0 | x0 + sigma eps = x], asked of any callable and some images.

D is tried at eight levels on the same images and noise as three references (:mod:`dpmot.diffusion.references`): x
itself, the Wiener filter, and the ideal denoiser of these images. Then each known mistake is undone from outside
(:mod:`dpmot.diffusion.repairs`). If some repairs err clearly less than D, the mistake of the one that errs least was
made. So nothing is compared with other networks, and a weak network, whose error no repair lowers, is called weak.

**Thresholds**, of networks trained here on digits, Fashion-MNIST and CIFAR-10 thumbnails; benchmarks/doctor.py prints
them anew. The gain of a repair is the mean of ln(error of D / error of D') over the better half of the levels, if it is
a gain over all; errors under ``FINE`` sigma^2 count as that. A repair names a mistake from ``GAIN`` on, if what is left
is no weak network. A mix of x and D alone needs ``MIXED``, since it may make a weak D less weak: by 0.51 one of the
tests, while mistakes gained 0.94 and more. A fitted repair is compared with the best mix of x, D and the mean image,
which leaves little by chance: half of ``GAIN`` will do. Where D gives samples every gain must be ln 2 larger: a mean
errs half as much, so even a wrong level may err less, and a level that is wrong by a factor of 2 goes unnamed there.

**Small but certain.** A symmetry (channels in reverse order, labels shifted, ...) undoes its mistake exactly, and no
repair of it helps a right D. So where it gains less than ``GAIN``, as BGR does by 5 % of the error on CIFAR-10's
thumbnails, whose channels nearly agree, its gain is tested image by image on others than were tried: it must be more
than ``SMALL``, at a chance of ``SURE`` for all symmetries together.

**What cannot be told** is what hardly changes D. An index that is off by one in a DDPM of 1,000 levels changes a level
from 0.2 on by 0.5 to 2 %, no more than training leaves; below a ratio of ``STEP`` between neighbours it is not looked
for. One index in an EDM network's condition alone was once taken for another sigma_data, which moves D as little.
results/reference/doctor/doctor.csv lists what was named and what was not.

An error is weak above ``WEAK`` times the Wiener filter's, unless it is under ``FINE`` sigma^2: noise is then predicted
to 3 %, as networks that predict noise do at large sigma, where D magnifies their error. Above ``HARMFUL`` sigma^2, at a
level that blurs anything, D is worse than doing nothing: wrong, even if nothing known explains it.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from dpmot.device import ordinary
from dpmot.diffusion.examination import (
    LEVELS,
    Finding,
    Visit,
    asked_of,
    better_beside,
    blank,
    contract,
    exchanged,
    mistake,
    strength,
)
from dpmot.diffusion.forms import FORMS_OF
from dpmot.diffusion.references import Trial
from dpmot.diffusion.repairs import Asked, Known
from dpmot.images import to_float

SECONDS = 40.0
LEAST, MOST = 32, 256  # images; with 8, a weak network was once taken for a mistaken one
PASSES = 70  # over all levels, of the longest visit: 60 for mistakes, 8 for small ones


@dataclass(frozen=True)
class Row:
    """Root mean squared errors a pixel at one level: of D, and of what it is judged against."""

    sigma: float
    error: float
    identity: float
    wiener: float
    ideal: float


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor says; ``str`` is a table and a line for each finding.

    Attributes:
        rows: the table, by ascending level; () where D cannot be evaluated.
        findings: in the order in which they matter.
        images: how many were tried.
        scale: by what to multiply sigma for the least error; near 1, or NaN where it was not asked.
        gains: mistake -> the largest gain of its repairs.
    """

    rows: tuple[Row, ...]
    findings: tuple[Finding, ...]
    images: int
    scale: float
    gains: dict[str, float]

    @property
    def verdict(self) -> Literal["sound", "weak", "wrong"]:
        """The worst of the findings."""
        grades = {finding.grade for finding in self.findings}
        return "wrong" if "wrong" in grades else "weak" if "weak" in grades else "sound"

    def __str__(self) -> str:
        columns = ("sigma", "D", "identity", "Wiener", "ideal")
        lines = [f"root mean squared error a pixel, {self.images} images", "".join(name.rjust(10) for name in columns)]
        for row in self.rows:
            cells = (row.sigma, row.error, row.identity, row.wiener, row.ideal)
            lines.append("".join(f"{cell:10.3g}" for cell in cells))
        lines += [f"best level: {self.scale:.2f} x sigma"] if np.isfinite(self.scale) else []
        return "\n".join([*lines, *map(str, self.findings), f"verdict: {self.verdict}"])


@ordinary(grad=False)
def doctor(
    denoiser: Callable[..., Tensor],
    images: Tensor | np.ndarray,
    *,
    labels: Tensor | np.ndarray | None = None,
    known: Known | None = None,
    sigma_min: float | None = None,
    sigma_max: float | None = None,
    samples: bool = False,
    beside: Callable[..., Tensor] | None = None,
    rows: int | None = None,
    seed: int = 0,
) -> Diagnosis:
    """Say whether a network is a denoiser, and which mistake was likely made if it is none.

        diagnosis = dpmot.doctor(denoiser, images)
        print(diagnosis)

    Args:
        denoiser: D(x, sigma), or D(x, sigma, labels) where labels are given: x (B, *S), sigma () or (B,) -> (B, *S).
        images: some that it was trained on or that are like these, uint8 (N, *S) in 0..255 or floats in [-1, 1]; from a
            few hundred on the references are good ones.
        labels: their classes 0, ..., K - 1, (N,), of a network that takes classes.
        known: what is known of the network; without it, what a denoiser of this project says of itself. Of others
            less is known, and the names of mistakes are less exact.
        sigma_min, sigma_max: the ends of its levels; else its attributes of these names, or .002 and 80.
        samples: D gives samples, as a consistency model does, and no means: twice the error is then right.
        beside: the same with other weights of the same network, averaged ones say, which should not be better.
        rows: how many images are tried; None: as many as take a minute, at least 32.
        seed: of the choice of images and of their noise.

    Raises:
        ValueError: no images, or labels that do not fit; the message says what was given.
    """
    x, classes_of = _images(images), _labels(labels, len(images))
    given = known or known_of(denoiser, tuple(x.shape[1:]), 0 if classes_of is None else int(classes_of.max()) + 1)
    low, high = sigma_min or given.ends[0], sigma_max or given.ends[1]
    if not 0 < low < high < float("inf"):
        raise ValueError(f"Levels go from sigma_min > 0 to a larger sigma_max, got {low:g} and {high:g}")
    asked = asked_of(denoiser)
    if failure := _failure(asked, x[:2], None if classes_of is None else classes_of[:2], (low * high) ** 0.5):
        return Diagnosis((), (Finding("wrong", "cannot be evaluated", failure),), 2, float("nan"), {})
    tried = min(len(x), rows) if rows else _rows(asked, x, classes_of, high)
    trial = Trial.of(x, classes_of, np.geomspace(low, high, LEVELS).tolist(), rows=tried, seed=seed)
    visit = Visit(asked, trial, given)
    findings = [*_range(images), *contract(denoiser, visit)]
    if not any(finding.grade == "wrong" for finding in findings):
        findings += better_beside(visit, beside) if beside else []
        findings += (
            blank(visit) or mistake(visit, samples) or exchanged(visit, samples) or list(strength(visit, samples))
        )
    findings.sort(key=lambda finding: ("wrong", "weak", "note").index(finding.grade))
    table = zip(trial.sigmas, visit.errors, trial.wiener, trial.ideal, strict=True)
    cells = tuple(Row(sigma, *(float(value) ** 0.5 for value in (e, sigma**2, w, i))) for sigma, e, w, i in table)
    return Diagnosis(cells, tuple(findings), tried, visit.scale, visit.gains)


def known_of(denoiser: Any, shape: tuple[int, ...], classes: int) -> Known:
    """What a denoiser says of itself: its parametrisation if it is one of this project's, or the ends of its levels."""
    ends = float(getattr(denoiser, "sigma_min", 0.002)), float(getattr(denoiser, "sigma_max", 80.0))
    how = getattr(denoiser, "parametrisation", None)
    if how is None:
        return Known(shape, ends, classes=classes)
    kind = type(how).__module__.rpartition(".")[2]
    form = FORMS_OF.get((kind, getattr(how, "prediction", None)))
    return Known(shape, ends, tuple(how.chain.levels), kind, form, getattr(how, "sigma_data", None), classes)


def _images(images: Tensor | np.ndarray) -> Tensor:
    x = torch.as_tensor(images)
    if x.dim() < 2 or len(x) < 2:
        raise ValueError(f"The doctor needs at least two images (N, *S), got {tuple(x.shape)}")
    if x.dtype != torch.uint8 and not x.is_floating_point():
        raise ValueError(f"Images are uint8 in 0..255 or floats in [-1, 1], got {x.dtype}")
    x = to_float(x) if x.dtype == torch.uint8 else x.float()
    if not x.isfinite().all():
        raise ValueError(f"{int((~x.isfinite()).flatten(1).any(1).sum())} of {len(x)} images hold NaN or infinity")
    return x


def _labels(labels: Tensor | np.ndarray | None, number: int) -> Tensor | None:
    if labels is None:
        return None
    given = torch.as_tensor(labels)
    if given.shape != (number,) or given.is_floating_point() or int(given.min()) < 0:
        raise ValueError(f"Labels are whole numbers from 0, one for each of {number} images; got {tuple(given.shape)}")
    return given.long()


def _failure(asked: Asked, x: Tensor, labels: Tensor | None, sigma: float) -> str | None:
    try:
        answer = asked(x, sigma, labels)
    except Exception as error:  # of whoever wrote the network
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return f"it fails on images of shape {list(x.shape[1:])} at sigma {sigma:.3g}: {reason}"
    if not isinstance(answer, Tensor) or answer.shape != x.shape:
        given = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        return f"D(x, sigma) has the shape of x, {tuple(x.shape)}; got {given}"
    return None


def _rows(asked: Asked, x: Tensor, labels: Tensor | None, sigma: float) -> int:
    """As many images as the time allows, ``LEAST`` to ``MOST``: 8,192 numbers, where the network is fast.

    It is the time of the processor: on a busy machine a visit takes longer and says the same.
    """
    wanted, few = min(len(x), MOST, max(LEAST, 2**13 // x[0].numel())), min(len(x), 8)
    started = time.process_time()
    asked(x[:few], sigma, None if labels is None else labels[:few])
    each = max(1e-9, (time.process_time() - started) / few)
    return max(min(wanted, LEAST), min(wanted, int(SECONDS / (PASSES * LEVELS * each))))


def _range(images: Tensor | np.ndarray) -> Iterator[Finding]:
    x = torch.as_tensor(images)
    if x.dtype == torch.uint8 or x.dim() != 4:
        return
    low, high = float(x.min()), float(x.max())
    if low >= 0 or high > 2 or low < -2:
        yield Finding("note", "range of the images", f"they lie in [{low:.3g}, {high:.3g}]; give floats in [-1, 1]")
