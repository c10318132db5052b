"""A denoiser from anywhere behind one face: a function, a module, or a network of this project."""

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dpmot import plugins
from dpmot.device import ordinary
from dpmot.diffusion import network
from dpmot.diffusion.budget import cost_of
from dpmot.diffusion.guidance import Guided
from dpmot.diffusion.modes import modules_in
from dpmot.diffusion.protocols import Denoiser
from dpmot.diffusion.sigmas import Chain, edm_chain
from dpmot.transport.given import between, real
from dpmot.warned import NoDenoiser, warn

FINEST = 0.002  # sigma_min where nothing is said (Karras et al. 2022)


@dataclass(frozen=True, eq=False)
class Plugged:
    """A denoiser with what is known of it.

    Attributes:
        chain: its noise levels.
        denoisers: number of steps -> the denoiser for them.
        classes: how many it takes; 0 for none, None where it does not say.
        takes_labels: whether it has a parameter ``labels``: "always", "maybe" (it has a default), or "".
        own: it is the caller's, and no network of this project.
        shape: S, where it says so.
        bounded: whether its sigma_max was said.
        like: a tensor on its device.
    """

    chain: Chain
    denoisers: Callable[[int], Callable[..., Tensor]]
    classes: int | None
    takes_labels: str
    own: bool
    shape: tuple[int, ...] | None
    bounded: bool
    like: Tensor

    def of(self, steps: int, shape: Sequence[int]) -> Denoiser:
        """The denoiser of a trajectory of so many steps of images of this shape, its answers checked."""
        denoiser = self.denoisers(steps)
        if self.shape and tuple(shape) != self.shape:
            raise ValueError(f"The network was made for images of {self.shape}, the starts are {tuple(shape)}")
        return Checked(denoiser, self.chain, _parameter(denoiser)) if self.own else denoiser  # type: ignore

    def shape_of(self, stated: Sequence[int] | None) -> tuple[int, ...]:
        """S for a start from the prior."""
        if not self.bounded:
            raise ValueError('Start "prior" begins at sigma_max: say levels=(sigma_min, sigma_max) of the denoiser')
        if stated is None and self.shape is None:
            raise ValueError('Start "prior" needs the shape of an image: shape=(C, H, W)')
        return tuple(self.shape or stated or ())

    @property
    def prior_std(self) -> float:
        """Standard deviation of the noise at sigma_max."""
        return self.chain.prior_std

    def labels(self, given: Any, of_start: Tensor | None, number: int) -> Tensor | None:
        """What the denoiser is told, int64 (B,); None where it is told none."""
        if given is None and (self.classes or self.takes_labels):
            if of_start is None and self.takes_labels != "maybe":
                taken = f"{self.classes} classes" if self.classes else "labels"
                raise ValueError(f"The denoiser takes {taken}: give labels=, or an expressway of images with labels")
            given = of_start
        if given is None:
            return None
        if self.classes == 0:
            raise ValueError("Labels were given, and the network takes none: leave them out")
        labels = real(given, "Labels")
        labels = labels.expand(number) if labels.ndim == 0 else labels
        if labels.is_floating_point() or labels.shape != (number,):
            raise ValueError(f"Labels are {labels.dtype} {tuple(labels.shape)}; give {number} whole numbers, or one")
        most = self.classes or torch.iinfo(torch.int64).max
        if not 0 <= int(labels.min()) <= int(labels.max()) < most:
            raise ValueError(f"Labels lie in {int(labels.min())}..{int(labels.max())}; classes are 0..{most - 1}")
        return labels.long()


class _Timed(torch.nn.Module):
    """A caller's network, told the time that its authors tell it."""

    def __init__(self, model: Callable[..., Tensor], scale: float, offset: float) -> None:
        super().__init__()
        self.model, self.scale, self.offset = model, scale, offset

    def forward(self, x: Tensor, condition: Tensor, **labels: Tensor) -> Tensor:
        time = self.scale * condition + self.offset
        if self.scale > 1:  # levels are whole numbers, which a condition of float32 misses by 1e-4 at most
            time = torch.where((time - time.round()).abs() < 2e-4, time.round(), time)
        return self.model(x, time, **labels)


