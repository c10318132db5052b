"""How fast do semi-discrete solvers reach a given error? Ours, the authors' Adam, POT's DRAG and OTT-JAX's Adam.

Same atoms sqrt(abar) x0 + sqrt(1 - abar) eps, same threads, one fit after another, each in a process of its own. Every
solver hands in heights with the seconds of *fitting* behind them (imports, compilation and certificate are not timed);
one common certificate judges them all outside the timing. A solver's result at a target is its first heights whose chi2
is at most the target.

Ours and the authors': the looks along one fit. POT and OTT-JAX need the length of their schedule beforehand: fits of
several lengths (`lengths`, noises per atom; doubled after the last that is given), until the smallest target is met or
the next length would pass the cap.
A target that was not reached says ">= seconds of the longest fit". A peer's time is that of the shortest length tried
that reaches the target. `whole_fit` is our own fit to .01 to its end, past the first heights under the target, because
a certificate shall confirm them; a median where that of the fits is one. `memory` is the peak of the process in MB.
`products`: what the fit multiplies in; ours rounds where the processor has bfloat16 (see `dpmot.transport.noise`).
`empty_cells` and `empty_expected` are those of the last heights, on the noise of their certificate.

POT and OTT-JAX come with the extra: pip install -e '.[bench]' (measured: POT 0.9.7.post1, ott-jax 0.6.0, jax 0.10.2).

example: python -m benchmarks.transport --cases digits-0.9 --solvers ours ott
         python -m benchmarks.transport --cap 120
         python -m benchmarks.transport --cases cifar10_50000-0.9 --solvers ours --repeats 1
"""

import argparse
import contextlib
import csv
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dpmot.plugins import find
from dpmot.seeds import generator
from dpmot.transport import SemiDiscreteProblem, SemiDiscreteSolver, certify
from dpmot.transport.near_duplicates import near_duplicates
from dpmot.transport.solver import Report

TARGETS = (0.05, 0.01, 0.005)
CASES = (
    *(f"digits-{level}" for level in (0.1, 0.5, 0.9, 0.99, 1.0)),
    *(f"fashion_mnist-{level}" for level in (0.5, 0.9, 0.99)),
    "cifar10-0.9",
    "cifar10_50000-0.9",
)
ATOMS = 10_000  # of the larger sets, unless the case says otherwise
ENDLESS = 10**15  # noises: only the cap ends the authors' fit
MANY = 20_000  # atoms: solved to the first target only
SHORT = 60.0  # seconds: fits of ours that take longer run once
COLUMNS = (
    "case", "atoms", "dim", "solver", "settings", "target", "seconds", "noises_per_atom", "chi2", "ratio", "fits",
    "lengths", "cap", "whole_fit", "memory", "certificate_seconds", "threads", "products", "empty_cells",
    "empty_expected",
)  # fmt: skip


@dataclass(frozen=True)
class Snapshot:
    """Heights (N,) after so many seconds of fitting and so many noises."""

    seconds: float
    noises: int
    heights: Tensor


def atoms_of(case: str) -> Tensor:
    """The latents of "<data set>-<abar>" or "<data set>_<N>-<abar>", float32 (N, d)."""
    if case not in CASES:
        raise SystemExit(f'No case "{case}": choose from {", ".join(CASES)}')
    name, level = case.rsplit("-", 1)
    name, number = (name[:-6], 50_000) if name.endswith("_50000") else (name, ATOMS)
    if name == "digits":
        from sklearn.datasets import load_digits

        images = load_digits().data.astype(np.float32) / 8 - 1
    else:
        images = find("data", name).load().images[:number]
    return latents_of(images, float(level), case)


def latents_of(images: np.ndarray, abar: float, case: str) -> Tensor:
    """sqrt(abar) x0 + sqrt(1 - abar) eps of uint8 images, or of floats in [-1, 1], float32 (N, d)."""
    atoms, rng = torch.empty(len(images), images[0].size), generator(0, "benchmark", case)
    for i in range(0, len(images), 1000):
        block = images[i : i + 1000].reshape(-1, atoms.shape[1])
        block = block.astype(np.float32) / 127.5 - 1 if block.dtype == np.uint8 else block
        noise = rng.standard_normal(block.shape, dtype=np.float32)
        atoms[i : i + 1000] = torch.from_numpy(abar**0.5 * block + (1 - abar) ** 0.5 * noise)
    return atoms


