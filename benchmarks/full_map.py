"""The full-size map of a set: noise to the noisy latents of all its training images, solved and certified.

Latents sqrt(abar) x0 + sqrt(1 - abar) eps; abar = 0.99923 is sigma 0.0139 in [0, 1], the authors' level at 10 steps on
CIFAR-10 (50,000 images). MNIST and Fashion-MNIST have 60,000.
With --state the fit goes on where it was stopped, to the same bits; seconds are then those of all its parts.

example: DPMOT_DATA=data python -m benchmarks.full_map --abar 0.9 --state results/map-0.9.safetensors
         DPMOT_DATA=data python -m benchmarks.full_map --dataset fashion_mnist --abar 0.9
"""

import argparse
import resource
import time
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.transport import latents_of
from dpmot.data import MissingData
from dpmot.plugins import find
from dpmot.runtime import seals
from dpmot.runtime.files import atomic
from dpmot.transport import SemiDiscreteProblem, SemiDiscreteSolver

SAVE_SECONDS = 20


def fit(atoms: Tensor, options: argparse.Namespace) -> None:
    """Solve, certify and print."""
    spent, before, began, saved = 0.0, None, time.monotonic(), time.monotonic()
    about = f"{options.dataset}, abar {options.abar}, {options.source}"
    if options.state and options.state.exists():
        before, texts = seals.load(options.state)
        if texts["about"] != about:
            raise SystemExit(
                f"full_map: {options.state} is of {texts['about']}, not of {about}; choose another --state"
            )
        spent = float(texts["seconds"])
        print(f"going on after {spent:.0f} s", flush=True)

    def watch(seen: dict) -> None:
        nonlocal saved
        if options.state and seen["state"] is not None and time.monotonic() - saved > SAVE_SECONDS:
            saved = time.monotonic()
            with atomic(options.state) as file:
                seals.save(file, seen["state"](), {"seconds": str(spent + saved - began), "about": about})
            print(
                f"  {spent + saved - began:.0f} s: {seen['noises'] / len(atoms):.1f} N noises, chi2 {seen['chi2']:.3f}"
            )

    problem = SemiDiscreteProblem(atoms, source_measure=options.source)
    solution = SemiDiscreteSolver(chi2=options.chi2)(problem, seed=0, callback=watch, resume=before)
    look = solution.certificate
    print(f"converged {solution.converged}{f': {solution.reason}' if solution.reason else ''}")
    print(f"chi2 {look.chi2:.4f} [{look.low:.4f}, {look.high:.4f}], target {options.chi2}")
    print(f"total variation at most {look.total_variation:.3f}")
    print(f"{look.empty_cells} cells empty, {look.empty_expected:.1f} expected of right masses")
    print(f"over groups of atoms chi2 {look.group_chi2:.5f}, at most {look.group_high:.5f}")
    print(f"fit {spent + solution.seconds - look.seconds:.0f} s with {solution.noises / len(atoms):.1f} N noises")
    print(f"certificate {look.seconds:.1f} s with {look.noises} noises")


def main() -> None:
    """Print the data's note, the certificate, the time and the peak memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=["cifar10", "fashion_mnist", "mnist"], default="cifar10")
    parser.add_argument("--abar", type=float, default=0.9)
    parser.add_argument("--source", choices=["normal", "uniform"], default="normal")
    parser.add_argument("--chi2", type=float, default=0.05)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--state", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    try:
        data = find("data", options.dataset).load()
    except (MissingData, ValueError) as error:
        raise SystemExit(f"full_map: {error}") from None
    images = data.images[data.split != "C"]
    sigma = ((1 - options.abar) / options.abar) ** 0.5
    print(f"{data.note}; {len(images)} training images; source {options.source}")
    print(f"abar {options.abar}: sigma {sigma:.4f}, {sigma / 2:.4f} in [0, 1]", flush=True)
    atoms = latents_of(images, options.abar, f"{options.dataset}_map")
    del data, images
    fit(atoms, options)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{options.threads} threads, peak memory {peak:.2f} GiB")


if __name__ == "__main__":
    main()