@ordinary()
def denoiser(model: Callable[..., Tensor], kind: str, **options: Any) -> network.NetworkDenoiser:
    """The denoiser D(x, sigma) of a network that predicts something else: noise, v, x0, a velocity.

    Args:
        model: the raw network, a module or function (x_t, t) -> prediction, (B, *S) and (B,) -> (B, *S); one with
            classes takes labels=, int64 (B,). A module is put into evaluation mode.
        kind: what it is, and the time that it is told:
            "ddpm"   trained on x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps; t = 0, ..., num_levels - 1 as float, and
                     between these. Options prediction ("epsilon", "v_prediction", "sample"), num_levels, schedule
                     ("linear", "scaled_linear", "sigmoid", "squaredcos_cap_v2"), beta_min, beta_max;
            "flow"   the velocity eps - x0, trained on x_t = (1 - t) x0 + t eps; t in [0, 1], 1 is noise. Options
                     num_levels T, and sigma_max where samples start, T - 1 unless it is given;
            "edm"    the raw F of Karras et al. 2022, told c_in x and ln(sigma) / 4. Options sigma_data, sigma_min,
                     sigma_max.
        options: of the kind.

    Returns:
        D, with its noise levels: ``sample`` and its start "prior" ask for no more.

    Raises:
        ValueError: an unknown kind, or an option that it does not have.

    Example:
        A flow whose t runs the other way, x_t = (1 - t) eps + t x0, with velocity x0 - eps:
        ``dpmot.denoiser(lambda x, t: -model(x, 1 - t), "flow")``.
    """
    if not callable(model):
        raise ValueError(f"The network is a {type(model).__name__}; give a module or function (x_t, t) -> prediction")
    taken = ("ddpm", "flow", "edm")
    if kind not in taken:
        raise ValueError(f"kind = {kind!r}; {plugins.did_you_mean(str(kind), taken)}choose {', '.join(taken)}")
    made = plugins.find("networks", kind).Parametrisation
    for name in options.keys() - made.__dataclass_fields__.keys():
        raise ValueError(f"kind {kind} has no option {name}; it has {', '.join(made.__dataclass_fields__)}")
    usual = {"sigma_max": None} if kind == "flow" else {}
    parametrisation = made(**{**usual, **options})
    scale, offset = (float(parametrisation.num_levels), -1.0) if kind == "ddpm" else (1.0, 0.0)
    return network.NetworkDenoiser(parametrisation, _Timed(model, scale, offset))


def plugged(denoiser: Any, levels: tuple[float, float] | None, guidance: float | None = None) -> Plugged:
    """What a caller gives as a denoiser, guided where that is asked for.

    Raises:
        ValueError: it is none, its levels are none, or it cannot be guided.
    """
    if isinstance(denoiser, str | Path):
        denoiser = network.load(Path(denoiser))
    if isinstance(denoiser, network.Network):
        if levels is not None:
            raise ValueError(f"levels = {levels}: the network says its own; leave them out")
        shape, of_steps = tuple(denoiser.card["shape"]), partial(denoiser.denoiser, guidance=guidance)
        return Plugged(denoiser.chain, of_steps, denoiser.classes, "", False, shape, True, torch.zeros(1))
    if guidance is not None:
        told = "only networks of this project are guided here; pipelines by dpmot.diffusers.denoiser(..., guidance=w)"
        raise ValueError(f"guidance = {guidance}: {told}")
    if not callable(denoiser):
        told = "give a function or module D(x, sigma), a network, or its file"
        raise ValueError(f"The denoiser is a {type(denoiser).__name__}; {told}")
    chain, bounded = _chain(denoiser, levels)
    parameter = _parameter(denoiser)
    like = torch.zeros(1, device=parameter.device) if parameter is not None else torch.zeros(1)
    return Plugged(chain, lambda steps: denoiser, None, _takes_labels(denoiser), True, None, bounded, like)


