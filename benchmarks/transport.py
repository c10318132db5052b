"""How fast do semi-discrete solvers reach a given error? Ours, the authors' Adam, POT's DRAG and OTT-JAX's Adam.

Same atoms sqrt(abar) x0 + sqrt(1 - abar) eps, same threads, one run after another in one process. Every solver hands in
heights with the seconds of fitting behind them; one common certificate judges them all outside the timing. A solver's
result at a target is its first heights whose chi2 is at most the target. Ours: the fit's own looks. The authors': the
looks of one run. POT and OTT-JAX: runs of several lengths, because their schedules need the length beforehand;
compilation is not timed. `seconds` of a target that was not reached says ">= the longest run".

POT and OTT-JAX are no dependencies of the project: pip install POT==0.9.7 ott-jax==0.6.0

example: python -m benchmarks.transport --cases digits-0.9 --solvers ours ott
         python -m benchmarks.transport --cap 120
"""

import argparse
import contextlib
import csv
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dpmot.seeds import generator
from dpmot.transport import SemiDiscreteProblem, SemiDiscreteSolver, certify

TARGETS = (0.05, 0.01, 0.005)
LEVELS = {"digits": (0.1, 0.5, 0.9, 0.99, 1.0)}
LENGTHS = (32, 64, 128, 256, 512, 1024, 2048)  # noises per atom of one run of a peer
COLUMNS = ("case", "atoms", "dim", "solver", "settings", "target", "seconds", "noises_per_atom", "chi2", "threads")


@dataclass(frozen=True)
class Snapshot:
    """Heights (N,) after so many seconds of fitting and so many noises."""

    seconds: float
    noises: int
    heights: Tensor


def atoms_of(case: str) -> Tensor:
    """The latents of "<data set>-<abar>"."""
    name, level = case.rsplit("-", 1)
    if name not in LEVELS:
        raise SystemExit(f'No case "{case}": choose from {", ".join(cases())}')
    from sklearn.datasets import load_digits

    images, abar = torch.from_numpy(load_digits().data).float() / 8 - 1, float(level)
    noise = generator(0, "benchmark", case).standard_normal(images.shape, dtype=np.float32)
    return abar**0.5 * images + (1 - abar) ** 0.5 * torch.from_numpy(noise)


def cases() -> list[str]:
    """Every case there is."""
    return [f"{name}-{level:g}" for name, levels in LEVELS.items() for level in levels]


def ours(atoms: Tensor, cap: float, method: str = "auto") -> Iterator[Snapshot]:
    """The looks of one fit to the smallest target; our fit ends by itself, the authors' at the cap."""
    trail: list[Snapshot] = []

    class Enough(Exception):
        pass

    def watch(seen: dict) -> None:
        trail.append(Snapshot(seen["seconds"], seen["noises"], seen["heights"]))
        if seen["seconds"] > cap:
            raise Enough

    with contextlib.suppress(Enough):
        SemiDiscreteSolver(chi2=min(TARGETS), method=method)(SemiDiscreteProblem(atoms), seed=0, callback=watch)
    yield from trail


def authors(atoms: Tensor, cap: float) -> Iterator[Snapshot]:
    """Adam, lr 0.1, 10 N noises an iteration."""
    yield from ours(atoms, cap, method="authors")


def pot(atoms: Tensor, cap: float) -> Iterator[Snapshot]:
    """DRAG with defaults but batch 512; the potential g is for |x - y|^2, so h = (g - |y|^2) / 2."""
    import ot

    number, dim = atoms.shape
    cost = float(atoms.square().sum(1).mean()) * 4
    for length in LENGTHS:
        torch.manual_seed(0)
        started = time.perf_counter()
        potential = ot.semidiscrete.solve_semidiscrete(
            atoms, lambda b: torch.randn(b, dim), max_iter=length * number // 512, batch_size=512, max_cost=cost
        )
        seconds = time.perf_counter() - started
        yield Snapshot(seconds, length * number, (potential - atoms.square().sum(1)).double() / 2)
        if 2 * seconds > cap:
            return


