"""Precision, recall, density and coverage: ours, torch-fidelity and prdc on the same features; and FD, KD and FLD.

Every candidate runs in a process of its own, in turn, on the same random features (n + n rows, d numbers; correlated
Gaussians). Printed: seconds (median of the rounds), peak memory above the features, and the counts behind each share,
which must agree to the last sample. Ours gives all four (k = 3 and k = 5) in one go, torch-fidelity precision and
recall (k = 3), prdc all four (k = 5). FD, KD and FLD are ours alone, in one round: the value of all samples and without
each of 20 groups, and the reference's part of the variance.

example: python -m benchmarks.metrics
         python -m benchmarks.metrics --n 2000 --d 64 --rounds 3
"""

import argparse
import multiprocessing
import statistics
from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.spent import spend


def features(n: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Generated and real rows, float32 (n, d): Gaussians whose deviations fall as those of image features do."""
    draw = np.random.default_rng(0)
    scale = (1 + np.arange(d) / 20) ** -0.5
    real, generated = (draw.standard_normal((n, d), dtype=np.float32) for _ in range(2))
    return (1.05 * generated * scale + 0.01).astype(np.float32), (real * scale).astype(np.float32)


def ours(generated: np.ndarray, real: np.ndarray, threads: int) -> dict[str, int]:
    """Counts at k = 3 (precision, recall) and k = 5 (density, coverage); all are one pass."""
    from dpmot.features import Features
    from dpmot.metrics import diversity, fidelity

    made, reference = (Features(values=values, extractor="x") for values in (generated, real))
    shares = {key: float(v.mean()) for (key, _), v in fidelity.pointwise(made, {"test": reference}).items()}
    shares |= {key: value for (key, _), value in diversity.evaluate(made, {"test": reference}).items()}
    n, m = len(generated), len(real)
    counted = {"precision": (n, 3), "recall": (m, 3), "density": (5 * n, 5), "coverage": (m, 5)}
    return {f"{name}, k = {k}": round(shares[f"{name}_x"] * most) for name, (most, k) in counted.items()}


def torch_fidelity(generated: np.ndarray, real: np.ndarray, threads: int) -> dict[str, int]:
    """Counts at k = 3."""
    import torch

    from dpmot._torchvision import make_importable

    make_importable()
    from torch_fidelity.metric_prc import prc_features_to_metric

    torch.set_num_threads(threads)
    found = prc_features_to_metric(
        torch.from_numpy(generated), torch.from_numpy(real), verbose=False, save_cpu_ram=True
    )
    return {
        "precision, k = 3": round(found["precision"] * len(generated)),
        "recall, k = 3": round(found["recall"] * len(real)),
    }


def prdc(generated: np.ndarray, real: np.ndarray, threads: int) -> dict[str, int]:
    """Counts at k = 5."""
    from prdc import compute_prdc

    found = compute_prdc(real, generated, nearest_k=5)
    return {
        "density, k = 5": round(found["density"] * 5 * len(generated)),
        "coverage, k = 5": round(found["coverage"] * len(real)),
    }


def distance(module: str, generated: np.ndarray, real: np.ndarray, threads: int) -> dict[str, int]:
    """A distance's value, without each of 20 groups too, and the derivatives by which its reference counts."""
    from threadpoolctl import threadpool_limits

    from dpmot import plugins
    from dpmot.features import Features

    metric = plugins.find("metrics", module)
    names = ("train", "test") if module == "likelihood" else ("test",)
    references = {name: Features(values=sign * real, extractor="x") for name, sign in zip(names, (-1, 1), strict=False)}
    made = Features(values=generated, extractor="x")
    with threadpool_limits(threads):
        metric.leave_out(made, references, np.arange(len(made)) % 20 + 1)  # without group 0, which is empty: all
        metric.reference_rows(made, references)
    return {}


Measured = Callable[[np.ndarray, np.ndarray, int], dict[str, int]]
CANDIDATES: dict[str, Measured] = {"ours": ours, "torch-fidelity": torch_fidelity, "prdc": prdc}
DISTANCES: dict[str, Measured] = {
    name: partial(distance, module)
    for name, module in {"FD": "frechet", "KD": "kernel_distance", "FLD": "likelihood"}.items()
}
FUNCTIONS: dict[str, Measured] = {**CANDIDATES, **DISTANCES}


def measured(name: str, n: int, d: int, threads: int, queue) -> None:
    """Run one candidate once to load its code, once for real; put (seconds, extra bytes, counts)."""
    generated, real = features(n, d)
    FUNCTIONS[name](generated[:50], real[:50], threads)
    spent = spend(lambda: FUNCTIONS[name](generated, real, threads))
    queue.put((spent.seconds, spent.memory, spent.result))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--d", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--candidates", nargs="+", choices=FUNCTIONS, default=list(FUNCTIONS))
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    found: dict[str, list] = {name: [] for name in options.candidates}
    for number in range(options.rounds):
        for name, results in found.items():
            if number and name in DISTANCES:
                continue
            queue = context.Queue()
            child = context.Process(target=measured, args=(name, options.n, options.d, options.threads, queue))
            child.start()
            results.append(queue.get())
            child.join()
    print(f"{options.n} + {options.n} rows, d = {options.d}, {options.threads} threads, median of {options.rounds}")
    base = statistics.median(seconds for seconds, _, _ in found["ours"]) if "ours" in found else None
    for name, results in found.items():
        seconds = statistics.median(one[0] for one in results)
        extra = max(one[1] for one in results)
        ratio = f"{seconds / base:5.2f} times ours" if base and name in CANDIDATES else ""
        print(f"{name:15s} {seconds:7.2f} s  {ratio:18s} {extra / 2**20:7.0f} MiB above the features")
        if results[0][2]:
            print(f"{'':15s} {', '.join(f'{key}: {value}' for key, value in results[0][2].items())}")


if __name__ == "__main__":
    main()
