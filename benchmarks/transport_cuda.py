"""The transport solver on one CUDA device: the rate of a look, the kernel against its fallback, a whole fit.

gemm       noise-atoms a second of the product alone, z Y^T with cuBLAS: float32, TF32, bfloat16.
look       noise-atoms a second of a look (noise, products, leaders, counts) for each kind of noise; "share" is over the
           product of the type that the look uses, float32 but for "recycled" (bfloat16), which goes beyond it. At least
           .6 is asked of "plain". "fallback" is the same look by blocked torch products.
counts     the share of draws that the kernel and its fallback put into different cells, because they round across a
           wall: at most .001 in float32 ("mirrored"); in what "recycled" multiplies it is printed.
fit        CIFAR-10's training images as a recipe, abar .9: seconds of problem, fit and certificate to chi2 .01 (at most
           5 are asked for on an H200), and peak memory on the device.

example: DPMOT_DATA=data python -m benchmarks.transport_cuda
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch

from dpmot.data import MissingData, cifar10
from dpmot.seeds import generator
from dpmot.transport import NoisyImages, SemiDiscreteProblem, SemiDiscreteSolver
from dpmot.transport.closed_form import closed_form_start
from dpmot.transport.noise import KINDS
from dpmot.transport.tally import Tally, tally

ROWS = 8192  # of the product
ROUNDS = 5
MOVED = 1e-3  # share of draws so near a wall that float32 decides; more is an error


def timed(call: Callable[[], object]) -> float:
    """Seconds, the median of ROUNDS after a first call."""
    call()
    seconds = []
    for _ in range(ROUNDS):
        torch.cuda.synchronize()
        started = time.perf_counter()
        call()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return sorted(seconds)[ROUNDS // 2]


def products(number: int, dim: int) -> dict[str, float]:
    """Noise-atoms a second of z Y^T."""
    y, z = torch.randn(number, dim, device="cuda"), torch.randn(ROWS, dim, device="cuda")
    rates, before = {}, torch.backends.cuda.matmul.allow_tf32
    for name, dtype in (("float32", torch.float32), ("tf32", torch.float32), ("bfloat16", torch.bfloat16)):
        torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
        a, b = z.to(dtype), y.to(dtype)
        rates[name] = ROWS * number / timed(partial(torch.mm, a, b.T))
    torch.backends.cuda.matmul.allow_tf32 = before
    return rates


def look(problem: SemiDiscreteProblem, kind: str, rows: int, *, fused: bool) -> Tally:
    """Counts of the same draws by either way."""
    stream = generator(0, "benchmark", kind)
    return tally(problem, [closed_form_start(problem)], rows, stream, noise=kind, rough=True, fused=fused)[0]


def rate(problem: SemiDiscreteProblem, kind: str, *, fused: bool) -> float:
    """Noise-atoms a second of a look at four draws an atom."""
    rows = 4 * len(problem.atoms)
    draws = look(problem, kind, rows, fused=fused).draws
    return draws * len(problem.atoms) / timed(lambda: look(problem, kind, rows, fused=fused))


def main() -> None:
    """Print the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--atoms", type=int, default=50_000)
    parser.add_argument("--chi2", type=float, default=0.01)
    parser.add_argument("--abar", type=float, default=0.9)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("transport_cuda: no CUDA device here: run it on a machine with a GPU and torch for CUDA")
    try:
        data = cifar10.load()
    except MissingData as error:
        raise SystemExit(f"transport_cuda: {error}") from None
    images = data.images[data.split != "C"][: options.atoms]
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    recipe = NoisyImages(images, (1 - options.abar) ** 0.5, 0, scale=options.abar**0.5, device="cuda")
    rates = products(len(recipe), recipe.dim)
    print("gemm", *(f"{name} {rate:.3g}" for name, rate in rates.items()))
    problem = SemiDiscreteProblem(recipe, memory=16 * 2**30)
    for kind in KINDS:
        kernel, fallback = (rate(problem, kind, fused=by) for by in (True, False))
        over = rates["bfloat16" if kind == "recycled" else "float32"]
        print(f"look {kind}: {kernel:.3g}, share {kernel / over:.2f}, fallback {fallback:.3g}")
    for kind in ("mirrored", "recycled"):
        fused, plain = (look(problem, kind, 10 * len(problem.atoms), fused=f) for f in (True, False))
        moved = float((fused.counts - plain.counts).abs().sum()) / 2
        print(f"counts {kind}: {moved:.0f} of {fused.draws} draws in another cell")
        if kind == "mirrored" and moved > MOVED * fused.draws:
            raise SystemExit("transport_cuda: the kernel and its fallback disagree by more than rounding")
    del problem
    torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    solution = SemiDiscreteSolver(chi2=options.chi2)(SemiDiscreteProblem(recipe), seed=0)
    seconds, certificate = time.perf_counter() - started, solution.certificate
    print(
        f"fit: {seconds:.2f} s of which certificate {certificate.seconds:.2f} s, {solution.noises} noises, "
        f"chi2 {certificate.chi2:.4f} [{certificate.low:.4f}, {certificate.high:.4f}], "
        f"{'converged' if solution.converged else solution.reason}, "
        f"peak {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB on the device"
    )


if __name__ == "__main__":
    main()
