"""Training: Adam with warm-up and cosine decay, an exponential moving average of the weights, exact resumption.

Every random number of step i comes from the stream (seed, ..., i), so on a processor a run that was interrupted
continues to the same bits from its last checkpoint.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from dpmot import seeds
from dpmot.device import ordinary
from dpmot.diffusion.schedule import Schedule
from dpmot.images import to_float
from dpmot.runtime.seals import Checkpoint

CURVE = 50  # points of the loss curve


class Diverged(ArithmeticError):
    """The training loss became NaN or infinite; ``losses`` are those of that step, with what they came from."""

    def __init__(self, message: str, losses: "Losses") -> None:
        super().__init__(message)
        self.losses = losses


@dataclass(frozen=True)
class Fit:
    """The averaged weights and the loss curve, one mean loss per ``len(losses)``-th of the run."""

    weights: dict[str, Tensor]
    losses: list[float]


class Batch(NamedTuple):
    """The random batch of one step: images and noise (B, *S), stratified uniforms (B,), rows (B,) of the images.

    It is where the images are; the random numbers are the same on every device.
    """

    x0: Tensor
    noise: Tensor
    u: Tensor
    rows: Tensor


class Pairing(Protocol):
    """Which image goes with which noise."""

    def __call__(self, noise: Tensor, rows: Tensor, *key: int | str) -> tuple[Tensor, Tensor]:
        """Noise (B, *S) and rows (B,), drawn independently, as pairs; what it draws itself is of the stream ``key``."""


@dataclass(frozen=True, eq=False)
class Paired:
    """Images (N, *S), as :func:`batch_of` takes them, whose batches are drawn from a coupling with their noise."""

    images: Tensor
    pairing: Pairing

    @property
    def shape(self) -> torch.Size:
        return self.images.shape

    @property
    def device(self) -> torch.device:
        return self.images.device


@dataclass(frozen=True)
class Drop:
    """Labels that are not told in training, so that the network learns to do without (Ho & Salimans 2022).

    Attributes:
        share: of the images whose label is the one of no class.
        none: that label.
    """

    share: float
    none: int

    def __call__(self, labels: Tensor) -> Tensor:
        """Labels (B,) with some replaced, by torch's global stream: :func:`fit` seeds it at each step."""
        dropped = torch.rand(len(labels)) < self.share  # drawn by the processor: the same on every device
        return labels.masked_fill(dropped.to(labels.device), self.none)


class Losses(NamedTuple):
    """Losses (B,) of one step, the noise level (B,) of each, and the random tensors (B, ...) that they came from."""

    values: Tensor
    sigma: Tensor
    batch: Mapping[str, Tensor]

    @property
    def worst(self) -> float:
        """The noise level of the first sample whose loss is not finite, else of the largest loss."""
        return float(self.sigma[self.values.nan_to_num(math.inf, math.inf, math.inf).argmax()])


class Together(Protocol):
    """The part of one process in a training; see :class:`dpmot.diffusion.ranks.Ranks`, of several.

    Attributes:
        first: whether it is the one that shows its progress.
        size: how many processes there are.
        sizes: how many trained this network, in order; :func:`fit` sets it where it goes on from a state.
    """

    first: bool
    size: int
    sizes: list[int]

    def part(self, values: Tensor) -> Tensor: ...
    def total(self, part: Tensor) -> Tensor: ...
    def whole(self, losses: Losses) -> Losses: ...
    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None: ...
    def agreed(self, facts: dict[str, Any], state: Mapping[str, Tensor]) -> dict[str, Any]: ...