def _chain(denoiser: Any, levels: tuple[float, float] | None) -> tuple[Chain, bool]:
    """Noise levels, and whether the upper end was said."""
    known = getattr(getattr(denoiser, "parametrisation", None), "chain", None)
    if isinstance(known, Chain) and levels is None:
        return known, True
    stated = (getattr(denoiser, "sigma_min", None), getattr(denoiser, "sigma_max", None)) if levels is None else levels
    try:
        low, high = (None if end is None else float(end) for end in stated)
    except (TypeError, ValueError):
        raise ValueError(f"levels = {levels}; give (sigma_min, sigma_max)") from None
    least, most = FINEST if low is None or low == 0 else low, 1e9 if high is None else high
    if not (between(least, 0, most) and most < float("inf")):
        raise ValueError(f"The denoiser's levels are {least} to {most}; say levels=(sigma_min, sigma_max), both finite")
    return edm_chain(sigma_min=least, sigma_max=most), high is not None


def _parameter(denoiser: Any) -> Tensor | None:
    """A parameter of floats of the first module that the denoiser is or holds."""
    for module in modules_in(denoiser):
        for one in module.parameters():
            if one.is_floating_point():
                return one
    return None


def _takes_labels(denoiser: Any) -> str:
    """Whether it has a parameter ``labels``: "always", "maybe" where that has a default, or ""."""
    if isinstance(denoiser, network.NetworkDenoiser):  # which does not say whether its network has classes
        return _takes_labels(denoiser.model.model) if isinstance(denoiser.model, _Timed) else ""
    try:
        called = denoiser.forward if isinstance(denoiser, torch.nn.Module) else denoiser
        found = inspect.signature(called).parameters.get("labels")
    except (TypeError, ValueError):  # of a function in C
        return ""
    return "" if found is None else "always" if found.default is found.empty else "maybe"


def try_out(denoiser: Callable[..., Tensor], sigma: float, images: Tensor, labels: Tensor | None) -> None:
    """Clean a few real images of the finest noise; warn where something else comes out.

    Args:
        denoiser: D.
        sigma: the finest level.
        images: (B, *S).
        labels: (B,) of a denoiser that takes them.

    Warns:
        NoDenoiser: it changes images by half of what they differ from their mean, or more.
    """
    size = float(images.std())
    if sigma > size / 10:
        return
    x = images + sigma * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    answer = denoiser(x, torch.full((len(x),), sigma), *([] if labels is None else [labels]))
    change = float((answer - images).square().mean().sqrt())
    if size / 2 <= change < math.inf:  # NaN stops the run itself
        told = f"At sigma {sigma:g} the denoiser changes real images by {change:.3g} (root mean square)"
        meant = "D(x, sigma) is the cleaned image: one that predicts noise, v or a velocity goes through dpmot.denoiser"
        warn(f"{told}, and they have a contrast of {size:.3g}; {meant}; dpmot doctor tells more", NoDenoiser)


class Checked:
    """A caller's denoiser, called where and in what dtype its parameters are, its answers checked."""

    def __init__(self, denoiser: Callable[..., Tensor], chain: Chain, parameter: Tensor | None) -> None:
        self.denoiser, self.parameter = denoiser, parameter
        self.sigma_min, self.sigma_max = chain.sigma_min, chain.sigma_max
        self.evaluations_each = cost_of(denoiser.w) if isinstance(denoiser, Guided) else 1
        self.spans = getattr(denoiser, "spans", False)

    def __call__(self, x: Tensor, sigma: Tensor, *labels: Tensor, **to: Tensor) -> Tensor:
        like = x if self.parameter is None else self.parameter
        there = like.device, like.dtype
        given = [x.to(*there), sigma.to(*there), *(some.to(like.device) for some in labels)]
        asked = f"D(x {tuple(x.shape)}, sigma {tuple(sigma.shape)}{', labels' * len(labels)})"
        try:
            answer = self.denoiser(*given, **{name: level.to(*there) for name, level in to.items()})
        except Exception as error:
            told = "sigma is one number a row, and sigma.reshape(-1, *[1] * (x.ndim - 1)) goes with x"
            error.add_note(f"dpmot asked the denoiser for {asked}, {like.dtype} on {like.device}; {told}")
            raise
        if not isinstance(answer, Tensor):
            raise ValueError(f"{asked} gave a {type(answer).__name__}; it must give one tensor, E[x0 | x]")
        if answer.shape != x.shape or not answer.is_floating_point():
            raise ValueError(f"{asked} gave {answer.dtype} {tuple(answer.shape)}; it must give floats of x's shape")
        return answer.to(x)
