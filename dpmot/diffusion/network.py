"""A network on disk and in memory: weights as safetensors, and a card that says what they are.

The card is plain data: kind (a file of ``dpmot/diffusion/networks/``), its options, the image shape, the U-Net's
options (or diffusers', of a published one), whether it knows a label of no class, for a distilled student the step
counts it was made for, and the ``coupling`` of noise and images under which it was trained, where these were not
independent. No code is ever loaded with weights.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn import Module
from torch.overrides import TorchFunctionMode

from dpmot.device import ordinary
from dpmot.diffusion import adapters
from dpmot.diffusion.audit import evaluated
from dpmot.diffusion.guidance import guided
from dpmot.diffusion.modes import for_evaluation
from dpmot.diffusion.networks import Parametrisation, Trainable, of_card
from dpmot.diffusion.protocols import Denoiser, OfBatch, RawNetwork
from dpmot.diffusion.sigmas import Chain
from dpmot.diffusion.tensors import unwrapped
from dpmot.diffusion.training import Batch, Drop, Losses
from dpmot.diffusion.unet import UNet
from dpmot.runtime import seals

FEW = 100  # blocks that are built in no time


class NetworkDenoiser:
    """A raw network seen through its parametrisation; see :class:`dpmot.diffusion.denoiser.Denoiser`."""

    def __init__(self, parametrisation: Parametrisation, model: Any, *, posterior_mean: bool = True) -> None:
        self.parametrisation, self.model = parametrisation, for_evaluation(model)
        self.posterior_mean = posterior_mean
        self.sigma_min, self.sigma_max = parametrisation.chain.sigma_min, parametrisation.chain.sigma_max
        self.spans = spans(parametrisation)

    @ordinary()
    def __call__(
        self, x: Tensor, sigma: Tensor, labels: Tensor | None = None, *, to: Tensor | float | None = None
    ) -> Tensor:
        """D(x, sigma): x (B, *S), sigma () or (B,), labels (B,) of a network with classes -> (B, *S), as x is.

        With ``to``, a level () or (B,), it is D of the span from sigma to there, of a network that knows spans.
        It is computed in the dtype and on the device of the network's parameters.
        """
        evaluated(self, len(x))
        like = self._like(x)
        labels = None if labels is None else labels.to(like.device)
        levels = [torch.as_tensor(level).to(like).expand(len(x)) for level in (sigma, *([] if to is None else [to]))]
        return self.parametrisation.denoise(self._given(labels), x.to(like), *levels).to(x)

    def losses(self, batch: Batch, labels: Tensor | None = None, *, drop: Drop | None = None) -> Losses:
        """Of a training step; labels (N,) are of all images, for a network with classes, and ``drop`` takes some."""
        own = None if labels is None else labels[batch.rows]
        model = self._given(own if own is None or drop is None else drop(own))
        trainable = cast(Trainable, self.parametrisation)
        values = trainable.loss(model, batch.x0, batch.noise, batch.u)
        return Losses(values, trainable.level(batch.u), batch._asdict())

    def _like(self, x: Tensor) -> Tensor:
        parameters = self.model.parameters() if isinstance(self.model, Module) else ()
        return next(iter(parameters), x)

    def _given(self, labels: Tensor | None) -> RawNetwork:
        return self.model if labels is None else partial(self.model, labels=labels)


def given(denoiser: NetworkDenoiser, labels: Tensor | None, rows: Tensor) -> OfBatch:
    """The denoiser of a batch: with the labels (N,) of its rows (B,), where there are labels."""
    return denoiser if labels is None else partial(denoiser, labels=labels[rows])


@dataclass(frozen=True)
class Network:
    """A loaded network. ``denoisers`` has one entry, key None, or one per step count of a student."""

    card: Mapping
    chain: Chain
    denoisers: Mapping[int | None, Denoiser]

    @property
    def classes(self) -> int:
        """Classes whose labels the network takes; 0 for none."""
        return classes(self.card)

    @property
    def no_class(self) -> int | None:
        """The label of no class, where the network knows it."""
        return no_class(self.card)

    def denoiser(self, steps: int, guidance: float | None = None) -> Denoiser:
        """The denoiser to use for a trajectory of ``steps`` steps, guided by w where that is asked for.

        Raises:
            ValueError: guidance of a network that knows no label of no class.
        """
        return guided(self.denoisers[steps if None not in self.denoisers else None], guidance, self.no_class)


def spans(parametrisation: Parametrisation) -> bool:
    """Whether a network of this kind can be asked for D of a span, D(x, sigma, to)."""
    return bool(getattr(parametrisation, "spans", False))


def parametrisation(card: Mapping) -> Parametrisation:
    """The parametrisation that a card names, with its options."""
    return of_card(card)


def classes(card: Mapping) -> int:
    """Classes whose labels the network of a card takes; 0 for none."""
    if "diffusers" in card:
        return adapters.classes(card["diffusers"])
    return getattr(parametrisation(card), "classes", 0) or card.get("unet", {}).get("classes", 0)


def no_class(card: Mapping) -> int | None:
    """The label of no class, where the network of a card was trained with it; a student never is."""
    if "distilled" in card:
        return None
    if "diffusers" in card:
        return adapters.no_class(card["diffusers"])
    return classes(card) if card.get("no_class") else None


def chain_of(card: Mapping) -> Chain:
    """The noise levels of a card."""
    counts = card.get("step_counts")
    chain = parametrisation(card).chain
    return replace(chain, step_counts=tuple(counts)) if counts else chain


@ordinary()
def build(card: Mapping, tensors: Mapping[str, Tensor] | None = None) -> Any:
    """The raw network of a card, freshly initialised, or with ``tensors`` loaded: a module, or an exact denoiser.

    A module is in evaluation mode, whoever built it.

    Raises:
        ValueError: the tensors are not those of the card's architecture.
    """
    exact = getattr(parametrisation(card), "model", None)
    if exact is not None:
        return for_evaluation(_own(exact, card["kind"], tensors))
    if tensors is None:
        return _architecture(card).eval()
    tensors = _fitting(card, tensors)
    model = _architecture(card)
    model.load_state_dict(tensors)
    return model.eval()


def _own(model: Any, kind: str, tensors: Mapping[str, Tensor] | None) -> Any:
    try:
        return model(tensors)
    except (ValueError, OSError, MemoryError):  # in words of their own
        raise
    except Exception as error:  # of whoever wrote the kind: of torch's list of what does not fit, the first
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        reason = lines[1] + f" (the first of {len(lines) - 1})" * (len(lines) > 2) if len(lines) > 1 else lines[0]
        raise ValueError(f"kind {kind}: its model does not take these weights: {reason}") from None


def _architecture(card: Mapping) -> Module:
    if "diffusers" in card:
        return adapters.build(card["diffusers"])
    return UNet(card["shape"][0], **card["unet"], conditions=getattr(parametrisation(card), "conditions", 1))


def _fitting(card: Mapping, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by the names of the card's architecture, whose shapes are compared before it takes any memory.

    Raises:
        ValueError: they are not those of the architecture, or there is no such architecture.
    """
    made = "of diffusers" if "diffusers" in card else dict(card["unet"])
    stated = card["diffusers"]["config"] if "diffusers" in card else card["unet"]
    try:
        if (layers := _layers(stated)) > max(len(tensors), FEW):  # to write down their layers alone takes long
            raise ValueError(f"it has {layers} blocks, the file {len(tensors)} tensors")
        with torch.device("meta"), _Undrawn():
            model = _architecture(card)
        tensors = unwrapped(tensors, model.state_dict(), "The weights")
        model.load_state_dict(tensors, assign=True)
    except Exception as error:  # a card may state anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1].strip()
        raise ValueError(f"The weights do not fit the architecture {made}: {reason}") from None
    return tensors


