"""Noise-atoms per second of each kind of noise, and what its dependence costs.

All kinds take turns on the same problem in one process. `rate` is rows times atoms per second of a look (noise,
products, argmax, counts); "gemm" is the plain product with a row maximum alone, without drawing or counting.
`inflation` is I, the variance of the masses over that of independent rows, from pairs of rows inside bundles and across
them; `adjusted` is rate / I. Where the processor multiplies bfloat16 fast, recycled rows are timed in it too, as in a
fit ("recycled, rounded"). `bias` is the squared bias of the masses in chi2 against plain noise, an inner product of
deviations in two independent pairs of looks, so unbiased itself; `bias_error` is its standard error.

example: python -m benchmarks.noise --rounds 5
         python -m benchmarks.noise --shapes 10000x784
"""

import argparse
import csv
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from dpmot.seeds import generator
from dpmot.transport import SemiDiscreteProblem
from dpmot.transport.closed_form import closed_form_start
from dpmot.transport.noise import KINDS
from dpmot.transport.tally import Tally, tally

SHAPES = ("1797x64", "10000x784", "10000x3072")
BIAS_ROWS = 30  # rows per atom of a look that measures the bias
ROUNDED = "recycled, rounded"
COLUMNS = ("atoms", "dim", "kind", "rate", "inflation", "adjusted", "over_gemm", "bias", "bias_error")


def gemm(problem: SemiDiscreteProblem, rows: int = 512) -> float:
    """Noise-atoms per second of z Y^T and its row maximum."""
    y, z = problem.points.block(0, len(problem.atoms)), torch.randn(rows, problem.atoms.dim)
    started = time.perf_counter()
    (z @ y.T).amax(1)
    return rows * len(y) / (time.perf_counter() - started)


def look(problem: SemiDiscreteProblem, kind: str, rows: int, key: str) -> tuple[float, Tally]:
    """Noise-atoms per second, and the counts."""
    heights, stream = closed_form_start(problem), generator(0, "benchmark", kind, key)
    started = time.perf_counter()
    seen = tally(problem, [heights], rows, stream, noise=kind.split(",")[0], rough=kind == ROUNDED)[0]
    return seen.draws * len(problem.atoms) / (time.perf_counter() - started), seen


def bias(problem: SemiDiscreteProblem, kind: str, against: list[Tally], rows: int) -> float:
    """Squared bias of the masses in chi2."""
    looks = [look(problem, kind, rows, f"bias {k}")[1] for k in range(2)]
    gaps = [a.counts / a.draws - b.counts / b.draws for a, b in zip(looks, against, strict=True)]
    return float((gaps[0] * gaps[1] / problem.masses).sum())


def measure(shape: str, rounds: int, seconds: float, per_atom: int) -> list[dict]:
    """One row for each kind."""
    number, dim = map(int, shape.split("x"))
    atoms = generator(0, "benchmark", shape).standard_normal((number, dim), dtype=np.float32)
    problem = SemiDiscreteProblem(torch.from_numpy(atoms))
    kinds = (*KINDS, ROUNDED) if problem.rounds else KINDS
    plain = {kind: look(problem, kind, 512, "warm")[0] for kind in kinds}
    rates: dict[str, list[float]] = {kind: [] for kind in ("gemm", *kinds)}
    gemm(problem)
    for k in range(rounds):
        rates["gemm"].append(gemm(problem))
        for kind in kinds:
            rates[kind].append(look(problem, kind, max(512, int(seconds * plain[kind] / number)), str(k))[0])
    floor, rows = statistics.median(rates["gemm"]), []
    rows.append({"atoms": number, "dim": dim, "kind": "gemm", "rate": f"{floor:.3g}", "over_gemm": "1.00"})
    draws = per_atom * number
    reference = [look(problem, "plain", draws, f"reference {k}")[1] for k in range(2)]
    for kind in kinds:
        rate = statistics.median(rates[kind])
        inflation = look(problem, kind, draws, "inflation")[1].inflation(problem.masses)
        row = {"atoms": number, "dim": dim, "kind": kind, "rate": f"{rate:.3g}", "inflation": f"{inflation:.2f}"}
        row |= {"adjusted": f"{rate / inflation:.3g}", "over_gemm": f"{rate / inflation / floor:.2f}"}
        if kind != "plain":
            error = (2 * number) ** 0.5 / (draws / 2)
            row |= {"bias": f"{bias(problem, kind, reference, draws):.5f}", "bias_error": f"{error:.5f}"}
        rows.append(row)
    return rows


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), metavar="NxD", help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one look (default 1)")
    parser.add_argument("--bias-rows", type=int, default=BIAS_ROWS, help="per atom (default %(default)s)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--append", action="store_true", help="add to the file instead of writing it anew")
    parser.add_argument("--out", type=Path, default=Path("results/transport/noise.csv"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    begun = options.append and options.out.exists()
    with options.out.open("a" if begun else "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if not begun:
            writer.writeheader()
        for shape in options.shapes:
            for row in measure(shape, options.rounds, options.seconds, options.bias_rows):
                writer.writerow(row)
                print(" ".join(f"{column}={row[column]}" for column in COLUMNS if column in row), flush=True)


if __name__ == "__main__":
    main()
