"""What does ``dpmot evaluate`` cost on 50,000 samples? Seconds, and the most memory that its process held.

The images are smooth noise, of the size of CIFAR-10; what they show changes no cost but that of copies. One process
reads and measures; its peak is that of the operating system (ru_maxrss).

example: python -m benchmarks.given_samples
         python -m benchmarks.given_samples --train 0 --samples 10000
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from dpmot.seeds import generator


def smooth(n: int, side: int, purpose: str) -> np.ndarray:
    """uint8 (n, side, side, 3): noise of a quarter of the resolution, enlarged, with a little of its own on top."""
    draw = generator(0, "benchmark", purpose)
    coarse = draw.integers(0, 240, (n, side // 4, side // 4, 3), dtype=np.uint8)
    fine = draw.integers(0, 16, (n, side, side, 3), dtype=np.uint8)
    return coarse.repeat(4, axis=1).repeat(4, axis=2) + fine


def main() -> None:
    """Write the files, run the command, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for role, number in {"samples": 50_000, "reference": 10_000, "train": 50_000}.items():
        parser.add_argument(f"--{role}", type=int, default=number, help=f"images (default {number})")
    parser.add_argument("--side", type=int, default=32, help="pixels (default 32)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, command = Path(name), [sys.executable, "-m", "dpmot", "evaluate"]
        for role in ("samples", "reference", "train"):
            if number := getattr(options, role):
                np.savez(folder / f"{role}.npz", smooth(number, options.side, role))
                command += [*([] if role == "samples" else [f"--{role}"]), str(folder / f"{role}.npz")]
        began = time.perf_counter()
        subprocess.run(command, check=True, env={**os.environ, "DPMOT_CACHE": str(folder / "cache")})
        seconds, peak = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9
    numbers = ", ".join(f"{getattr(options, role)} {role}" for role in ("samples", "reference", "train"))
    print(f"{numbers}, {options.side} x {options.side} x 3: {seconds:.0f} s, at most {peak:.2f} GB")


if __name__ == "__main__":
    main()
