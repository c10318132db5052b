"""Do the 95 % intervals hold the truth 95 times in 100? Simulated, where the truth is known.

The data are a mixture of ten Gaussians, and every sample of real images is stratified, as the splits are: it holds each
class in its share. Each realisation draws the references, a floor (another real sample), and two methods that share
nine tenths of their noise, one near the data and one far from it; their samples are independent draws.

Truth: KD between the laws in closed form; FD of the law against references of this size, its mean over 4,000 of them;
of the paired difference, that against the realisation's own reference, which both methods meet; FLD, the mean over all
realisations. Recall, coverage, precision and density ask about the reference's images: theirs is one fixed reference,
and the mean over realisations. Then FD in 2 d dimensions of n = 1, 2, 4, 6, 8, 12 samples a dimension: only from about
6 on does its bias fall like 1/n, so that the jackknife can remove it. Last FD of features with heavy tails, beside the
excess kurtosis by which the remark tells them (median over the realisations).

example: python -m benchmarks.coverage
         python -m benchmarks.coverage --realisations 200 --others 50
"""

import argparse
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from itertools import product

import numpy as np
from scipy.special import softmax
from tqdm import tqdm

from dpmot import seeds
from dpmot.evaluation.estimates import Measurement, measure, real_groups
from dpmot.features import Features
from dpmot.metrics import frechet
from dpmot.statistics import jackknife, paired
from dpmot.statistics.jackknife import Estimate

CLASSES, SPREAD = 10, 1.2
SPACE = "classifier"  # a name that features must have
SIZES = (1, 2, 4, 6, 8, 12)  # samples a dimension
TAILS = ("normal", "laplace", "t8", "t5", "t4", "t3", "elliptical t8", "elliptical t5", "elliptical t3")
LAWS = {"floor": "real", "near": "near", "far": "far"}


class World:
    """The law of the data, N(mu_c, diag(s)) of equal shares, and two generated laws N(a mu_c + b, diag(c s)).

    Args:
        n, m, d: samples, reference rows, dimensions.
    """

    def __init__(self, n: int, m: int, d: int) -> None:
        self.n, self.m, self.d = n, m, d
        draw = seeds.generator(0, "coverage", "world")
        means, scale = SPREAD * draw.standard_normal((CLASSES, d)), np.linspace(0.7, 1.3, d)
        self.laws = {
            "real": (means, scale**2),
            "near": (0.97 * means + 0.1, (1.05 * scale) ** 2),
            "far": (0.8 * means + 0.3, (1.3 * scale) ** 2),
        }
        self.logits = draw.standard_normal((d, CLASSES)) / 4

    def real(self, draw: np.random.Generator, number: int) -> Features:
        """A stratified sample of the data, in random order."""
        means, variance = self.laws["real"]
        labels = draw.permutation(np.arange(number) % CLASSES)
        return self._features(means[labels] + np.sqrt(variance) * draw.standard_normal((number, self.d)), labels)

    def methods(self, draw: np.random.Generator) -> dict[str, Features]:
        """Independent samples of both methods, which share classes and nine tenths of their noise's variance."""
        labels = draw.integers(0, CLASSES, self.n)
        shared, *own = (draw.standard_normal((self.n, self.d)) for _ in range(3))
        noises = [0.9**0.5 * shared + 0.1**0.5 * one for one in own]
        laws = {name: self.laws[name] for name in ("near", "far")}
        return {
            name: self._features(means[labels] + np.sqrt(variance) * noise, None)
            for (name, (means, variance)), noise in zip(laws.items(), noises, strict=True)
        }

    def _features(self, values: np.ndarray, labels: np.ndarray | None) -> Features:
        probabilities = softmax(values @ self.logits, axis=1)
        return Features(values=values, extractor=SPACE, labels=labels, probabilities=probabilities)

    def fd(self, name: str, reference: Features) -> float:
        """FD of a law against a reference's own moments."""
        means, variance = self.laws[name]
        covariance = np.cov(means, rowvar=False, bias=True) + np.diag(variance)
        law = frechet.gaussian_moments(means.mean(axis=0), covariance)
        return frechet.frechet_distance(law, frechet.moments(reference.values))

    def kd(self, name: str) -> float:
        """KD between a law and the data's."""
        law, real = self.laws[name], self.laws["real"]
        return _kernel(law, law) + _kernel(real, real) - 2 * _kernel(law, real)

    def kd_against(self, name: str, reference: Features) -> float:
        """KD of a law against the reference's rows, without the part that is the same for every law."""
        (means, variance), y = self.laws[name], reference.values
        across = [_cube(y @ mean / self.d + 1, y**2 @ variance / self.d**2).mean() for mean in means]
        return _kernel(self.laws[name], self.laws[name]) - 2 * float(np.mean(across))


