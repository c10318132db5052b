"""Mistakes that are planted in networks for benchmarks/doctor.py: each is a denoiser, and what it must be called."""

import copy
import dataclasses
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from dpmot.diffusion.network import NetworkDenoiser
from dpmot.diffusion.repairs import ByIndex, Known
from dpmot.diffusion.training import batch_of

Denoiser = Callable[..., Tensor]


@dataclasses.dataclass(frozen=True)
class Case:
    """One denoiser to look at: what was planted in a network, and what the doctor is told of it."""

    name: str
    denoiser: Denoiser
    known: Known
    expected: str = ""  # what the named mistake must begin with; "" for a sound network
    beside: Denoiser | None = None

    def named_by(self, mistake: str) -> bool:
        """Whether this is the mistake that was planted, "" for none."""
        return mistake.startswith(self.expected) if self.expected else not mistake


class Planted:
    """A network under another ``denoise``, with its own parametrisation for what it says of itself."""

    def __init__(self, of: NetworkDenoiser, denoise: Callable[..., Tensor], model: Any = None) -> None:
        self.model, self.denoise = model or of.model, denoise

    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        """x (B, *S), sigma () or (B,) -> (B, *S)."""
        model = self.model if labels is None else partial(self.model, labels=labels)
        return self.denoise(model, x, torch.as_tensor(sigma, dtype=x.dtype).expand(len(x)))


def cases(of: NetworkDenoiser, known: Known, images: Tensor, *, samples: bool) -> Iterator[Case]:
    """The network as it is, and every mistake that can be made with one of its kind; ``samples``: it gives no means."""
    how: Any = of.parametrisation
    yield Case("sound", Planted(of, how.denoise), known)
    yield Case("[0, 1] for [-1, 1]", _ranged(of), known, "range")
    yield from _by_kind(of, known, how)
    if known.kind != "ncsnv2":  # which sees no level
        factors = (2.0, 0.5)
        for factor in factors:
            wrong = partial(lambda x, s, *y, factor: of(x, factor * torch.as_tensor(s), *y), factor=factor)
            yield Case(f"level times {factor:g}", wrong, known, "level")
    for shift in (1, -1) if known.classes else ():
        wrong = partial(lambda x, s, y, k: of(x, s, (y + k) % known.classes), k=shift)
        yield Case(f"labels {shift:+d}", wrong, known, "labels")
    if known.shape[0] == 3:
        yield Case("BGR", lambda x, s, *y: of(x.flip(1), s, *y).flip(1), known, "BGR")
    yield Case("dropout on", Planted(of, how.denoise, _dropping(of.model)), known, "dropout")
    if hasattr(how, "loss") and not known.classes and not samples:  # further steps would make it one that gives means
        further = cache(partial(_further, of, images))  # trained when it is first asked
        raw = Planted(of, how.denoise, lambda z, c: further()(z, c))
        yield from exchanged(raw, Planted(of, how.denoise), known, "raw")


def _ranged(of: Denoiser) -> Denoiser:
    return lambda x, s, *y: (of(2 * x - 1, 2 * torch.as_tensor(s), *y) + 1) / 2


def exchanged(worse: Denoiser, better: Denoiser, known: Known, name: str) -> Iterator[Case]:
    """Weights of one training, each beside the other: raw and averaged ones, or those of less and of more steps."""
    yield Case(f"{name} weights, better beside", worse, known, "raw", beside=better)
    yield Case(f"sound, {name} weights beside", better, known, beside=worse)