def ours(atoms: Tensor, targets: list[float], cap: float, lengths: Iterable[int], seed: int) -> Iterator[Snapshot]:
    """Defaults; the looks of one fit to the smallest target."""
    yield from _watched(atoms, targets, cap, "auto", seed)


def authors(atoms: Tensor, targets: list[float], cap: float, lengths: Iterable[int], seed: int) -> Iterator[Snapshot]:
    """Adam, lr 0.1, 10 N noises an iteration; the looks of one fit."""
    yield from _watched(atoms, targets, cap, "authors", seed)


class _Enough(Exception):
    """The cap is reached."""


def _watched(atoms: Tensor, targets: list[float], cap: float, method: str, seed: int) -> list[Snapshot]:
    trail: list[Snapshot] = []
    started = time.perf_counter()
    problem = SemiDiscreteProblem(atoms)
    before = time.perf_counter() - started

    def watch(seen: Report) -> None:
        if seen["heights"] is not None:
            trail.append(Snapshot(before + seen["seconds"], seen["noises"], seen["heights"]))
        if seen["seconds"] > cap:
            raise _Enough

    budget = ENDLESS if method == "authors" else None
    solver = SemiDiscreteSolver(chi2=min(targets), method=method, max_noises=budget)
    with contextlib.suppress(_Enough):
        solver(problem, seed=seed, callback=watch)
    return trail


def _not_shifted(atoms: Tensor) -> Tensor:
    """g of |x - y|^2 at h = 0: where the authors' solver starts, and far closer than the peers' own start, g = 0."""
    return atoms.square().sum(1)


def _heights(potential: Tensor, atoms: Tensor) -> Tensor:
    return (potential - _not_shifted(atoms)).double() / 2


