"""The doctor's examination of a denoiser: what it owes, the mistake that explains it best, how good it is."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from dpmot.diffusion import repairs
from dpmot.diffusion.modes import modules_in
from dpmot.diffusion.references import Trial
from dpmot.diffusion.repairs import Asked, Known, Repair

LEVELS = 8
GAIN = 0.12
MIXED = 0.7  # of a mix of x and D alone, which also makes weak networks less weak
LN_2 = 0.69  # by so much a mean errs less than a sample, and so may anything that makes samples smoother
WEAK = 1.3
FINE = 1e-3
HARMFUL = 1.5
BETTER = 4.0  # standard errors by which other weights must be the better ones
SMALL = 0.01  # of the error; training does not leave an image and its reflection exactly alike
SURE = 1e-3  # chance that any symmetry of a right network is named


@dataclass(frozen=True)
class Finding:
    """What was found: a mistake ("wrong"), a network that learnt little ("weak"), or something to know ("note")."""

    grade: Literal["wrong", "weak", "note"]
    name: str
    told: str

    def __str__(self) -> str:
        return f"{self.grade}: {self.name}: {self.told}"


def asked_of(denoiser: Callable[..., Tensor]) -> Asked:
    """A denoiser as repairs ask it."""

    def asked(x: Tensor, sigma: float, labels: Tensor | None) -> Tensor:
        level = torch.as_tensor(sigma, dtype=torch.float32)
        return denoiser(x, level) if labels is None else denoiser(x, level, labels)

    return asked


class Visit:
    """D's answers to a trial, and what is left of its error, (L,), when a mistake is undone."""

    def __init__(self, asked: Asked, trial: Trial, known: Known, wiener: np.ndarray | None = None) -> None:
        self.asked, self.trial, self.known = asked, trial, known
        self.inputs = [trial.noisy(sigma) for sigma in trial.sigmas]
        self.wiener = np.array(trial.wiener) if wiener is None else wiener
        self.floor = np.maximum(0.01 * self.wiener, FINE * np.square(trial.sigmas))  # below it errors are equally good
        self.gains: dict[str, float] = {}
        self.scale = float("nan")

    @cached_property
    def answers(self) -> list[Tensor]:
        """D at each level, (L, B, *S)."""
        return [self.asked(x, sigma, self.trial.given) for x, sigma in self._questions()]

    @cached_property
    def moved(self) -> np.ndarray:
        """Mean squares of D(x, sigma) - x, (L,)."""
        return np.array([float((z - x).square().mean()) for z, x in zip(self.answers, self.inputs, strict=True)])

    @cached_property
    def errors(self) -> np.ndarray:
        """Of D."""
        return np.array([self.trial.error(answer) for answer in self.answers])

    @cached_property
    def fitted(self) -> np.ndarray:
        """Of the best mix of x, D and the mean image."""
        return self._mixed(self.answers)

    def mended(self, repair: Repair) -> list[Tensor]:
        """The answers of D', (L, B, *S)."""
        if repair.anew:
            mended = repair.mend(self.asked)
            return [mended(x, sigma, self.trial.given) for x, sigma in self._questions()]
        known = dict(zip(self.trial.sigmas, self.answers, strict=True))
        mended = repair.mend(lambda x, sigma, labels: known[sigma])
        return [mended(x, sigma, None) for x, sigma in self._questions()]

    def gain_of_images(self, outputs: list[Tensor]) -> np.ndarray:
        """Mean over the levels of ln(error of D / error of other answers), of each image, (B,)."""
        logs = []
        for pair in zip(self.answers, outputs, strict=True):
            one, two = ((z - self.trial.x0).double().square().flatten(1).mean(1) + 1e-12 for z in pair)
            logs.append((one / two).log())
        return torch.stack(logs).mean(0).numpy()

    def after(self, repair: Repair) -> np.ndarray:
        """The errors that a repair leaves."""
        outputs = self.mended(repair)
        return self._mixed(outputs) if repair.fitted else np.array([self.trial.error(output) for output in outputs])

    def gain(self, errors: np.ndarray, *, fitted: bool) -> float:
        """Mean log ratio of errors at the better half of the levels; of all where that is a loss."""
        gains = np.log(((self.fitted if fitted else self.errors) + self.floor) / (errors + self.floor))
        gains = np.clip(np.nan_to_num(gains, nan=-3.0), -3, 3)
        return float(np.sort(gains)[len(gains) // 2 :].mean() if gains.mean() > 0 else gains.mean())

    def left(self, errors: np.ndarray) -> float:
        """Mean log ratio of errors to the Wiener filter's."""
        return float(np.log((np.nan_to_num(errors, nan=1e9) + self.floor) / (self.wiener + self.floor)).mean())

    def _questions(self) -> list[tuple[Tensor, float]]:
        return list(zip(self.inputs, self.trial.sigmas, strict=True))

    def _mixed(self, outputs: list[Tensor]) -> np.ndarray:
        return np.array([self._best_mix(x, output) for x, output in zip(self.inputs, outputs, strict=True)])

    def _best_mix(self, x: Tensor, output: Tensor) -> float:
        rest, moved = (self.trial.x0.double() - x.double()).flatten(), (output.double() - x.double()).flatten()
        mean = self.trial.images.double().mean(0).expand_as(x).flatten()  # which weak networks lack at large sigma
        both = torch.stack([x.double().flatten(), moved, mean])  # D - x: x and D nearly coincide at small sigma
        both = both / both.square().mean(1, keepdim=True).sqrt().clamp_min(1e-30)
        if not both.isfinite().all():
            return float("inf")
        mix = torch.linalg.lstsq(both @ both.T, (both @ rest)[:, None], driver="gelsd").solution[:, 0]
        return float((mix @ both - rest).square().mean())


def contract(denoiser: Any, visit: Visit) -> Iterator[Finding]:
    """What every denoiser owes: finite answers, one to one question, whatever stands beside it."""
    trial = visit.trial
    broken = [s for s, answer in zip(trial.sigmas, visit.answers, strict=True) if not answer.isfinite().all()]
    if broken:
        yield Finding("wrong", "not finite", f"D is NaN or infinite at sigma {broken[0]:.3g}")
        return
    training = [module for module in modules_in(denoiser) if module.training]
    names = sorted({type(part).__name__ for module in training for part in module.modules()})
    drops = [name for name in names if "Dropout" in name]
    hint = "the network is in training mode: call .eval()" if training else "it draws random numbers, or keeps a state"
    middle = LEVELS // 2
    x, sigma, answer = visit.inputs[middle], trial.sigmas[middle], visit.answers[middle]
    near = partial(torch.allclose, rtol=0, atol=1e-3 * float(answer.abs().max()))
    few = None if trial.given is None else trial.given[:3]
    if not near(visit.asked(x, sigma, trial.given), answer):
        yield Finding("wrong", "dropout on" if drops else "two answers to one question", hint)
    elif not near(visit.asked(x[:3], sigma, few), answer[:3]):
        told = hint if training else "a row's answer changes with its neighbours, as batch statistics make it"
        yield Finding("wrong", "depends on the rows beside it", told)
    elif not near(_at_its_own_level(visit), torch.stack([visit.answers[middle][0], visit.answers[middle + 1][0]])):
        yield Finding("wrong", "one level for a whole batch", "sigma (B,) gives each row its own level; D must use it")
    elif training:
        yield Finding("note", "training mode", "a module is in training mode: call .eval(), though it changes nothing")


def _at_its_own_level(visit: Visit) -> Tensor:
    middle = LEVELS // 2
    x = torch.stack([visit.inputs[middle][0], visit.inputs[middle + 1][0]])
    levels: Any = torch.tensor(visit.trial.sigmas[middle : middle + 2])
    labels = visit.trial.given
    try:
        return visit.asked(x, levels, None if labels is None else labels[:1].expand(2))
    except Exception:  # one that takes no vector answers nothing
        return torch.full_like(x, float("nan"))


def better_beside(visit: Visit, beside: Callable[..., Tensor]) -> Iterator[Finding]:
    """The other weights are better by ``BETTER`` standard errors over images, or not."""
    trial, other = visit.trial, asked_of(beside)
    outputs = [other(x, sigma, trial.given) for x, sigma in zip(visit.inputs, trial.sigmas, strict=True)]
    each = visit.gain_of_images(outputs)
    mean, error = float(each.mean()), float(each.std(ddof=1) / len(each) ** 0.5)
    if mean > BETTER * error and mean > 0:
        less = 100 * (1 - np.exp(-mean))
        told = f"the weights beside it err {less:.1f} % less: use these; are raw and averaged weights exchanged?"
        yield Finding("wrong", "raw weights for averaged ones", told)
    else:
        yield Finding(
            "note", "beside", f"the other weights err {100 * (np.exp(-mean) - 1):+.1f} %: these are as good or better"
        )


def blank(visit: Visit) -> list[Finding]:
    """D that does nothing at all, or whose answer knows nothing of x; no repair makes sense then."""
    if (visit.moved < 1e-4 * np.square(visit.trial.sigmas)).all():
        told = "D(x, sigma) = x at every level: untrained, or its weights are not loaded"
        return [Finding("wrong", "does nothing", told)]
    if all(float((z - z.mean(0)).square().mean()) < 1e-8 * float(z.square().mean()) for z in visit.answers):
        return [Finding("wrong", "does not see x", "D(x, sigma) is the same for every x")]
    return []


def _explains(visit: Visit, repair: Repair, errors: np.ndarray, samples: bool) -> bool:
    """Whether a repair gains enough; see :mod:`dpmot.diffusion.doctor`."""
    gain = visit.gain(errors, fitted=repair.fitted) - (LN_2 if samples else 0)
    return gain > (GAIN / 2 if repair.fitted else GAIN if repair.anew else MIXED)


def mistake(visit: Visit, samples: bool) -> list[Finding]:
    """The known mistake whose repair leaves the least error, if it gains enough."""
    suspicious = bool((visit.errors > 1.25 * visit.wiener).any())
    able: list[tuple[float, Repair]] = []
    scales = {1.0: visit.left(visit.errors)}
    for repair in (*repairs.mixes(visit.known.form, visit.known.s), *repairs.elsewhere(visit.known)):
        if repair.gross and not suspicious:
            continue
        errors = visit.after(repair)
        gain = visit.gain(errors, fitted=repair.fitted)
        visit.gains[repair.mistake] = max(gain, visit.gains.get(repair.mistake, gain))
        if repair.factor and not repair.fitted:
            scales[repair.factor] = visit.left(errors)
        if _explains(visit, repair, errors, samples) and np.median(errors / visit.wiener) < WEAK:  # a denoiser is left
            able.append((visit.left(errors), repair))
    visit.scale = _lowest(scales)
    best = min(able, key=lambda entry: entry[0], default=None)
    return [Finding("wrong", best[1].mistake, best[1].told)] if best else []


def exchanged(visit: Visit, samples: bool) -> list[Finding]:
    """A symmetry whose repair gains little, but certainly: above ``SMALL`` by a t test on images not tried before.

    It is asked of those that gained anything at first; ``SURE`` is divided by the number of all (Bonferroni).
    """
    from scipy.stats import t  # a second, and only here

    if np.median(visit.errors / visit.wiener) > WEAK * (2 if samples else 1):  # of no denoiser, all is chance
        return []
    known = visit.known
    all_of_them = [repair for repair in repairs.elsewhere(known) if repair.symmetry]
    hopeful = [repair for repair in all_of_them if visit.gains[repair.mistake] > 0]
    again = Visit(visit.asked, visit.trial.others(4 * len(visit.trial.rows)), known, visit.wiener) if hopeful else visit
    found = []
    for repair in hopeful:
        each = again.gain_of_images(again.mended(repair))
        mean, error = float(each.mean()), float(each.std(ddof=1) / len(each) ** 0.5)
        if mean > SMALL and t.sf((mean - SMALL) / max(error, 1e-12), len(each) - 1) < SURE / len(all_of_them):
            less = f"it errs {100 * (1 - np.exp(-mean)):.1f} % less on {len(each)} images, which is no chance"
            found.append((mean, Finding("wrong", repair.mistake, f"{repair.told}; {less}")))
    return [max(found, key=lambda entry: entry[0])[1]] if found else []


def _lowest(scales: dict[float, float]) -> float:
    """Where the parabola through the lowest of the logarithmic errors and its neighbours is lowest."""
    at = sorted(scales)
    i = min(max(min(range(len(at)), key=lambda k: scales[at[k]]), 1), len(at) - 2)
    logs = np.log(at[i - 1 : i + 2])
    a, b, _ = np.polyfit(logs, [scales[factor] for factor in at[i - 1 : i + 2]], 2)
    return float(np.exp(np.clip(-b / (2 * a), logs[0], logs[-1]))) if a > 0 else float("nan")


def strength(visit: Visit, samples: bool) -> Iterator[Finding]:
    """How good a denoiser it is that makes no known mistake."""
    trial, sigmas, moved = visit.trial, np.array(visit.trial.sigmas), visit.moved
    relative, over = visit.errors / sigmas**2, visit.errors / visit.wiener
    harmful = (relative > HARMFUL) & (sigmas > 0.2 * float(trial.x0.std()))
    weak = (over > WEAK * (2 if samples else 1)) & (relative > FINE)
    if harmful.any():
        level = int(np.argmax(np.where(harmful, relative, 0)))
        told = f"at sigma {sigmas[level]:.3g} its squared error is {relative[level]:.2g} times that of x itself"
        yield Finding("wrong", "worse than doing nothing", f"{told}; no known mistake explains it: see `denoise`")
    elif weak.any():
        level = int(np.argmax(np.where(weak, over, 0)))
        told = f"at sigma {sigmas[level]:.3g} its squared error is {over[level]:.2g} times the Wiener filter's"
        other = "if it draws well elsewhere, its formula has a mistake that is not known here, or two at once"
        yield Finding("weak", "learnt little", f"{told}: train it longer; {other}")
    if moved[0] > 9 * sigmas[0] ** 2:
        told = (
            f"it moves images by {moved[0] ** 0.5 / sigmas[0]:.0f} sigma_min there, and samples by as much at the end"
        )
        yield Finding("note", "D(x, sigma_min) is not x", told)
    if trial.given is not None and abs(visit.gains.get("labels shifted by one", -1.0)) < 1e-3:
        yield Finding("note", "labels make no difference", "D gives the same for other labels")
