"""The checks of a CUDA device, in under ten minutes: equal to the CPU, and how fast.

answers    D(x, sigma) of the committed digits and Fashion-MNIST networks on the same points, from sigma .01 to 80:
           the largest difference from the CPU over the largest answer, at most 1e-4 in float32.
samples    DDIM, 10 evaluations, the same noise on both: at most 1e-2 of the range of pixels, as rounding is carried on.
heights    a map of 2,000 atoms, solved on the device: of 50,000 draws at most .001 may get another cell on the CPU with
           the same heights, by rounding at the walls.
training   steps a second of Fashion-MNIST's network at batch 128, in float32 and bfloat16.
sampling   images a second of the same network with 10 evaluations, in float32.
transport  ``benchmarks.transport_cuda`` as it is: the product alone, looks plain and fused, CIFAR-10's map.

A check that fails is named, and the exit status is 1. --device cpu runs all but "transport" against the CPU itself.

example: DPMOT_DATA=data python -m benchmarks.cuda
         python -m benchmarks.cuda --device cpu --batch 8 --rounds 1
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.coupling import training
from dpmot import sample
from dpmot.device import chosen
from dpmot.diffusion import network
from dpmot.plugins import ROOT
from dpmot.transport import BrenierPotential, SemiDiscreteProblem, SemiDiscreteSolver

NETWORKS = {
    name: ROOT / "results" / "reference" / name / "weights" / "edm.safetensors" for name in ("digits", "fashion_mnist")
}
ANSWERS, SAMPLES, MOVED = 1e-4, 1e-2, 1e-3
ATOMS, DIM, LOOKS = 2000, 64, 50_000


def normal(*shape: int, seed: int) -> Tensor:
    """Noise, the same on every device."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def answers(path: Path, device: torch.device) -> float:
    """Largest difference of D from the CPU's, over its largest answer."""
    found = []
    for one in (torch.device("cpu"), device):
        loaded = network.load(path, device=one)
        denoiser = loaded.denoiser(0)
        sigma = torch.logspace(-2, 1.9, 64)
        x = sigma[:, None, None, None] * normal(64, *loaded.card["shape"], seed=0)
        with torch.no_grad():
            found.append(denoiser(x.to(one), sigma.to(one)).cpu())
    return float((found[1] - found[0]).abs().max() / found[0].abs().max())


def samples(path: Path, device: torch.device) -> float:
    """Largest difference of DDIM's samples from the CPU's, over the range of pixels, 2."""
    drawn = []
    for one in (torch.device("cpu"), device):
        made = sample(network.load(path, device=one), "prior", "ddim", nfe=10, num_samples=64, grid="flow")
        drawn.append(made.x0.float().cpu() / 2)
    return float((drawn[1] - drawn[0]).abs().max())


def heights(device: torch.device) -> float:
    """Share of draws that another cell gets with heights that are solved on the device, and used on either."""
    atoms = normal(ATOMS, DIM, seed=1)
    solved = SemiDiscreteSolver(chi2=0.05)(SemiDiscreteProblem(atoms.to(device), source_measure="normal"), seed=0)
    noise = normal(LOOKS, DIM, seed=2)
    cells = [
        BrenierPotential(atoms.to(one), solved.heights.to(one)).cell(noise.to(one)).cpu()
        for one in (torch.device("cpu"), device)
    ]
    return float((cells[0] != cells[1]).double().mean())


def rate(work: Callable[[int], object], device: torch.device, rounds: int) -> float:
    """How often a second, the median, after two first calls."""
    seconds = []
    for number in range(rounds + 2):
        began = time.perf_counter()
        work(number)
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return 1 / sorted(seconds[2:])[rounds // 2]


def checks(device: torch.device) -> Iterator[tuple[str, float, float]]:
    """Name, what was found, and the most that is allowed."""
    for name, path in NETWORKS.items():
        yield f"answers, {name}", answers(path, device), ANSWERS
        yield f"samples, {name}", samples(path, device), SAMPLES
    yield "heights, draws in another cell", heights(device), MOVED


def rates(device: torch.device, batch: int, rounds: int) -> Iterator[tuple[str, float]]:
    """Steps and images a second."""
    for precision in ("float32", "bfloat16"):
        yield f"training, {precision}, steps a second", rate(training(precision, device, batch), device, rounds)
    loaded = network.load(NETWORKS["fashion_mnist"], device=device)
    drawn = rate(lambda k: sample(loaded, "prior", "ddim", nfe=10, num_samples=batch, seeds=k), device, rounds)
    yield "sampling, 10 evaluations, images a second", batch * drawn


def main() -> None:
    """Print the checks and the rates; exit 1 where a check fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    try:
        device = chosen(options.device)
    except ValueError as error:
        raise SystemExit(f"cuda: {error}") from None
    print(torch.cuda.get_device_name() if device.type == "cuda" else "cpu", f"torch {torch.__version__}")
    failed = []
    for name, found, most in checks(device):
        print(f"{name}: {found:.3g}, at most {most:g}", flush=True)
        failed += [] if found <= most else [name]  # NaN fails, too
    for name, value in rates(device, options.batch, options.rounds):
        print(f"{name}: {value:.4g}", flush=True)
    if device.type == "cuda":
        ended = subprocess.run([sys.executable, "-m", "benchmarks.transport_cuda"], check=False)
        failed += ["transport"] if ended.returncode else []
    if failed:
        raise SystemExit(f"cuda: not as the CPU: {', '.join(failed)}")


if __name__ == "__main__":
    main()