class Alone:
    """One process, whose part is the whole."""

    first, size = True, 1

    def __init__(self) -> None:
        self.sizes = [1]

    def part(self, values: Tensor) -> Tensor:
        """The mean of losses (B,)."""
        return values.mean()

    def total(self, part: Tensor) -> Tensor:
        """The same."""
        return part

    def whole(self, losses: Losses) -> Losses:
        """The same."""
        return losses

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Nothing: they are those of the whole."""

    def agreed(self, facts: dict[str, Any], state: Mapping[str, Tensor]) -> dict[str, Any]:
        """The same."""
        return facts


def batch_of(images: Tensor | Paired, *key: int | str, size: int) -> Batch:
    """The random batch of ``size`` B of the step whose stream ``key`` names.

    The images are (N, *S) in [-1, 1], or as stored, uint8 (N, C, H, W): then only the batch becomes floats. Where they
    are :class:`Paired` each noise gets the image, and row, that the coupling has for it.
    """
    pairing, images = (images.pairing, images.images) if isinstance(images, Paired) else (None, images)
    stream = seeds.generator(*key)
    rows = torch.from_numpy(stream.integers(len(images), size=size))
    noise = torch.from_numpy(stream.standard_normal((size, *images.shape[1:]), dtype="float32"))
    u = (torch.from_numpy(stream.permutation(size)) + torch.from_numpy(stream.random(size))) / size
    below_one = 1 - torch.finfo(noise.dtype).eps / 2  # rounding to float32 could reach 1, which is no level
    drawn = noise, u.to(noise.dtype).clamp(max=below_one), rows
    noise, u, rows = (numbers.to(images.device) for numbers in drawn)
    if pairing is not None:
        noise, rows = pairing(noise, rows, *key)
    x0 = images[rows]
    return Batch(to_float(x0) if x0.dtype == torch.uint8 else x0, noise, u, rows)


@ordinary(grad=True)
def fit(
    model: nn.Module,
    loss_at: Callable[[int], Losses],
    schedule: Schedule,
    *,
    seed: int,
    description: str,
    checkpoint: Checkpoint | None = None,
    snapshot: Callable[[int, Mapping[str, Tensor]], None] | None = None,
    together: Together | None = None,
) -> Fit:
    """Minimise the mean of ``loss_at(step)`` over the parameters of ``model``.

    Args:
        loss_at: losses of step i; their randomness must come from i, or from torch's global stream (dropout).
        seed: training seed; with the description and i it seeds torch's global stream at step i.
        description: label of the progress bar.
        checkpoint: resumption state, written every ``schedule.checkpoint_seconds``.
        snapshot: called with the number of steps and the averaged weights, after each of ``schedule.snapshots`` steps.
        together: of several processes, each with a ``loss_at`` of which its own rows count; default one alone.

    Returns:
        The averaged weights; ``model`` itself holds the last ones.

    Raises:
        Diverged: a loss that is not finite; the message names the step and the noise level.
    """
    parameters = dict(model.named_parameters())
    average = {name: p.detach().clone() for name, p in parameters.items()}
    optimiser = torch.optim.Adam(model.parameters(), lr=schedule.lr, betas=(0.9, 0.99), fused=True)
    state = _state(parameters, average, optimiser)
    together = together or Alone()
    facts: dict[str, Any] = {"step": 0, "sums": [[0.0, 0] for _ in range(CURVE)]}
    if checkpoint is not None and (stored := checkpoint.load()) is not None:
        facts = stored[1]
        for name, tensor in state.items():
            tensor.copy_(stored[0][name])
    facts = together.agreed(facts, state)
    first, sums = facts["step"], facts["sums"]
    together.sizes = _sizes(facts, together.size)
    kept = {} if together.sizes == [1] else {"sizes": together.sizes}
    saved = time.monotonic()
    model.train()
    steps = range(first, schedule.steps)
    shown: dict[str, Any] = {
        "desc": description,
        "initial": first,
        "total": schedule.steps,
        "disable": not together.first,
    }
    for step in tqdm(steps, **shown, mininterval=5, unit="step"):
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate(step)
        optimiser.zero_grad(set_to_none=True)
        torch.manual_seed(int(seeds.generator(seed, "fit", description, step).integers(2**63)))
        losses = loss_at(step)
        part = together.part(losses.values)
        loss = together.total(part)
        if not torch.isfinite(loss):
            losses = together.whole(losses)
            where = f"step {step}, sigma {losses.worst:g}"
            message = f"{description}: the loss is {loss.item()} at {where}; lower `lr` (now {schedule.lr:g})"
            raise Diverged(message, losses)
        part.backward()
        together.sum_gradients([*parameters.values()])
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        decay = schedule.decay(step)
        torch._foreach_lerp_(list(average.values()), [p.detach() for p in parameters.values()], 1 - decay)
        point = sums[step * CURVE // schedule.steps]
        point[0] += loss.item()
        point[1] += 1
        if snapshot is not None and step + 1 in schedule.snapshots:
            snapshot(step + 1, average)
        if checkpoint is not None and time.monotonic() - saved > schedule.checkpoint_seconds:
            checkpoint.save(state, {"step": step + 1, "sums": sums, **kept})
            saved = time.monotonic()
    model.eval()
    return Fit(average, [total / count for total, count in sums if count])


def _sizes(facts: Mapping[str, Any], size: int) -> list[int]:
    """How many processes have trained before, by the facts of a state, and ``size``, which go on."""
    before = facts.get("sizes", [1]) if facts["step"] else []
    return [*before, *([size] if before[-1:] != [size] else [])]


def _state(
    parameters: Mapping[str, nn.Parameter], average: Mapping[str, Tensor], optimiser: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """What an unfinished run consists of, by name: the tensors that the run itself changes in place."""
    state: dict[str, Tensor] = {}
    for name, parameter in parameters.items():
        moments = {moment: torch.zeros_like(parameter) for moment in ("exp_avg", "exp_avg_sq")}
        optimiser.state[parameter] = {**moments, "step": parameter.new_zeros((), dtype=torch.float32)}
        kept = {"model": parameter.detach(), "average": average[name], **optimiser.state[parameter]}
        state |= {f"{kind}.{name}": tensor for kind, tensor in kept.items()}
    return state
