"""Running a sampler so that every network evaluation is paid for: NFE is the rows it asked for over its samples.

A sampler is handed a function D(x, sigma) and nothing else that knows the network. Each of four walls stands alone:

1. its file is read first (:mod:`dpmot.diffusion.permitted`);
2. the function takes batches of the sampler's own samples, at their own shape, in the calling thread, while it runs;
   it has ``sigma_min`` and ``sigma_max``, and no attribute that leads to the network or to the count;
3. the network itself counts (:mod:`dpmot.diffusion.audit`), and both counts must agree;
4. a few samples, that no file can foresee, are drawn again, alone, by a fresh copy of the plug-in, from the answers
   that they were given. They must ask the same questions, or stop earlier, and come out the same, but for rounding:
   what was kept from other runs, or read from the samples beside them, is not there.

The third looks at every network of the process. It is for stages, which have a process of their own; ``dpmot.sample``
runs beside whatever else a program does, and leaves it out.

What was refused once fails the run, whether the sampler caught the error or not. Python offers no sandbox within one
process: whoever walks the interpreter's own frames or memory, multiplies by weights without calling the network and
hides that from a reader of the file is not stopped by this, but by review.

A guided evaluation asks the network twice and counts as two (``evaluations_each`` of its denoiser).

A parallel method, whose cost is rows and not calls, says ``PARALLEL = True``: a batch may then hold k B rows, row
j B + b for sample b, and counts as k evaluations.
"""

import importlib.util
import inspect
import math
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from copy import deepcopy
from functools import lru_cache
from numbers import Real
from random import SystemRandom
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dpmot import plugins
from dpmot.diffusion import permitted
from dpmot.diffusion.audit import Audit, Uncounted
from dpmot.diffusion.protocols import Denoiser, Noise
from dpmot.diffusion.trajectory import Spread
from dpmot.tiles import rows_of

AGAIN = 4  # samples that are drawn again, alone
CLOSE = 1e-5  # of a sample's largest number: rounding, also in float32; the end of a batch misses vector instructions
TINY = 1e-9  # of numbers that cancel
LOCK = threading.RLock()
KEPT = 2**28  # bytes of answers kept for them, as far as one sample does not need more


class NoiseDrawn(Exception):
    """A sampler that was run without noise asked for some."""


class _NoNoise:
    """The noise of a run that is to be without; remembers that it was asked for."""

    asked = False

    def __call__(self, step: int) -> Tensor:
        self.asked = True
        raise NoiseDrawn


class Question(NamedTuple):
    """What a sampler asked of a few samples, and the answer; ``to`` is NaN where no span was asked for."""

    x: Tensor
    sigma: Tensor
    to: Tensor
    answer: Tensor