def _cube(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """E a^3 of a normal a."""
    return mean**3 + 3 * mean * variance


def _kernel(first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]) -> float:
    """E k(x, y) of independent x and y of two mixtures, each of means (K, d) and variances (d,)."""
    (own, s), (other, t), d = first, second, len(first[1])
    found = []
    for m, w in product(own, other):
        mean, variance = m @ w / d + 1, (m**2 @ t) / d**2  # of <m, y> / d + 1
        given = s @ (t + w**2) / d**2  # the mean of the variance of <x, y> / d given y
        found.append(_cube(mean, variance) + 3 * (mean * given + 2 * (m * s) @ (w * t) / d**3))
    return float(np.mean(found))


@cache
def world(size: tuple[int, int, int]) -> World:
    """One world for each process."""
    return World(*size)


def main_intervals(size: tuple[int, int, int], k: int) -> dict[str, Estimate]:
    """FD and KD of the floor and of both methods, and of the methods' difference less its truth, in realisation k."""
    here, draw = world(size), seeds.generator(0, "coverage", k)
    test, floor = here.real(draw, here.m), here.real(draw, here.n)
    samples, kept = here.methods(draw), {}
    found: dict[str, Estimate] = {}
    names, references = ["frechet", "kernel_distance"], {SPACE: {"test": test}}
    for name, one in {"floor": floor, **samples}.items():
        real = name == "floor"
        groups = real_groups(one.labels, len(one)) if real else jackknife.groups(len(one))
        for row in measure({SPACE: one}, references, groups, names=names, real=real):
            metric = row.metric.removesuffix(f"_{SPACE}")
            found[f"{metric}, {name}"], kept[metric, name] = _interval(row), row
    found = {name: one for name, one in found.items() if not name.startswith("plain")}
    for metric, truth in (("fd", here.fd), ("kd", here.kd_against)):
        near, far = (kept[metric, name] for name in ("near", "far"))
        difference = paired.difference(
            (near.full, far.full), (near.leave_out, far.leave_out), debias=frechet.DEBIAS and metric == "fd"
        )
        found[f"{metric}, near - far"] = _less(difference, truth("near", test) - truth("far", test))
    return found


def _interval(row: Measurement) -> Estimate:
    if row.estimate is None:
        raise ValueError(f"{row.metric} has no value: {row.remark}")
    return row.estimate


def _less(one: Estimate, truth: float) -> Estimate:
    return Estimate(one.value - truth, one.low - truth, one.high - truth)


def likelihood_intervals(size: tuple[int, int, int], k: int) -> dict[str, Estimate]:
    """FLD in realisation k, whose training and held-out images are new."""
    here, draw = world(size), seeds.generator(0, "coverage", "fld", k)
    references = {SPACE: {name: here.real(draw, here.m) for name in ("train", "test")}}
    samples = {"floor": here.real(draw, here.n), **here.methods(draw)}
    found = {}
    for name, one in samples.items():
        groups = real_groups(one.labels, len(one)) if name == "floor" else jackknife.groups(len(one))
        (row,) = measure({SPACE: one}, references, groups, names=["likelihood"], real=name == "floor")
        found[f"fld, {name}"] = _interval(row)
    return found


def share_intervals(size: tuple[int, int, int], k: int) -> dict[str, Estimate]:
    """Metrics that ask about one fixed reference, and the Inception score, in realisation k."""
    here, draw = world(size), seeds.generator(0, "coverage", k)
    references = {SPACE: {"test": here.real(seeds.generator(0, "coverage", "reference"), here.m)}}
    samples, names = {"floor": here.real(draw, here.n), **here.methods(draw)}, ["fidelity", "diversity"]
    found: dict[str, Estimate] = {}
    for name in ("floor", "near"):
        one = samples[name]
        groups = real_groups(one.labels, len(one)) if name == "floor" else jackknife.groups(len(one))
        rows: Iterator[Measurement] = measure(
            {SPACE: one}, references, groups, names=[*names, "inception_score"], real=name == "floor"
        )
        found |= {f"{row.metric.removesuffix(f'_{SPACE}')}, {name}": _interval(row) for row in rows}
    return {name: one for name, one in found.items() if not name.startswith("plain")}


def distance_interval(size: tuple[int, int, int], k: int) -> dict[str, Estimate]:
    """FD of n = a few d samples of the near method in realisation k, whether or not its bias may be removed."""
    here, draw = world(size), seeds.generator(0, "coverage", k)
    references = {"test": here.real(draw, here.m)}
    values = frechet.leave_out(here.methods(draw)["near"], references, jackknife.groups(here.n) + 1)[
        f"fd_{SPACE}", "test"
    ]
    interval = jackknife.interval(values[0], values[1:])
    return {f"fd, n = {here.n // here.d} d": _less(interval, here.fd("near", references["test"]))}


