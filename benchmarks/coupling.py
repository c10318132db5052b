"""What does the coupling of noise and images add to a step of training?

The step is that of Fashion-MNIST's network (batch 128, 28 x 28), the atoms are N random images of d numbers, so that
the search looks at what a real one does: all of them. The floor is one product of the noises with all atoms. Medians
of rounds, the cases by turns, in seconds of the processor (--threads of them together), which other work on the machine
lengthens less than it does the seconds of the clock. This processor may lack units for bfloat16: then it is slower.

example: python -m benchmarks.coupling --csv results/reference/transport/coupling.csv
         python -m benchmarks.coupling --atoms 10000 --rounds 3
"""

import argparse
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from dpmot.couplings import Minibatch, SemiDiscrete
from dpmot.diffusion import network
from dpmot.diffusion.acceleration import Acceleration
from dpmot.diffusion.training import Pairing, batch_of
from dpmot.plugins import ROOT
from dpmot.runtime.files import atomic

COMMITTED = ROOT / "results" / "reference" / "fashion_mnist" / "weights" / "edm.safetensors"
BATCH = 128
STEPS = ("step", "step, bfloat16")


def seconds(case: Callable[[int], object], step: int) -> float:
    """Of the processor, all threads together."""
    start = time.process_time()
    case(step)
    return time.process_time() - start


def training(precision: str, device: torch.device | str = "cpu", batch: int = BATCH) -> Callable[[int], object]:
    """A step of the network: loss, gradient, Adam."""
    loaded = network.load(COMMITTED, device=device)
    denoiser = loaded.denoiser(0)
    assert isinstance(denoiser, network.NetworkDenoiser)
    model = denoiser.model.train().requires_grad_(True)
    accelerated = network.NetworkDenoiser(denoiser.parametrisation, Acceleration(precision=precision)(model))  # type: ignore[arg-type]
    optimiser = torch.optim.Adam(model.parameters(), fused=True)
    images = torch.randint(256, (1000, 1, 28, 28), dtype=torch.uint8, device=device)

    def step(number: int) -> None:
        optimiser.zero_grad(set_to_none=True)
        accelerated.losses(batch_of(images, 0, number, size=batch)).values.mean().backward()
        optimiser.step()

    return step


def pairs(pairing: Pairing, shape: tuple[int, ...]) -> Callable[[int], object]:
    """The pairs of a step."""

    def step(number: int) -> Tensor:
        noise = torch.randn(BATCH, *shape, generator=torch.Generator().manual_seed(number))
        return pairing(noise, torch.arange(BATCH), 0, number)[1]

    return step


def cases(number: int, tau: float) -> dict[str, Callable[[int], object]]:
    """Everything that is timed, by name."""
    images = torch.randint(256, (number, 1, 28, 28), dtype=torch.uint8)
    heights, shape = torch.zeros(number, dtype=torch.float64), (1, 28, 28)
    plain = SemiDiscrete.of(images, heights)
    points = images.flatten(1).float()
    rounded_points = points.bfloat16()
    noise = torch.randn(BATCH, points.shape[1])
    found: dict[str, Callable[[int], object]] = {
        "floor: one product, float32": lambda _: noise @ points.T,
        "floor: one product, bfloat16": lambda _: noise.bfloat16() @ rounded_points.T,
        "minibatch": pairs(Minibatch(images), shape),
        "semidiscrete": pairs(plain, shape),
        "semidiscrete, mirrored": pairs(replace(plain, mirrored=True), shape),
        "semidiscrete, bfloat16": pairs(replace(plain, rounded=True), shape),
        "semidiscrete, mirrored, bfloat16": pairs(replace(plain, mirrored=True, rounded=True), shape),
        f"semidiscrete, tau {tau:g}": pairs(replace(plain, tau=tau), shape),
    }
    return {"step": training("float32"), "step, bfloat16": training("bfloat16"), **found}


def compared(rounds: Sequence[Mapping[str, float]]) -> pd.DataFrame:
    """One row a case: median seconds, and the median over rounds of its share of a step of the same round."""
    table = pd.DataFrame(rounds)
    shares = {f"of_{step.replace(', ', '_')}": table.div(table[step], axis=0).median() for step in STEPS}
    return pd.DataFrame({"seconds": table.median(), **shares}).rename_axis("case").reset_index()


def main() -> None:
    """Print a table, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--atoms", type=int, default=50_000, help="N (default 50000)")
    parser.add_argument("--rounds", type=int, default=5, help="of which the median is taken (default 5)")
    parser.add_argument("--threads", type=int, default=2, help="of the processor (default 2)")
    parser.add_argument("--csv", type=Path, help="write the table here, too")
    parser.add_argument("--tau", type=float, default=1.0, help="of the softmax (default 1)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    timed = cases(options.atoms, options.tau)
    for case in timed.values():
        case(0)
    rounds = [{name: seconds(case, 1 + k) for name, case in timed.items()} for k in range(options.rounds)]
    table = compared(rounds).assign(atoms=options.atoms, threads=options.threads, rounds=options.rounds)
    print(f"N = {options.atoms}, d = 784, batch {BATCH}, {options.threads} threads, {platform.processor()}")
    print(table.to_string(index=False, float_format="{:.4f}".format))
    if options.csv:
        with atomic(options.csv) as temporary:
            table.to_csv(temporary, index=False, lineterminator="\n", float_format="%.5g")


if __name__ == "__main__":
    main()
