"""The problems on which semi-discrete solvers break, and how often ours claims a success that is none.

Each problem is solved from several seeds. `truth` is chi2 of the returned heights on fresh noise, 10 times the noise of
the certificate, from a stream that neither fit nor certificate uses; `largest_ratio` is the largest chi2 n / N of
the converged runs; `false` counts runs with converged = True whose
truth is above the target by more than twice its standard error.

example: python -m benchmarks.transport_hard
         python -m benchmarks.transport_hard --problems lognormal gaussians_2d --seeds 5
"""

import argparse
import csv
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dpmot.seeds import generator
from dpmot.transport import SemiDiscreteProblem, SemiDiscreteSolver
from dpmot.transport.certificate import look_size
from dpmot.transport.tally import tally

TARGET = 0.01
COLUMNS = (
    "problem", "atoms", "dim", "runs", "converged", "false", "noises_per_atom", "truth", "largest_ratio", "empty_cells",
    "seconds", "reason",
)  # fmt: skip


def _normal(name: str, *shape: int) -> Tensor:
    return torch.from_numpy(generator(0, "benchmark", name).standard_normal(shape, dtype=np.float32))


def imbalanced(size: int = 1000, dim: int = 64) -> SemiDiscreteProblem:
    """Ten clusters at distance about 11 with shares from 100 to 1, within-cluster deviation .3."""
    shares = np.geomspace(100, 1, 10)
    counts = np.maximum(1, np.round(size * shares / shares.sum())).astype(int)
    centres = _normal("centres", 10, dim).repeat_interleave(torch.from_numpy(counts), 0)
    return SemiDiscreteProblem(centres + 0.3 * _normal("imbalanced", *centres.shape))


def far_clusters(size: int = 1000, dim: int = 64) -> SemiDiscreteProblem:
    """Two equal clusters 40 apart, within-cluster deviation 1."""
    side = torch.where(torch.arange(size) % 2 == 0, 20.0, -20.0)
    atoms = _normal("far", size, dim)
    atoms[:, 0] += side
    return SemiDiscreteProblem(atoms)


def lognormal(size: int = 1000, dim: int = 64) -> SemiDiscreteProblem:
    """Norms spread by exp(N(0, 1))."""
    return SemiDiscreteProblem(_normal("lognormal", size, dim) * _normal("norms", size, 1).exp())


def duplicates(distance: float, size: int = 1000, dim: int = 64) -> SemiDiscreteProblem:
    """Five copies of every point, moved by N(0, distance^2) in every coordinate."""
    points = _normal("points", size // 5, dim).repeat_interleave(5, 0)
    return SemiDiscreteProblem(points + distance * _normal("copies", size, dim))


def gaussians_2d(size: int = 2000) -> SemiDiscreteProblem:
    """25 Gaussians of deviation .05 on a 5 x 5 grid of spacing 2."""
    grid = 2.0 * torch.cartesian_prod(torch.arange(-2.0, 3), torch.arange(-2.0, 3))
    return SemiDiscreteProblem(grid[torch.arange(size) % 25] + 0.05 * _normal("grid", size, 2))


def few_dimensions(dim: int, *, uneven: bool = False, size: int = 1000) -> SemiDiscreteProblem:
    """Gaussian atoms on a line or in the plane, with equal masses or those of `uneven_masses`."""
    atoms = _normal("few", size, dim)
    return uneven_masses(size, atoms=atoms) if uneven else SemiDiscreteProblem(atoms)


def uneven_masses(size: int = 1000, dim: int = 64, atoms: Tensor | None = None) -> SemiDiscreteProblem:
    """Masses over three decades."""
    masses = torch.logspace(0, -3, size, dtype=torch.float64)
    return SemiDiscreteProblem(_normal("uneven", size, dim) if atoms is None else atoms, masses=masses / masses.sum())


def one_heavy(size: int = 1000, dim: int = 64) -> SemiDiscreteProblem:
    """One atom has a hundred times the mass of each other."""
    masses = torch.ones(size, dtype=torch.float64)
    masses[0] = 100
    return SemiDiscreteProblem(_normal("heavy", size, dim), masses=masses / masses.sum())


PROBLEMS: dict[str, Callable[[], SemiDiscreteProblem]] = {
    "imbalanced": imbalanced,
    "far_clusters": far_clusters,
    "lognormal": lognormal,
    "duplicates_.003": lambda: duplicates(0.003),
    "duplicates_.03": lambda: duplicates(0.03),
    "duplicates_256d": lambda: duplicates(0.003, dim=256),
    "gaussians_2d": gaussians_2d,
    "line": lambda: few_dimensions(1),
    "line_uneven": lambda: few_dimensions(1, uneven=True),
    "plane": lambda: few_dimensions(2),
    "plane_uneven": lambda: few_dimensions(2, uneven=True),
    "uneven_masses": uneven_masses,
    "one_heavy": one_heavy,
}


def truth_of(problem: SemiDiscreteProblem, heights: Tensor, seed: int) -> tuple[float, float]:
    """chi2 on fresh noise and its standard error at the target."""
    draws = 10 * look_size(len(problem.atoms), TARGET)
    stream = generator(seed, "benchmark", "truth")
    seen = tally(problem, [problem.centred_heights(heights)], draws, stream, noise="mirrored")[0]
    error = math.sqrt(2 * len(problem.atoms) / draws**2 + 4 * TARGET / draws)
    return seen.chi2(problem.masses), error


def measure(name: str, seeds: int, max_noises: int | None) -> dict:
    """One row: medians over the seeds."""
    problem, rows = PROBLEMS[name](), []
    number = len(problem.atoms)
    for seed in tqdm(range(seeds), desc=name, unit="run", leave=False):
        started = time.perf_counter()
        solution = SemiDiscreteSolver(chi2=TARGET, max_noises=max_noises and max_noises * number)(problem, seed=seed)
        seconds = time.perf_counter() - started
        truth, error = truth_of(problem, solution.potential.heights, seed)
        rows.append((solution, truth, solution.converged and truth - 2 * error > TARGET, seconds))
    middle = {
        "noises_per_atom": statistics.median(row[0].noises / number for row in rows),
        "truth": statistics.median(row[1] for row in rows),
        "seconds": statistics.median(row[3] for row in rows),
    }
    return {
        "problem": name,
        "atoms": number,
        "dim": problem.atoms.dim,
        "runs": seeds,
        "converged": sum(row[0].converged for row in rows),
        "false": sum(row[2] for row in rows),
        "largest_ratio": f"{max((row[0].noises / number * row[1] for row in rows if row[0].converged), default=0):.3g}",
        "empty_cells": max(row[0].certificate.empty_cells for row in rows),
        "reason": next((row[0].reason for row in rows if row[0].reason), ""),
    } | {name: f"{value:.3g}" for name, value in middle.items()}


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS), choices=list(PROBLEMS), metavar="PROBLEM")
    parser.add_argument("--seeds", type=int, default=25, help="runs of each problem (default 25: 325 in all)")
    parser.add_argument("--max-noises", type=int, help="budget of a fit, per atom (default: the solver's)")
    parser.add_argument("--out", type=Path, default=Path("results/transport/hard.csv"))
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in options.problems:
        rows.append(measure(name, options.seeds, options.max_noises))
        print(*(f"{key}={value}" for key, value in rows[-1].items()), flush=True)
        with options.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
