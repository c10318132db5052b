"""Atoms as recipes: bytes stored, the same bits everywhere, memory and time of a fit and of a map.

stored     bytes of the recipe and of solved heights over those of the uint8 images.
bits       SHA-256 of all atoms from three processes: two sizes of blocks, one and two threads.
speed      normals a second of the recipe's generator, and of reading a recipe's rows.
in_memory  CIFAR-10, all training images, sqrt(abar) x0 + sqrt(1 - abar) eps: a fit with its certificate, atoms kept as
           floats as far as the default memory goes; seconds, and peak memory of the whole process.
streamed   the same with no atom in memory: computed anew in every pass.
mapped     synthetic images on disk: the cells of a few noises under zero heights; seconds and peak memory.

Each part runs in its own process; its peak is the kernel's high-water mark (Linux), Python and torch included.

example: DPMOT_DATA=data python -m benchmarks.atoms
         python -m benchmarks.atoms --parts mapped --images 70000 --side 256 --noises 64 --scratch /tmp
"""

import argparse
import multiprocessing
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from dpmot.data import MissingData, cifar10
from dpmot.runtime import seals
from dpmot.seeds import generator, normal, sample_seeds
from dpmot.transport import BrenierPotential, MappedImages, NoisyImages, SemiDiscreteProblem, SemiDiscreteSolver
from dpmot.transport.atoms import blocks
from dpmot.transport.problem import MEMORY

SIZES = ((2730, 1), (1000, 2), (2730, 2))  # atoms of a block and threads, of the three processes
CHANNELS, COARSE = 3, 8  # synthetic images: COARSE x COARSE random colours, enlarged


def recipe(images: np.ndarray | MappedImages, abar: float) -> NoisyImages:
    """Latents at the level abar of a VP chain."""
    return NoisyImages(images, (1 - abar) ** 0.5, 0, scale=abar**0.5)


def digest(path: Path, options: argparse.Namespace, size: int, threads: int) -> str:
    """SHA-256 of all atoms, read in blocks of a size."""
    torch.set_num_threads(threads)
    bits = sha256()
    for _, _, y in blocks(recipe(np.load(path), options.abar), size):
        bits.update(y.numpy().tobytes())
    return bits.hexdigest()


def fit(path: Path, options: argparse.Namespace, memory: int) -> str:
    """Solve and certify."""
    started, used = time.perf_counter(), time.process_time()
    problem = SemiDiscreteProblem(recipe(np.load(path), options.abar), memory=memory)
    solution = SemiDiscreteSolver(chi2=options.chi2)(problem, seed=0)
    look = solution.certificate
    return (
        f"{time.perf_counter() - started:.0f} s, {time.process_time() - used:.0f} s of all cores, "
        f"{solution.noises} noises, "
        f"chi2 {look.chi2:.4f} [{look.low:.4f}, {look.high:.4f}], "
        f"{'converged' if solution.converged else solution.reason}"
    )


def mapped(path: Path, options: argparse.Namespace) -> str:
    """Cells of a few noises."""
    started, used = time.perf_counter(), time.process_time()
    images = MappedImages(path)
    potential = BrenierPotential(recipe(images, options.abar), torch.zeros(len(images)))
    made = time.perf_counter() - started
    noise = normal(sample_seeds(0, options.noises), images.shape[1:], "prior")
    cells = potential.cell(noise)
    return (
        f"{len(images)} x {potential.atoms.dim}, {options.noises} noises to {len(cells.unique())} cells: "
        f"mean of the atoms {made:.0f} s, cells {time.perf_counter() - started - made:.0f} s, "
        f"{time.process_time() - used:.0f} s of all cores"
    )


def speed(options: argparse.Namespace) -> str:
    """One thread and all of them, on 2,000 rows of 3072."""
    told, images = [], np.zeros((2000, 3072), np.uint8)
    for threads in (1, options.threads):
        torch.set_num_threads(threads)
        started = time.perf_counter()
        recipe(images, options.abar).block(0, len(images))
        told.append(f"{images.size / (time.perf_counter() - started) / 1e6:.0f} million/s on {threads}")
    return f"rows of a recipe: {', '.join(told)} threads"