def ott(atoms: Tensor, cap: float) -> Iterator[Snapshot]:
    """Adam, cosine from 0.3, batch 2 N; the dual g is for |x - y|^2, so h = (g - |y|^2) / 2."""
    import jax
    import jax.numpy as jnp
    import optax
    from ott.geometry import semidiscrete_pointcloud
    from ott.problems.linear import semidiscrete_linear_problem
    from ott.solvers.linear import semidiscrete

    number = len(atoms)

    def draw(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype | None = None) -> jax.Array:
        return jax.random.normal(key, shape, dtype or jnp.float32)

    geometry = semidiscrete_pointcloud.SemidiscretePointCloud(draw, jnp.asarray(atoms.numpy()), epsilon=0.0)
    problem = semidiscrete_linear_problem.SemidiscreteLinearProblem(geometry)
    for length in LENGTHS:
        steps = length // 2
        solver = semidiscrete.SemidiscreteSolver(
            num_iterations=steps,
            batch_size=2 * number,
            optimizer=optax.adam(optax.cosine_decay_schedule(0.3, steps)),
            error_eval_every=steps,
            error_num_repeats=1,
            threshold=0.0,
        )
        run = jax.jit(lambda key, solver=solver: solver(key, problem).g).lower(jax.random.key(0)).compile()
        started = time.perf_counter()
        potential = np.array(run(jax.random.key(0)).block_until_ready())
        seconds = time.perf_counter() - started
        heights = (torch.from_numpy(potential) - atoms.square().sum(1)).double() / 2
        yield Snapshot(seconds, length * number, heights)
        if 2 * seconds > cap:
            return


SOLVERS: dict[str, Callable[[Tensor, float], Iterator[Snapshot]]] = {
    "ours": ours,
    "authors": authors,
    "pot": pot,
    "ott": ott,
}


def first_below(problem: SemiDiscreteProblem, trail: list[Snapshot], target: float) -> tuple[Snapshot, float] | None:
    """The first snapshot that the certificate puts at or under the target (bisection: errors fall along a fit)."""
    low, high, found = 0, len(trail) - 1, None
    while low <= high:
        middle = (low + high) // 2
        chi2 = certify(problem, trail[middle].heights, seed=99, target=target).chi2
        if chi2 <= target:
            found, high = (trail[middle], chi2), middle - 1
        else:
            low = middle + 1
    return found


def measure(case: str, name: str, cap: float, repeats: int, threads: int) -> list[dict]:
    """Rows of one solver on one case."""
    atoms = atoms_of(case)
    problem, about = SemiDiscreteProblem(atoms), {"case": case, "atoms": len(atoms), "dim": atoms.shape[1]}
    about |= {"solver": name, "settings": SOLVERS[name].__doc__.split(";")[0].rstrip("."), "threads": threads}
    trails = [list(SOLVERS[name](atoms, cap)) for _ in range(repeats if name == "ours" else 1)]
    rows = []
    for target in TARGETS:
        hits = [hit for trail in trails if (hit := first_below(problem, trail, target))]
        if len(hits) < len(trails):
            longest = max(trail[-1].seconds for trail in trails)
            rows.append(about | {"target": target, "seconds": f">= {longest:.3g}"})
            continue
        hits.sort(key=lambda hit: hit[0].seconds)
        snapshot, chi2 = hits[len(hits) // 2]
        spent = {"seconds": f"{snapshot.seconds:.3g}", "noises_per_atom": f"{snapshot.noises / len(atoms):.0f}"}
        rows.append(about | {"target": target, "chi2": f"{chi2:.4f}"} | spent)
    return rows


def main() -> None:
    """Append rows to the table; finished (case, solver) pairs are skipped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=cases(), metavar="CASE", help="default: %(default)s")
    parser.add_argument("--solvers", nargs="+", default=list(SOLVERS), choices=list(SOLVERS))
    parser.add_argument("--cap", type=float, default=60, help="seconds after which a peer is stopped (default 60)")
    parser.add_argument("--repeats", type=int, default=5, help="fits of ours, of which the median counts (default 5)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("results/transport/transport.csv"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    done = set()
    if options.out.exists():
        with options.out.open() as file:
            done = {(row["case"], row["solver"]) for row in csv.DictReader(file)}
    else:
        options.out.write_text(",".join(COLUMNS) + "\n")
    wanted = [(case, name) for case in options.cases for name in options.solvers if (case, name) not in done]
    for case, name in tqdm(wanted, unit="run"):
        rows = measure(case, name, options.cap, options.repeats, options.threads)
        with options.out.open("a", newline="") as file:
            csv.DictWriter(file, COLUMNS).writerows(rows)
        for row in rows:
            tqdm.write(" ".join(str(row.get(column, "")) for column in COLUMNS if column != "settings"))


if __name__ == "__main__":
    main()
