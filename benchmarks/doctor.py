"""What ``dpmot doctor`` says of sound networks and of planted mistakes: ``python -m benchmarks.doctor [NAME ...]``.

Networks: the committed ones of digits and Fashion-MNIST, snapshots of trainings, and small ones of the other kinds in
results/reference/doctor/weights. Thresholds were chosen on digits; every Fashion-MNIST and CIFAR-10 line is a check.
Rows are data set, network, mistake that was planted ("sound": none), what the doctor says, the gain of the best repair,
seconds of the processor. A name keeps the networks that hold it. results/reference/doctor/doctor.csv holds rows of 32
images, not of every network and case.

example: python -m benchmarks.doctor digits --rows 32 --csv doctor.csv
"""

import argparse
import copy
import csv
import dataclasses
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpmot import plugins
from dpmot.diffusion import network
from dpmot.diffusion.doctor import Diagnosis, doctor, known_of
from dpmot.diffusion.network import NetworkDenoiser
from dpmot.diffusion.repairs import ByIndex, Known
from dpmot.diffusion.training import batch_of

REFERENCE = plugins.ROOT / "results" / "reference"
MORE = "doctor/weights"
NETWORKS = {  # name -> (data set, file below results/reference)
    "digits ddpm": ("digits", "digits/weights/ddpm"),
    "digits edm": ("digits", "digits/weights/edm"),
    "digits student": ("digits", "digits/weights/student"),
    "digits flow": ("digits", f"{MORE}/digits_flow"),
    "digits ncsnv2": ("digits", f"{MORE}/digits_ncsnv2"),
    "digits labels": ("digits", f"{MORE}/digits_labels"),
    "digits x0": ("digits", f"{MORE}/digits_x0"),
    "digits consistency": ("digits", f"{MORE}/digits_consistency"),
    "cifar10 edm": ("thumbnails", f"{MORE}/thumbnails_edm"),
    "fashion ddpm": ("fashion_mnist", "fashion_mnist/weights/ddpm"),
    "fashion edm": ("fashion_mnist", "fashion_mnist/weights/edm"),
    "fashion student": ("fashion_mnist", "fashion_mnist/weights/student"),
    **{
        f"fashion edm {n}": ("fashion_mnist", f"fashion_mnist/weights/snapshots/edm_{n}")
        for n in (500, 1000, 2000, 4000)
    },
    "fashion labels": ("fashion_mnist", f"{MORE}/fashion_labels"),
}
LONGER = {"fashion edm 1000": "fashion edm 4000"}  # of one training
COLUMNS = ("data", "network", "planted", "says", "right", "gain", "seconds")
Denoiser = Callable[..., Tensor]


@dataclasses.dataclass(frozen=True)
class Case:
    """One denoiser to look at: what was planted in a network, and what the doctor is told of it."""

    name: str
    denoiser: Denoiser
    known: Known
    expected: str = ""  # what the named mistake must begin with; "" for a sound network
    beside: Denoiser | None = None


class Planted:
    """A network under another ``denoise``, with its own parametrisation for what it says of itself."""

    def __init__(self, of: NetworkDenoiser, denoise: Callable[..., Tensor], model: Any = None) -> None:
        self.model, self.denoise = model or of.model, denoise

    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        """x (B, *S), sigma () or (B,) -> (B, *S)."""
        model = self.model if labels is None else partial(self.model, labels=labels)
        return self.denoise(model, x, torch.as_tensor(sigma, dtype=x.dtype).expand(len(x)))


@cache
def data(name: str) -> tuple[Tensor, Tensor]:
    """Images uint8 and labels of split A; "thumbnails" are CIFAR-10's, averaged to 8 x 8."""
    images, labels = plugins.find("data", "cifar10" if name == "thumbnails" else name).load().part("A")
    kept = torch.from_numpy(np.ascontiguousarray(images[:4000]))
    if name == "thumbnails":
        kept = torch.nn.functional.avg_pool2d(kept.float(), 4).round().to(torch.uint8)
    return kept, torch.from_numpy(np.ascontiguousarray(labels[:4000]))