def _by_kind(of: NetworkDenoiser, known: Known, how: Any) -> Iterator[Case]:
    other = dataclasses.replace
    if known.kind == "ddpm":
        forms = {"epsilon": "epsilon", "v_prediction": "v", "sample": "x0"}
        for taken in [form for form in forms if form != how.prediction]:
            told = other(known, form=forms[taken])
            wrong = Planted(of, other(how, prediction=taken).denoise)
            yield Case(
                f"{forms[how.prediction]} taken for {forms[taken]}", wrong, told, f"{forms[how.prediction]} taken"
            )
        last = 1 + 1 / how.num_levels
        yield Case("time reversed", _conditioned(of, lambda c: last - c), known, "time")
        yield Case("index up", _conditioned(of, lambda c: c + 1 / how.num_levels), known, "level")
        yield Case("c_in missing", _unscaled(of, lambda s: (1 + s**2).sqrt()), known, "c_in")
    if known.kind == "edm":
        sign = other(how, prediction="v_prediction" if how.prediction == "epsilon" else "epsilon")
        told = other(known, form="minus EDM's F")
        yield Case("v for epsilon (its sign)", Planted(of, sign.denoise), told, "EDM's F taken")
        index = ByIndex(known.levels)
        reverse, (up, down) = index.mirrored, (partial(index.shifted, shift) for shift in (1, -1))
        yield Case("time reversed", _conditioned(of, _of_levels(reverse)), known, "time")
        yield Case("c_in missing", _unscaled(of, lambda s: (how.sigma_data**2 + s**2).sqrt()), known, "c_in")
        for name, move in (("up", up), ("down", down)):
            moved = partial(lambda model, x, s, move: how.denoise(model, x, _moved(s, move)), move=move)
            yield Case(f"index {name}", Planted(of, moved), known, "level")
            yield Case(f"index {name}, condition", _conditioned(of, _of_levels(move)), known, "level")
        for factor in (0.67, 1.5):
            wide = other(how, sigma_data=factor * how.sigma_data)
            told = other(known, sigma_data=wide.sigma_data)
            yield Case(f"sigma_data times {factor:g}", Planted(of, wide.denoise), told, "sigma_data")
    if known.kind == "flow":
        yield Case("time reversed", _conditioned(of, lambda c: 1 - c), known, "time")
        yield Case("c_in missing", _unscaled(of, lambda s: 1 + s), known, "c_in")
        minus = Planted(of, lambda model, x, s: how.denoise(lambda z, t: -model(z, t), x, s))
        yield Case("velocity's sign", minus, known, "minus flow velocity taken")
    if known.kind == "ncsnv2":
        minus = Planted(of, lambda model, x, s: 2 * x - how.denoise(model, x, s))
        yield Case("score's sign", minus, other(known, form="epsilon"), "minus epsilon taken")
        yield Case("c_in missing", _unscaled(of, lambda s: (1 + s**2).sqrt()), known, "c_in")


def _conditioned(of: NetworkDenoiser, change: Callable[[Tensor], Tensor]) -> Denoiser:
    def denoise(model: Any, x: Tensor, sigma: Tensor) -> Tensor:
        return of.parametrisation.denoise(lambda z, c: model(z, change(c)), x, sigma)

    return Planted(of, denoise)


def _unscaled(of: NetworkDenoiser, inverse: Callable[[Tensor], Tensor]) -> Denoiser:
    def denoise(model: Any, x: Tensor, sigma: Tensor) -> Tensor:
        wide = inverse(sigma.reshape(-1, *[1] * (x.dim() - 1)))
        return of.parametrisation.denoise(lambda z, c: model(z * wide, c), x, sigma)

    return Planted(of, denoise)


def _of_levels(move: Callable[[float], float]) -> Callable[[Tensor], Tensor]:
    """A change of sigma as one of EDM's condition ln(sigma) / 4."""
    return lambda c: _moved((4 * c).exp(), move).log() / 4


def _moved(sigma: Tensor, move: Callable[[float], float]) -> Tensor:
    return sigma.new_tensor([move(float(level)) for level in sigma])


def _dropping(model: Any) -> Any:
    """The U-Net with the dropout of its blocks at EDM's rate for CIFAR-10, left in training mode."""
    changed = copy.deepcopy(model)
    for part in changed.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.13
    return changed.train()


@torch.enable_grad()
def _further(of: NetworkDenoiser, images: Tensor, steps: int = 30) -> Any:
    """Raw weights: the network after some more steps at its peak rate, which no average has smoothed."""
    model = copy.deepcopy(of.model).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.002, betas=(0.9, 0.99))
    trained: Any = of.parametrisation
    for step in range(steps):
        batch = batch_of(images, 0, "doctor", step, size=64)
        optimiser.zero_grad()
        trained.loss(model, batch.x0, batch.noise, batch.u).mean().backward()
        optimiser.step()
    return model.eval()