def apart(function: Callable[..., Any], *arguments: object) -> tuple[Any, int]:
    """The result in a process of its own, and its peak memory in MiB."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    child = context.Process(target=_told, args=(queue, function, *arguments))
    child.start()
    while child.is_alive() and queue.empty():
        time.sleep(0.05)
    if queue.empty():
        raise SystemExit(f"atoms: {function.__name__} ended without a result, status {child.exitcode}")
    result = queue.get()
    child.join()
    return result


def _told(queue, function, *arguments) -> None:
    for one in arguments:
        if isinstance(one, argparse.Namespace):
            torch.set_num_threads(one.threads)
    result = function(*arguments)
    queue.put((result, peak()))


def peak() -> int:
    """Most memory that this process has had, in MiB; Linux. `getrusage` would count its parent's too."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) // 1024


def written(path: Path, number: int, side: int) -> None:
    """Synthetic images, one after the other."""
    shape = (number, CHANNELS, side, side)
    file = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    draw = generator(0, "benchmark", "mapped")
    for i in range(0, number, 100):
        colours = draw.integers(0, 256, (len(file[i : i + 100]), CHANNELS, COARSE, COARSE), dtype=np.uint8)
        file[i : i + 100] = colours.repeat(side // COARSE, 2).repeat(side // COARSE, 3)
    file.flush()


def stored(path: Path, folder: Path) -> str:
    """Bytes on disk."""
    images = np.load(path, mmap_mode="r")
    heights = folder / "transport.safetensors"
    seals.save(heights, {"cifar10": torch.zeros(len(images), dtype=torch.float64)}, {})
    total = path.stat().st_size + heights.stat().st_size
    return f"{total / 1e6:.1f} MB with heights, {total / images.size:.4f} times the uint8 images {images.shape}"


def main() -> None:
    """Print the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ("stored", "bits", "speed", "in_memory", "streamed", "mapped")
    parser.add_argument("--parts", nargs="+", choices=names, default=list(names))
    parser.add_argument("--abar", type=float, default=0.9)
    parser.add_argument("--chi2", type=float, default=0.05)
    parser.add_argument("--atoms", type=int, default=50_000, help="of CIFAR-10 (default %(default)s)")
    parser.add_argument("--images", type=int, default=70_000, help="of the mapped set (default %(default)s)")
    parser.add_argument("--side", type=int, default=256, help="of a mapped image, a multiple of 8")
    parser.add_argument("--noises", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--scratch", type=Path, help="folder for the mapped file, 13.8 GB by default")
    options = parser.parse_args()
    with TemporaryDirectory(dir=options.scratch) as name:
        folder = Path(name)
        path = folder / "cifar10.npy"
        if set(options.parts) - {"mapped", "speed"}:
            try:
                data = cifar10.load()
            except MissingData as error:
                raise SystemExit(f"atoms: {error}") from None
            np.save(path, data.images[data.split != "C"][: options.atoms])
            del data
        for part in options.parts:
            print(f"{part}: {report(part, path, folder, options)}", flush=True)


def report(part: str, path: Path, folder: Path, options: argparse.Namespace) -> str:
    """One line."""
    if part == "stored":
        return stored(path, folder)
    if part == "speed":
        return apart(speed, options)[0]
    if part == "bits":
        digests = [apart(digest, path, options, size, threads)[0] for size, threads in SIZES]
        if len(set(digests)) > 1:
            raise SystemExit(f"atoms: three processes gave other bits: {digests}")
        return f"three processes, blocks of {SIZES[0][0]} and {SIZES[1][0]}: {digests[0][:16]} each time"
    if part == "mapped":
        large = folder / "mapped.npy"
        written(large, options.images, options.side)
        result, most = apart(mapped, large, options)
    else:
        result, most = apart(fit, path, options, 0 if part == "streamed" else MEMORY)
    return f"{result}, peak {most} MiB, {options.threads} threads"


if __name__ == "__main__":
    main()