def tail_interval(size: tuple[int, int, int], law: str, k: int) -> dict[str, Estimate]:
    """FD of standardised features of a law, times 1.5, against standardised normal ones in realisation k."""
    n, m, d = size
    draw = seeds.generator(0, "coverage", law, k)
    test = Features(values=draw.standard_normal((m, d)), extractor=SPACE)
    one = Features(values=1.5 * _standardised(law, draw, (n, d)), extractor=SPACE)
    row = next(iter(measure({SPACE: one}, {SPACE: {"test": test}}, jackknife.groups(n), names=["frechet"])))
    kurtosis = frechet._kurtosis(one)
    return {f"fd, {law}": _interval(row), "kurtosis": Estimate(kurtosis, kurtosis, kurtosis)}


def _standardised(law: str, draw: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    kind, _, degrees = law.rpartition("t")
    if law == "normal":
        return draw.standard_normal(shape)
    if law == "laplace":
        return draw.laplace(size=shape) / 2**0.5
    nu = float(degrees)
    common = draw.chisquare(nu, (shape[0], 1) if kind else shape) / nu
    return draw.standard_normal(shape) / np.sqrt(common) * np.sqrt((nu - 2) / nu)


def report(found: list[dict[str, Estimate]], truths: dict[str, float], told: str = "") -> None:
    """Print one line a metric: coverage with its own binomial interval, the truth, and the values."""
    for name in found[0]:
        low, value, high = np.array([(one[name].low, one[name].value, one[name].high) for one in found]).T
        truth = truths.get(name, value.mean())
        inside = (low <= truth) & (truth <= high)
        share = jackknife.share_interval(int(inside.sum()), len(inside))
        kind = "known" if name in truths else "mean over realisations"
        held = f"{100 * share.value:6.1f} % [{100 * share.low:.1f}, {100 * share.high:.1f}]"
        seen = (
            f"mean value {value.mean():.4g}, deviation {value.std(ddof=1):.2g}, below 0 {100 * (high < 0).mean():.1f} %"
        )
        print(f"{name:24s} {held:24s} truth {truth:.4g} ({kind}), {seen}{told}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--realisations", type=int, default=2000)
    parser.add_argument("--others", type=int, default=400, help="realisations of all but FD and KD")
    parser.add_argument("--sizes", type=int, default=500, help="realisations of FD at each size, and of each tail")
    parser.add_argument("--n", type=int, default=400)
    parser.add_argument("--reference", type=int, default=400)
    parser.add_argument("--d", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    size = (options.n, options.reference, options.d)
    here, draw = world(size), seeds.generator(0, "coverage", "references")
    references = [here.real(draw, here.m) for _ in range(4000)]
    truths = {f"fd, {name}": float(np.mean([here.fd(law, one) for one in references])) for name, law in LAWS.items()}
    truths |= {f"kd, {name}": here.kd(law) for name, law in LAWS.items()}
    truths |= {f"{metric}, near - far": 0.0 for metric in ("fd", "kd")}
    sizes = f"n = {options.n}, reference {options.reference}, d = {options.d}, {CLASSES} classes"
    print(f"coverage of 95 % intervals, {sizes}")
    with ProcessPoolExecutor(options.workers) as pool:
        counts = {main_intervals: options.realisations, likelihood_intervals: options.others}
        counts[share_intervals] = options.others
        for intervals, count in counts.items():
            jobs = pool.map(partial(intervals, size), range(count), chunksize=5)
            report(list(tqdm(jobs, total=count, mininterval=5)), truths)
        for ratio in SIZES:
            small = (2 * ratio * options.d, options.reference, 2 * options.d)
            jobs = pool.map(partial(distance_interval, small), range(options.sizes), chunksize=5)
            report(list(tqdm(jobs, total=options.sizes, mininterval=5)), {f"fd, n = {ratio} d": 0.0})
        normal = [Features(values=draw.standard_normal(size[1:]), extractor=SPACE) for _ in range(2000)]
        law = frechet.gaussian_moments(np.zeros(options.d), 2.25 * np.eye(options.d))
        truth = float(np.mean([frechet.frechet_distance(law, frechet.moments(one.values)) for one in normal]))
        for tail in TAILS:
            jobs = pool.map(partial(tail_interval, size, tail), range(options.sizes), chunksize=5)
            found = list(tqdm(jobs, total=options.sizes, mininterval=5))
            median = np.median([one.pop("kurtosis").value for one in found])
            report(found, {f"fd, {tail}": truth}, f", kurtosis {median:.2g}")


if __name__ == "__main__":
    main()