def pot(atoms: Tensor, targets: list[float], cap: float, lengths: Iterable[int], seed: int) -> Iterator[Snapshot]:
    """DRAG from h = 0, batch 512, three times its default rate; its g is for |x - y|^2, so h = (g - |y|^2) / 2."""
    import ot

    number, dim = atoms.shape
    cost = float(atoms.square().sum(1).mean()) * 4

    def solve(steps: int) -> Tensor:
        torch.manual_seed(seed)
        options = {"max_iter": steps, "batch_size": 512, "max_cost": cost, "init_potential": _not_shifted(atoms)}
        options["lr0"] = 3 * (number * 512) ** 0.5
        return ot.semidiscrete.solve_semidiscrete(atoms, lambda b: torch.randn(b, dim), **options)

    solve(2)
    for length in lengths:
        started = time.perf_counter()
        potential = solve(max(1, length * number // 512))
        seconds = time.perf_counter() - started
        yield Snapshot(seconds, length * number, _heights(potential, atoms))


def ott(atoms: Tensor, targets: list[float], cap: float, lengths: Iterable[int], seed: int) -> Iterator[Snapshot]:
    """Adam from h = 0, cosine from rms |y - mean| max(.02, 2.56 / length), batch 1024 or 2500 from 5,000 atoms.

    Its g is for |x - y|^2, so h = (g - |y|^2) / 2. Of the rates and batches tried on digits and Fashion-MNIST (abar .9)
    the best at each length; from g = 0, its own start, it took three times as long on digits and on larger sets did not
    arrive.
    """
    import jax
    import jax.numpy as jnp
    import optax
    from ott.geometry import semidiscrete_pointcloud
    from ott.problems.linear import semidiscrete_linear_problem
    from ott.solvers.linear import semidiscrete

    number, rms = len(atoms), float((atoms - atoms.mean(0)).square().sum(1).mean().sqrt())
    batch, first = 1024 if number < 5000 else 2500, jnp.asarray(_not_shifted(atoms).numpy())

    def draw(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype | None = None) -> jax.Array:
        return jax.random.normal(key, shape, dtype or jnp.float32)

    geometry = semidiscrete_pointcloud.SemidiscretePointCloud(draw, jnp.asarray(atoms.numpy()), epsilon=0.0)
    problem = semidiscrete_linear_problem.SemidiscreteLinearProblem(geometry)
    for length in lengths:
        steps = max(1, length * number // batch)
        solver = semidiscrete.SemidiscreteSolver(
            num_iterations=steps,
            batch_size=batch,
            optimizer=optax.adam(optax.cosine_decay_schedule(rms * max(0.02, 2.56 / length), steps)),
            error_eval_every=steps,
            error_num_repeats=1,
            threshold=0.0,
        )
        run = jax.jit(lambda key, g, solver=solver: solver(key, problem, g_init=g).g)
        run = run.lower(jax.random.key(seed), first).compile()
        started = time.perf_counter()
        potential = np.array(run(jax.random.key(seed), first).block_until_ready())
        seconds = time.perf_counter() - started
        yield Snapshot(seconds, length * number, _heights(torch.from_numpy(potential), atoms))


SOLVERS: dict[str, Callable[..., Iterator[Snapshot]]] = {"ours": ours, "authors": authors, "pot": pot, "ott": ott}
PEERS = ("pot", "ott")


def whole_fit(atoms: Tensor, target: float, fits: int) -> float:
    """Seconds of our own fit to that target, which goes on until a certificate is likely to confirm it, a median."""
    seconds = []
    for seed in range(fits):
        started = time.perf_counter()
        solution = SemiDiscreteSolver(chi2=target)(SemiDiscreteProblem(atoms), seed=seed)
        seconds.append(time.perf_counter() - started - solution.certificate.seconds)
    return statistics.median(seconds)


def longer(lengths: Sequence[int], length: int) -> int:
    """The length to try after this one: the next of those given, or twice as long."""
    return min((one for one in lengths if one > length), default=2 * length)


def growing(lengths: Sequence[int]) -> Iterator[int]:
    """From the shortest of those given to ever longer ones."""
    length = min(lengths)
    while True:
        yield length
        length = longer(lengths, length)


def first_below(judge: Callable[[int], float], number: int, target: float) -> int | None:
    """The first of so many snapshots that the certificate puts at or under the target (errors fall along a fit)."""
    low, high, found = 0, number - 1, None
    while low <= high:
        middle = (low + high) // 2
        if judge(middle) <= target:
            found, high = middle, middle - 1
        else:
            low = middle + 1
    return found


def measure(case: str, name: str, options: argparse.Namespace) -> list[dict]:
    """Rows of one solver on one case."""
    atoms = atoms_of(case)
    problem = SemiDiscreteProblem(atoms)
    targets = list(TARGETS[:1] if len(atoms) > MANY else options.targets)
    about = {"case": case, "atoms": len(atoms), "dim": atoms.shape[1], "solver": name, "threads": options.threads}
    about["products"] = "bfloat16" if name == "ours" and near_duplicates(problem).rounds else "float32"
    about |= {"settings": str(SOLVERS[name].__doc__).splitlines()[0].split(";")[0].rstrip("."), "cap": options.cap}
    fits, tried = [], []
    for seed in range(options.repeats if name == "ours" else 1):
        trail: list[Snapshot] = []
        seen: dict[int, float] = {}

        def judge(k: int, trail: list[Snapshot] = trail, seen: dict[int, float] = seen) -> float:
            if k not in seen:
                seen[k] = certify(problem, trail[k].heights, seed=99, target=min(targets)).chi2
            return seen[k]

        for snapshot in SOLVERS[name](atoms, targets, options.cap, growing(options.lengths), seed):
            trail.append(snapshot)
            if name in PEERS:
                tried.append(snapshot.noises // len(atoms))
                next_one = snapshot.seconds * longer(options.lengths, tried[-1]) / tried[-1]
                if judge(len(trail) - 1) <= min(targets) or next_one > options.cap:
                    break
        fits.append((trail, judge))
        if trail[-1].seconds > SHORT:
            break
    about |= {"fits": len(fits), "lengths": " ".join(map(str, tried))}
    if name == "ours":
        about["whole_fit"] = f"{whole_fit(atoms, 0.01, len(fits)):.3g}" if 0.01 in targets else ""
    rows = []
    for target in targets:
        hits = []
        for trail, judge in fits:
            if name in PEERS:  # each length is a fit of its own, judged already
                k = next((k for k in range(len(trail)) if judge(k) <= target), None)
            else:
                k = first_below(judge, len(trail), target)
            if k is not None:
                hits.append((trail[k].seconds, trail[k].noises / len(atoms), judge(k)))
        if len(hits) < len(fits):
            longest = max(trail[-1].seconds for trail, _ in fits)
            rows.append(about | {"target": target, "seconds": f">= {longest:.3g}"})
            continue
        seconds, noises, chi2 = (statistics.median(hit[k] for hit in hits) for k in range(3))
        ratio = statistics.median(hit[1] * hit[2] for hit in hits)
        spent = {"seconds": f"{seconds:.3g}", "noises_per_atom": f"{noises:.1f}", "chi2": f"{chi2:.4f}"}
        rows.append(about | {"target": target, "ratio": f"{ratio:.3f}"} | spent)
    last = certify(problem, fits[0][0][-1].heights, seed=98, target=min(targets))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    if options.trail:
        _write_trail(options.trail, about, fits[0], options.snapshots)
    also = {"memory": f"{memory:.0f}", "certificate_seconds": f"{last.seconds:.2f}"}
    also |= {"empty_cells": str(last.empty_cells), "empty_expected": f"{last.empty_expected:.2f}"}
    return [row | also for row in rows]


def _write_trail(path: Path, about: dict, fit: tuple[list[Snapshot], Callable[[int], float]], most: int) -> None:
    """The error along the first fit, for the figure: at most so many snapshots, evenly in their logarithm."""
    trail, judge = fit
    chosen = sorted({round(k) for k in np.geomspace(1, len(trail), min(most, len(trail)))})
    rows = [(about["case"], about["solver"], trail[k - 1], judge(k - 1)) for k in chosen]
    with path.open("a", newline="") as file:
        for case, solver, snapshot, chi2 in rows:
            noises = f"{snapshot.noises / len(snapshot.heights):.2f}"
            csv.writer(file).writerow([case, solver, f"{snapshot.seconds:.4g}", noises, f"{chi2:.5f}"])


def main() -> None:
    """Append rows to the table; finished (case, solver) pairs are skipped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=list(CASES), metavar="CASE", help="default: %(default)s")
    parser.add_argument("--solvers", nargs="+", default=list(SOLVERS), choices=list(SOLVERS))
    parser.add_argument("--cap", type=float, default=60, help="seconds after which a peer is stopped (default 60)")
    parser.add_argument("--repeats", type=int, default=5, help="fits of ours, of which the median counts (default 5)")
    help_ = "noises per atom of the peers' fits (default: %(default)s), then doubling"
    parser.add_argument("--lengths", type=int, nargs="+", default=[8], help=help_)
    parser.add_argument("--targets", type=float, nargs="+", default=list(TARGETS), help="of chi2; default: %(default)s")
    parser.add_argument("--snapshots", type=int, default=12, help="of a fit in the figure, each certified (default 12)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("results/transport/transport.csv"))
    parser.add_argument("--trail", type=Path, help="default: trail.csv beside --out")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.trail = options.trail or options.out.with_name("trail.csv")
    if options.one:
        print(json.dumps(measure(options.cases[0], options.solvers[0], options)))
        return
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for path, columns in ((options.out, COLUMNS), (options.trail, ("case", "solver", "seconds", "noises", "chi2"))):
        if not path.exists():
            path.write_text(",".join(columns) + "\n")
        with path.open() as file:
            if next(csv.reader(file)) != list(columns):
                raise SystemExit(f"{path} has other columns than {', '.join(columns)}: move it away, or choose --out")
    with options.out.open() as file:
        done = {(row["case"], row["solver"]) for row in csv.DictReader(file)}
    wanted = [(case, name) for case in options.cases for name in options.solvers if (case, name) not in done]
    for case, name in tqdm(wanted, unit="run"):
        command = [sys.executable, "-m", "benchmarks.transport", *sys.argv[1:], "--one", "--cases", case]
        child = subprocess.run([*command, "--solvers", name], stdout=subprocess.PIPE, text=True, check=True)
        rows = json.loads(child.stdout.splitlines()[-1])
        with options.out.open("a", newline="") as file:
            csv.DictWriter(file, COLUMNS).writerows(rows)
        for row in rows:
            tqdm.write(" ".join(str(row.get(column, "")) for column in COLUMNS if column != "settings"))


if __name__ == "__main__":
    main()
