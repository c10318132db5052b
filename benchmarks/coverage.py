"""Do the 95 % intervals hold the truth 95 times in 100? Simulated, where the truth is known.

Each realisation draws n generated rows of a Gaussian against one fixed reference of m rows, and a second method that
shares part of its noise with the first. Truth: FD and KD of the generated law against that reference, in closed form;
for the other metrics, which have none, the mean over all realisations (so theirs is the coverage of what n samples
give on average). Then FD of n = 1, 2, 4, 6, 8, 12 d samples: its bias falls like 1/n, so that the jackknife can remove
it, only from about 6 d on.

example: python -m benchmarks.coverage
         python -m benchmarks.coverage --realisations 200 --others 50
"""

import argparse
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
from scipy.special import softmax
from tqdm import tqdm

from dpmot import seeds
from dpmot.features import Features
from dpmot.metrics import diversity, fidelity, frechet, inception_score, kernel_distance, likelihood
from dpmot.statistics import jackknife, paired

LEVEL = 0.95
SIZES = (1, 2, 4, 6, 8, 12)  # samples a dimension


class World:
    """Two generated laws and one reference in d dimensions.

    Args:
        n, m, d: samples, reference rows, dimensions.
    """

    def __init__(self, n: int, m: int, d: int) -> None:
        self.n, self.d = n, d
        self.scale = np.linspace(0.7, 1.3, d)
        draw = seeds.generator(0, "coverage", "reference")
        self.references = {
            name: Features(values=draw.standard_normal((m, d)), extractor="x") for name in ("train", "test")
        }
        self.shifts = (np.full(d, 0.05), np.full(d, 0.08))
        self.groups = jackknife.groups(n, 20)
        self.logits = draw.standard_normal((d, 10)) / 4

    def samples(self, k: int) -> list[Features]:
        """Realisation k of both methods; nine tenths of their noise's variance is shared."""
        draw = seeds.generator(0, "coverage", k)
        shared, *own = (draw.standard_normal((self.n, self.d)) for _ in range(3))
        noises = [0.9**0.5 * shared + 0.1**0.5 * one for one in own]
        values = [shift + self.scale * noise for shift, noise in zip(self.shifts, noises, strict=True)]
        probabilities = [softmax(x @ self.logits, axis=1) for x in values]
        return [Features(values=x, extractor="x", probabilities=p) for x, p in zip(values, probabilities, strict=True)]

    def true_fd(self, which: int) -> float:
        """FD of a generated law against the reference's own moments."""
        law = frechet.gaussian_moments(self.shifts[which], np.diag(self.scale**2))
        return frechet.frechet_distance(law, frechet.moments(self.references["test"].values))

    def true_kd(self, which: int) -> float:
        """KD of a generated law N(m, S) against the reference, by the moments of Gaussians."""
        m, s, d, y = self.shifts[which], self.scale**2, self.d, self.references["test"].values
        across = _cube(y @ m / d + 1, (y**2 @ s) / d**2).mean()
        # E over y ~ N(m, S) of the cube: mu = <m, y> / d + 1 is normal, v = y'Sy / d^2 is quadratic
        mean_v, both = (s**2).sum() + (m**2 * s).sum(), (m**2).sum() * ((s**2).sum() + (m**2 * s).sum())
        both += 2 * (m**2 * s**2).sum()
        within = _cube((m**2).sum() / d + 1, (m**2 * s).sum() / d**2) + 3 * (mean_v + both / d) / d**2
        k = (y @ y.T / d + 1) ** 3
        other = (k.sum() - k.trace()) / (len(y) * (len(y) - 1))
        return within + other - 2 * across