class Meter:
    """Sells evaluations of a denoiser to one run of a sampler.

    Args:
        denoiser: D.
        x: the starts, (B, *S).
        parallel: whether a batch may hold several rows of a sample.
        again: rows of x whose questions and answers are kept.
        spread: is shown every answer.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        x: Tensor,
        *,
        parallel: bool = False,
        again: Sequence[int] = (),
        spread: Spread | None = None,
    ) -> None:
        self.denoiser, self.shape, self.parallel, self.spread = denoiser, x.shape, parallel, spread
        self.again = torch.tensor(list(again), dtype=torch.int64, device=x.device)
        self.rows, self.padded, self.fault = 0, 0, ""
        self.cost = int(getattr(denoiser, "evaluations_each", 1))  # of the network, a row
        self.questions: list[Question] = []
        self.audit, self.open, self.inside = Audit(), False, (threading.get_ident(), _modes())

    def handed(self) -> Any:
        """D(x, sigma), and D(x, sigma, to) of spans, for a sampler, with ``sigma_min`` and ``sigma_max``."""
        return _opaque(self._sell, self.denoiser)

    @property
    def nfe(self) -> int:
        """Evaluations of each sample so far."""
        return self.rows // self.shape[0]

    def _sell(self, x: Tensor, sigma: Tensor | float, to: Tensor | float | None = None) -> Tensor:
        self._check(x, sigma)
        if to is not None:
            self._check(x, to)
        sigma = sigma if isinstance(sigma, Tensor) else float(sigma)
        span = {} if to is None else {"to": to if isinstance(to, Tensor) else float(to)}
        ask: Any = self.denoiser  # numbers will do
        with self.audit.paid():
            answer = ask(x, sigma, **span)
        tile = rows_of(x[0].numel())
        self.rows += self.cost * len(x)
        self.padded += self.cost * (-(-len(x) // tile) * tile)
        if self.spread:
            self.spread.add(sigma, answer, span=to is not None)
        if len(self.again):
            asked = (x, sigma, math.nan if to is None else to, answer)
            self.questions.append(Question(*(_of(self.again, part, self.shape[0]) for part in asked)))
        return answer

    def _check(self, x: Tensor, sigma: Tensor | float) -> None:
        """Refuse a batch that the contract does not offer."""
        if not self.open:
            self.refuse("D(x, sigma) was called outside the run that it was handed to")
        if type(x) is not Tensor or not (type(sigma) is Tensor or isinstance(sigma, Real)):
            got = f"{type(x).__name__} and {type(sigma).__name__}"
            self.refuse(f"D(x, sigma) takes plain tensors, or a number as sigma, got {got}")
        if (threading.get_ident(), _modes()) != self.inside:
            told = "which sees into the network (torch.device is one too: say device= instead)"
            self.refuse(f"D(x, sigma) was called in another thread, or inside a torch mode, {told}")
        number, *image = self.shape
        if list(x.shape[1:]) != image or not x.is_floating_point():
            self.refuse(f"D(x, sigma) got {x.dtype} rows of shape {list(x.shape[1:])}; they are floats of {image}")
        k, rest = divmod(len(x), number)
        if rest or k < 1 or (k > 1 and not self.parallel):
            told = "or a multiple" if self.parallel else "each once; k times where PARALLEL = True, for k evaluations"
            self.refuse(f"D(x, sigma) got {len(x)} rows of {number} samples: give all of them, {told}")
        if type(sigma) is Tensor and tuple(sigma.shape) not in ((), (1,), (len(x),)):
            self.refuse(f"D(x, sigma) got sigma of shape {list(sigma.shape)}; it is one number, or one a row")

    def refuse(self, fault: str) -> None:
        """Raise, and remember."""
        self.fault = self.fault or fault
        raise Uncounted(fault)

    def settle(self) -> None:
        """Compare the counts; raise what was refused before, if the sampler went on."""
        fault = self.fault or self.audit.fault
        for what, rows in self.audit.rows.items():
            if not fault and rows not in (self.rows, self.padded):
                fault = f"{what} counted {rows} rows where D(x, sigma) was asked for {self.rows}"
        if fault:
            raise Uncounted(fault)


class _Replayed:
    """Answers the questions that were answered before, in their order, and no others."""

    def __init__(self, questions: Sequence[Question]) -> None:
        self.questions, self.next, self.fault = questions, 0, ""

    def answer(self, x: Tensor, sigma: Tensor | float, to: Tensor | float | None = None) -> Tensor:
        told = self.questions[self.next] if self.next < len(self.questions) else None
        self.next += 1
        levels = torch.as_tensor(sigma), torch.as_tensor(math.nan if to is None else to)
        if told is None or not (alike(x, told.x) and alike(levels[0], told.sigma) and alike(levels[1], told.to)):
            self.fault = f"evaluation {self.next}"
            raise Uncounted(self.fault)
        return told.answer.clone()


def run(
    sampler: str | Callable[..., Tensor],
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Callable[[Sequence[int]], Noise] | None,
    options: Mapping[str, Any] | None = None,
    final: float | None = None,
    audited: bool = True,
    spread: Spread | None = None,
) -> tuple[Tensor, int]:
    """The samples, (B, *S), and the network evaluations that each cost.

    Args:
        sampler: its name in baselines/, or a function of the same signature, which is not read first (wall 1).
        denoiser: D; only this function sees it.
        x: starts, (B, *S), at sigmas[0].
        sigmas: grid, (n + 1,).
        noise: numbers of samples -> their noise, a function of the step; None where none may be drawn.
        options: the sampler's.
        final: level of one more evaluation after its end, None for none.
        audited: whether networks count, too (wall 3): every one of this process, so not beside other threads.
        spread: is shown every answer that the sampler is given; none of its own is asked for.

    Raises:
        Uncounted: the sampler did what its contract does not offer; see the module.
        NotPermitted: its file says so.
        NoiseDrawn: it asked for noise where there is none.
    """
    named = isinstance(sampler, str)
    parallel = named and plugins.constant("baselines", str(sampler), "PARALLEL") is True
    most = KEPT // (8 * x[0].numel() * 2 * len(sigmas))
    few = SystemRandom().sample(range(len(x)), min(len(x), max(1, min(AGAIN, most))))
    meter, none = Meter(denoiser, x, parallel=parallel, again=few, spread=spread), _NoNoise()

    def drawn(ask: Any, rows: Sequence[int]) -> Tensor:
        chosen = x[list(rows)]
        function = fresh(sampler).sample if isinstance(sampler, str) else sampler
        given = accepted(function, {"noise": none if noise is None else noise(rows)})
        end = function(ask, chosen.clone(), sigmas.clone(), **given, **deepcopy(dict(options or {})))
        if none.asked:  # and went on
            raise NoiseDrawn
        if type(end) is not Tensor or end.shape != chosen.shape or end.dtype != x.dtype:
            raise Uncounted(f"sample gives {_described(end)}; it must give {_described(chosen)}, as its start is")
        return end if final is None else ask(end, x.new_tensor(final))

    try:
        with meter.audit.running() if audited else nullcontext():
            meter.open = True
            end = drawn(meter.handed(), range(len(x)))
            meter.open = False
            meter.settle()
            _alone(drawn, end, meter, few)
            meter.settle()
    except Uncounted as fault:
        told = f"baselines/{sampler}.py" if named else f"sampler {getattr(sampler, '__name__', 'given')}"
        raise Uncounted(f"{told}: {fault}") from None
    finally:
        meter.open = False
    return end, meter.nfe


def _alone(drawn: Callable[[Any, Sequence[int]], Tensor], end: Tensor, meter: Meter, few: Sequence[int]) -> None:
    """Draw a few samples again from the answers that they were given.

    Raises:
        Uncounted: they come out otherwise.
    """
    replayed = _Replayed(meter.questions)
    told = (
        "draws noise of its own (noise(i) is that of step i), keeps something between runs, or looks at the samples "
        "beside, as a step size of the whole batch does (choose it for each sample)"
    )
    try:
        again = drawn(_opaque(replayed.answer, meter.denoiser), few)
    except NoiseDrawn:
        raise
    except Exception as error:  # whatever it is, the first run did not raise it
        fault = replayed.fault or f"{type(error).__name__} {error}"
        raise Uncounted(f"samples {few} drawn alone go another way ({fault}): the sampler {told}") from None
    if replayed.fault or not alike(again, end[few]):
        raise Uncounted(f"samples {few} drawn alone are others than drawn together: the sampler {told}")


def accepted(function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Those keyword arguments that a function takes."""
    try:
        known = inspect.signature(function).parameters
    except (TypeError, ValueError):  # of a function in C
        return dict(given)
    every = any(one.kind is one.VAR_KEYWORD for one in known.values())
    return {name: value for name, value in given.items() if every or name in known}