class _Undrawn(TorchFunctionMode):
    """Inside, no initial weights are drawn: only shapes matter, and to draw on "meta" loads torch's compiler."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        drawn = getattr(func, "__module__", "") == "torch.nn.init"
        return kwargs.get("tensor", args[0] if args else None) if drawn else func(*args, **kwargs)


def _layers(stated: Mapping) -> int:
    """Blocks on the way down that options of a network state, ours or those of diffusers."""
    levels = stated.get("multipliers", stated.get("block_out_channels")) or ()
    each = stated.get("blocks", stated.get("layers_per_block")) or 1
    return max(len(levels), 1) * each if isinstance(each, int) else max(len(levels), sum(each))


@ordinary(grad=False)
def try_out(card: Mapping, model: Any, where: object) -> None:
    """Evaluate a network on images of the card's shape, so that one that cannot sample is refused before it is used.

    Raises:
        ValueError: it fails on such an image, gives another shape or NaN, two answers to one question, or one that
            depends on the images beside it.
    """
    denoiser = NetworkDenoiser(parametrisation(card), model)
    x = torch.linspace(-1, 1, 2 * math.prod(card["shape"])).reshape(2, *card["shape"])
    labels = torch.zeros(2, dtype=torch.int64) if classes(card) else None
    sigma = torch.tensor(denoiser.parametrisation.chain.levels[-1])
    try:
        first, second = denoiser(x, sigma, labels), denoiser(x, sigma, labels)
        alone = denoiser(x[:1], sigma, None if labels is None else labels[:1])
    except Exception as error:  # of whoever wrote the network
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{where}: the network fails on images of shape {list(card['shape'])}: {reason}") from None
    if first.shape != x.shape or not first.isfinite().all():
        fault = "NaN or infinity" if first.shape == x.shape else f"shape {list(first.shape[1:])}"
        raise ValueError(f"{where}: the network gives {fault} for images of shape {list(card['shape'])}")
    if not torch.equal(first, second):
        raise ValueError(f"{where}: the network gives two answers to one question: it draws random numbers")
    if not torch.allclose(alone, first[:1], rtol=0, atol=1e-3 * float(first.abs().max())):
        raise ValueError(f"{where}: the network's answer depends on the images beside it, as batch statistics make it")


def is_own(path: Path) -> bool:
    """Whether the file is a safetensors file with a card of this project."""
    try:
        with safe_open(path, framework="pt") as file:
            return "card" in seals.texts_of(file.metadata())
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError):
        return False


def save(path: Path, card: Mapping, weights: Mapping[int | None, Mapping[str, Tensor]]) -> None:
    """Write weights (one set, or one per step count) and card as safetensors."""
    flat = {_key(count, name): t for count, tensors in weights.items() for name, t in tensors.items()}
    seals.save(path, flat, {"card": json.dumps(card)})


@ordinary()
def load(
    path: Path, *, device: torch.device | str = "cpu", layout: torch.memory_format = torch.preserve_format
) -> Network:
    """Read a network.

    Args:
        path: the file.
        device: where its weights go.
        layout: their memory format; a processor evaluates ``torch.channels_last`` faster (benchmarks/evaluation.py).

    Raises:
        ValueError: the file is missing, damaged, or holds other tensors than its card says; the message names it.
    """
    if not Path(path).is_file():
        raise ValueError(f"No network at {path}: train it with `dpmot train`, or correct `weights:` in the config")
    flat, texts = seals.load(path)
    try:
        card = dict(json.loads(texts["card"]))
        prefixes = {count: _key(count, "") for count in card.get("step_counts") or [None]}
        tensors = {
            count: {name.removeprefix(prefix): t for name, t in flat.items() if name.startswith(prefix)}
            for count, prefix in prefixes.items()
        }
        return of(card, tensors, device=device, layout=layout)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a network written by this project, or is damaged: {error}") from None


def of(
    card: Mapping,
    weights: Mapping[int | None, Mapping[str, Tensor]],
    *,
    device: torch.device | str = "cpu",
    layout: torch.memory_format = torch.preserve_format,
) -> Network:
    """The network of a card and weights in memory, one set or one per step count; see :func:`load`."""
    denoisers = {}
    for count, tensors in weights.items():
        model = build(card, tensors)
        if isinstance(model, Module):
            cast(Any, model).to(device, memory_format=layout)  # torch's overloads leave the layout out
        one = NetworkDenoiser(parametrisation(card), model, posterior_mean=not card.get("coupling"))
        one.spans = one.spans and "distilled" not in card  # students are trained at one level at a time
        denoisers[count] = one
    return Network(card, chain_of(card), denoisers)


def _key(count: int | None, name: str) -> str:
    return name if count is None else f"{count}/{name}"