def _cube(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """E a^3 of a normal a."""
    return mean**3 + 3 * mean * variance


def functional(module, name: str) -> Callable:
    """(value of all, values without each group) of one metric of a module with evaluate and leave_out."""

    def of(world: World, one: Features) -> tuple[float, np.ndarray]:
        whole = module.evaluate(one, world.references)
        parts = module.leave_out(one, world.references, world.groups)
        key = next(key for key in whole if key[0] == f"{name}_x" and key[1] in ("test", "none"))
        return whole[key], parts[key]

    return of


MAIN = {"fd": (frechet, True), "kd": (kernel_distance, False)}
OTHERS = {
    "is": (inception_score, True),
    "recall": (diversity, False),
    "coverage": (diversity, False),
    "fld": (likelihood, False),
}


def main_intervals(size: tuple[int, int, int], k: int) -> dict[str, list[tuple[float, float, float]]]:
    """Intervals of FD and KD of the first method, and of its difference to the second, in realisation k."""
    world = World(*size)
    first, second = world.samples(k)
    found = {}
    for name, (module, debias) in MAIN.items():
        of = functional(module, name)
        (whole, parts), (other, others) = of(world, first), of(world, second)
        one = jackknife.interval(whole, parts, level=LEVEL, debias=debias)
        two = paired.difference((whole, other), (parts, others), level=LEVEL, debias=debias)
        found[name], found[f"{name}, paired difference"] = (
            (one.low, one.value, one.high),
            (two.low, two.value, two.high),
        )
    return found


def other_intervals(size: tuple[int, int, int], k: int) -> dict[str, tuple[float, float, float]]:
    """Intervals of the other metrics of the first method in realisation k."""
    world = World(*size)
    first, _ = world.samples(k)
    found = {}
    for name, (module, debias) in OTHERS.items():
        one = jackknife.interval(*functional(module, name)(world, first), level=LEVEL, debias=debias)
        found[name] = (one.low, one.value, one.high)
    for (name, reference), values in fidelity.pointwise(first, world.references).items():
        if reference == "test":
            if values.dtype == bool:
                one = jackknife.mean_interval(values, level=LEVEL)
            else:
                leave_out = jackknife.leave_out_of_means(values, world.groups)
                one = jackknife.interval(values.mean(), leave_out, level=LEVEL, debias=False)
            found[name.removesuffix("_x")] = (one.low, one.value, one.high)
    return found


def distance_interval(size: tuple[int, int, int], k: int) -> dict[str, tuple[float, float, float]]:
    """Interval of FD of the first method in realisation k."""
    world = World(*size)
    first, _ = world.samples(k)
    one = jackknife.interval(*functional(frechet, "fd")(world, first), level=LEVEL, debias=True)
    return {"fd": (one.low, one.value, one.high)}


def report(found: list[dict], truths: dict[str, float]) -> None:
    """Print one line a metric: coverage with its own binomial interval, and the truth."""
    for name in found[0]:
        low, value, high = np.array([one[name] for one in found]).T
        truth = truths.get(name, value.mean())
        inside = (low <= truth) & (truth <= high)
        share = jackknife.share_interval(int(inside.sum()), len(inside))
        kind = "known" if name in truths else "mean over realisations"
        held = f"{100 * share.value:6.1f} % [{100 * share.low:.1f}, {100 * share.high:.1f}]"
        seen = f"mean value {value.mean():.5g}, deviation {value.std(ddof=1):.2g}"
        print(f"{name:24s} {held:24s} truth {truth:.5g} ({kind}), {seen}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--realisations", type=int, default=2000)
    parser.add_argument("--others", type=int, default=200, help="realisations of the metrics without a known truth")
    parser.add_argument("--sizes", type=int, default=500, help="realisations of FD at each number of samples")
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--reference", type=int, default=1000)
    parser.add_argument("--d", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    size = (options.n, options.reference, options.d)
    world = World(*size)
    truths = {"fd": world.true_fd(0), "kd": world.true_kd(0)}
    truths["fd, paired difference"] = world.true_fd(0) - world.true_fd(1)
    truths["kd, paired difference"] = world.true_kd(0) - world.true_kd(1)
    print(f"coverage of {100 * LEVEL:.0f} % intervals, n = {options.n}, reference {options.reference}, d = {options.d}")
    with ProcessPoolExecutor(options.workers) as pool:
        for intervals, count in ((main_intervals, options.realisations), (other_intervals, options.others)):
            jobs = pool.map(partial(intervals, size), range(count), chunksize=5)
            report(list(tqdm(jobs, total=count, mininterval=5)), truths)
        for ratio in SIZES:
            small = (ratio * options.d, options.reference, options.d)
            jobs = pool.map(partial(distance_interval, small), range(options.sizes), chunksize=5)
            found = [{f"fd, n = {ratio} d": one["fd"]} for one in tqdm(jobs, total=options.sizes, mininterval=5)]
            report(found, {f"fd, n = {ratio} d": World(*small).true_fd(0)})


if __name__ == "__main__":
    main()