def draws_noise(sampler: str, x: Tensor, sigmas: Tensor, options: Mapping[str, Any]) -> bool:
    """Whether a sampler asks for noise on this grid, tried on one sample with D = 0; True also where that fails."""

    none = _NoNoise()

    def zero(x: Tensor, sigma: Tensor, to: Tensor | None = None) -> Tensor:
        return torch.zeros_like(x)

    zero.sigma_min, zero.sigma_max = float(sigmas[sigmas > 0].min()), float(sigmas[0])  # type: ignore[attr-defined]
    try:
        with Audit().running():
            fresh(sampler).sample(zero, x[:1].clone(), sigmas.clone(), noise=none, **options)
    except Exception:  # the run itself will say what is wrong
        return True
    return none.asked


def fresh(sampler: str) -> ModuleType:
    """The plug-in, read and then executed anew: it remembers nothing.

    Raises:
        NotPermitted: its file says what its contract does not offer.
    """
    permitted.check(sampler)
    with LOCK:  # modules are forgotten and imported, for all threads
        return _executed(plugins.find("baselines", sampler))


def _executed(known: ModuleType) -> ModuleType:
    package = sys.modules[known.__name__.rpartition(".")[0]]
    for name in [name for name in sys.modules if name.startswith(f"{package.__name__}._")]:  # files beside it, too
        del sys.modules[name]
        vars(package).pop(name.removeprefix(f"{package.__name__}."), None)
    spec = importlib.util.spec_from_file_location(known.__name__, known.__file__)
    if spec is None or spec.loader is None:
        raise ValueError(f"{known.__file__} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def alike(a: Tensor, b: Tensor) -> bool:
    """Whether each row holds the same numbers, but for rounding."""
    if a.shape != b.shape:
        return False
    a, b = (part.double().reshape(len(part) if part.dim() else 1, -1) for part in (a, b))
    close = CLOSE * b.nan_to_num(0, 0, 0).abs().amax(1, keepdim=True) + TINY
    return bool(((a - b).abs() <= close).logical_or(a == b).logical_or(a.isnan() & b.isnan()).all())


def _opaque(function: Callable[..., Tensor], like: Denoiser) -> Any:
    """A callable without an attribute that leads to the function: lru_cache keeps it in C (size 0 caches nothing)."""
    handed: Any = lru_cache(maxsize=0)(function)
    vars(handed).clear()
    handed.sigma_min, handed.sigma_max = float(like.sigma_min), float(getattr(like, "sigma_max", math.inf))
    return handed


def _of(rows: Tensor, part: Tensor | float, number: int) -> Tensor:
    """The rows of a few samples in a batch of (k B, ...), as a run of these alone would have them."""
    part = torch.as_tensor(part)
    if part.dim() == 0 or len(part) == 1 < number:
        return part.clone()
    return part.unflatten(0, (-1, number))[:, rows].flatten(0, 1).clone()


def _modes() -> tuple[int, int]:
    """How many torch modes look into every operation."""
    return torch._C._len_torch_function_stack(), torch._C._len_torch_dispatch_stack()


def _described(value: object) -> str:
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