def cases(of: NetworkDenoiser, known: Known, images: Tensor) -> Iterator[Case]:
    """The network as it is, and every mistake that can be made with one of its kind."""
    how: Any = of.parametrisation
    yield Case("sound", Planted(of, how.denoise), known)
    yield Case(
        "[0, 1] for [-1, 1]", lambda x, s, *y: (of(2 * x - 1, 2 * torch.as_tensor(s), *y) + 1) / 2, known, "range"
    )
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
    if hasattr(how, "loss") and not known.classes:
        further = cache(partial(_further, of, images))  # trained when it is first asked
        raw = Planted(of, how.denoise, lambda z, c: further()(z, c))
        yield from _exchanged(raw, Planted(of, how.denoise), known, "raw")


def _exchanged(worse: Denoiser, better: Denoiser, known: Known, name: str) -> Iterator[Case]:
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


def of_network(name: str, rows: int | None = None) -> Iterator[tuple[Case, Callable[[], Diagnosis]]]:
    """Every case of one network, and what the doctor says of it."""
    from_data, file = NETWORKS[name]
    images, labels = data(from_data)
    loaded, of = _loaded(file)
    known = known_of(of, tuple(images.shape[1:]), loaded.classes)
    given, every = labels if loaded.classes else None, cases(of, known, images)
    if name in LONGER:
        longer = _loaded(NETWORKS[LONGER[name]][1])[1]
        every = chain(every, _exchanged(of, longer, known, "a quarter of the training's"))
    for case in every:
        looked = {"known": case.known, "labels": given, "beside": case.beside, "rows": rows}
        yield case, partial(doctor, case.denoiser, images, samples="consistency" in name, **looked)


def _loaded(file: str) -> tuple[network.Network, Any]:
    """A network, and its denoiser: of a student, that of the most steps."""
    loaded = network.load(REFERENCE / f"{file}.safetensors")
    return loaded, loaded.denoisers[max((count for count in loaded.denoisers if count), default=None)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="only networks whose name holds one of these")
    parser.add_argument("--sound", action="store_true", help="only the networks as they are")
    parser.add_argument("--cases", nargs="*", default=[""], help="only cases whose name holds one of these")
    parser.add_argument("--rows", type=int, help="images that are tried")
    parser.add_argument("--csv", type=Path, help="append the rows there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    wrong = total = 0
    for name in NETWORKS:
        if options.names and not any(part in name for part in options.names):
            continue
        if not Path(REFERENCE / f"{NETWORKS[name][1]}.safetensors").exists():
            continue
        for case, look in of_network(name, options.rows):
            wanted = ["sound"] if options.sound else options.cases
            if not any(part in case.name for part in wanted):
                continue
            started = time.process_time()
            said = look()
            first = next((found.name for found in said.findings if found.grade == "wrong"), "")
            right = first.startswith(case.expected) if case.expected else not first
            wrong, total = wrong + (not right), total + 1
            gain = max(said.gains.values(), default=float("nan"))
            seconds = time.process_time() - started
            verdict = f"{said.verdict}: {first}" if first else said.verdict
            mark = "" if right else "   <- NOT NAMED" if case.expected else "   <- FALSE ALARM"
            print(f"{name:20} {case.name:30} {verdict:45} {gain:6.3f} {seconds:5.1f} s{mark}", flush=True)
            if options.csv:
                about = (NETWORKS[name][0], name, case.name, verdict, "yes" if right else "no")
                _append(options.csv, (*about, f"{gain:.3f}", f"{seconds:.1f}"))
    print(f"{wrong} of {total} wrong")


def _append(path: Path, row: tuple[str, ...]) -> None:
    fresh = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, row] if fresh else [row])


if __name__ == "__main__":
    main()
