"""What does one evaluation of a network cost on a processor? Memory given back or kept, images channels first or last.

The four take turns in one process on one tile of images; medians of the rounds, and the smallest, as other work on the
machine only adds. Run two at a time to see what two jobs of an experiment do to each other.

example: python -m benchmarks.evaluation
         python -m benchmarks.evaluation --network results/digits/networks/edm.safetensors --threads 2
"""

import argparse
import statistics
import time
from pathlib import Path

import torch
from tqdm import trange

from dpmot.device import keep_freed_memory
from dpmot.diffusion import network
from dpmot.plugins import ROOT
from dpmot.tiles import TILE

COMMITTED = ROOT / "results" / "reference" / "fashion_mnist" / "weights" / "edm.safetensors"
LAYOUTS = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}
CASES = [(kept, layout) for kept in (False, True) for layout in LAYOUTS]


@torch.inference_mode()
def milliseconds(model: torch.nn.Module, images: torch.Tensor, condition: torch.Tensor) -> float:
    """Of one image in one evaluation of a tile."""
    begin = time.perf_counter()
    model(images, condition)
    return 1e3 * (time.perf_counter() - begin) / len(images)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", type=Path, default=COMMITTED)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    loaded = network.load(options.network)
    model = next(iter(loaded.denoisers.values())).model
    images, condition = torch.randn(TILE, *loaded.card["shape"]), torch.rand(TILE)
    taken: dict[tuple, list[float]] = {case: [] for case in CASES}
    for _ in trange(options.rounds, unit="round", leave=False):
        for kept, layout in CASES:
            keep_freed_memory(kept)
            model.to(memory_format=LAYOUTS[layout])
            milliseconds(model, images, condition)  # the first fetches pages and weights
            taken[kept, layout].append(milliseconds(model, images, condition))
    first = statistics.median(taken[CASES[0]])
    print(f"{options.network}: {TILE} images a tile, threads {options.threads}, medians of {options.rounds} rounds")
    print(f"{'memory':12s} {'images':16s} {'ms an image':>12s} {'smallest':>10s} {'ratio':>7s}")
    for (kept, layout), found in taken.items():
        median, memory = statistics.median(found), "kept" if kept else "given back"
        print(f"{memory:12s} {layout:16s} {median:12.3f} {min(found):10.3f} {first / median:7.2f}")


if __name__ == "__main__":
    main()
