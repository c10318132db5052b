"""What does one evaluation of a network cost on a processor? Memory given back or kept, images channels first or last.

Two processes take turns on one tile of images, one as it starts and one that keeps the memory it frees, each with both
layouts; medians of the rounds, and the smallest, as other work on the machine only adds. --beside runs so many copies
at a time, as the jobs of an experiment do.

example: python -m benchmarks.evaluation --beside 2
         python -m benchmarks.evaluation --network results/digits/networks/edm.safetensors --threads 2
"""

import argparse
import platform
import statistics
import time
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
from tqdm import trange

from dpmot.device import keep_freed_memory
from dpmot.diffusion import network
from dpmot.plugins import ROOT
from dpmot.tiles import TILE

COMMITTED = ROOT / "results" / "reference" / "fashion_mnist" / "weights" / "edm.safetensors"
LAYOUTS = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}
CASES = [(memory, layout) for memory in ("given back", "kept") for layout in LAYOUTS]
REPEATS = 5


def begin(memory: str, threads: int) -> None:
    """What each process does first."""
    torch.set_num_threads(threads)
    if memory == "kept":
        keep_freed_memory()


@torch.inference_mode()
def milliseconds(path: Path, layout: str) -> float:
    """Of one image in one evaluation of a tile, the mean of a few after the first."""
    loaded = network.load(path)
    model = next(iter(loaded.denoisers.values())).model.to(memory_format=LAYOUTS[layout])
    images, condition = torch.randn(TILE, *loaded.card["shape"]), torch.rand(TILE)
    model(images, condition)
    start = time.perf_counter()
    for _ in range(REPEATS):
        model(images, condition)
    return 1e3 * (time.perf_counter() - start) / (REPEATS * TILE)


def process(memory: str, threads: int) -> Executor:
    """A fresh interpreter."""
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=begin, initargs=(memory, threads))


def measure(options: argparse.Namespace) -> dict[tuple[str, str], list[float]]:
    """Milliseconds of every case, a number a round."""
    workers = {memory: process(memory, options.threads) for memory in ("given back", "kept")}
    taken: dict[tuple[str, str], list[float]] = {case: [] for case in CASES}
    for _ in trange(options.rounds, unit="round", leave=False):
        for memory, layout in CASES:
            taken[memory, layout].append(workers[memory].submit(milliseconds, options.network, layout).result())
    return taken


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", type=Path, default=COMMITTED)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--beside", type=int, default=1)
    options = parser.parse_args()
    if platform.libc_ver()[0] != "glibc":
        raise SystemExit("this C library gives freed memory back as it likes: nothing to compare")
    with ThreadPoolExecutor(options.beside) as pool:
        copies = list(pool.map(measure, [options] * options.beside))
    taken = {case: [one for copy in copies for one in copy[case]] for case in CASES}
    first = statistics.median(taken[CASES[0]])
    print(f"{options.network.name}, tiles of {TILE} images, {options.threads} threads, {options.beside} at a time")
    print(f"{'memory':12s} {'images':16s} {'ms an image':>12s} {'smallest':>10s} {'ratio':>7s}")
    for (memory, layout), found in taken.items():
        median = statistics.median(found)
        print(f"{memory:12s} {layout:16s} {median:12.3f} {min(found):10.3f} {first / median:7.2f}")


if __name__ == "__main__":
    main()
