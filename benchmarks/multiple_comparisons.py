"""How often does a table lose a method that is as good as the best, and how many worse ones does it find?

Each realisation has columns (NFE budgets) of methods, each method known from G jackknife groups: the mean of a normal
or of a share of one in twenty, or a Frechet distance of n samples with independent features, debiased. Methods share
a part of their noise. Rules:

- leader: each method against the one that looks best, paired t-tests, Holm over all cells (what Table 5 did before);
- overlap: the interval overlaps the best one's (what was bold before);
- Hsu: p-values of ``dpmot.statistics.best``, Bonferroni over columns alone (1984): keeps one best method of a column;
- ours: the same p-values, Holm over all methods of all columns.

Printed: the share of realisations that lose a best method in any column, that of worse methods that are found, and the
share of realisations in which an interval of ours lacks its truth. Distances are in standard errors of a paired
difference: of the means, or of the one mean that moves a Frechet distance.

example: python -m benchmarks.multiple_comparisons
"""

import argparse
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from dpmot import seeds
from dpmot.statistics.best import behind_best
from dpmot.statistics.jackknife import Estimate, interval, share_interval
from dpmot.statistics.paired import holm, p_value

G, N, FEATURES, ALPHA = 20, 1000, 8, 0.05
RULES = ("leader", "overlap", "Hsu", "ours")
Column = tuple[np.ndarray, np.ndarray]  # values of methods (k,), and the same without each group (k, G)
Law = Callable[[np.random.Generator, np.ndarray, float], Column]  # of the methods' true distances, in standard errors


@dataclass(frozen=True)
class Case:
    """What is simulated: k methods with the ``worse`` last ones ``far`` behind, and the part of noise they share."""

    told: str
    law: Law
    methods: int
    worse: int = 0
    far: float = 0.0
    shared: float = 0.0

    @property
    def truth(self) -> np.ndarray:
        """Distances to the best, in standard errors of a paired difference."""
        return np.repeat([0.0, self.far], [self.methods - self.worse, self.worse])


def _noise(draw: np.random.Generator, shape: tuple[int, ...], shared: float) -> np.ndarray:
    return shared**0.5 * draw.standard_normal(shape[1:]) + (1 - shared) ** 0.5 * draw.standard_normal(shape)


def _means(of_groups: np.ndarray) -> Column:
    return of_groups.mean(axis=1), (of_groups.sum(axis=1, keepdims=True) - of_groups) / (of_groups.shape[1] - 1)


def normal(draw: np.random.Generator, truth: np.ndarray, shared: float) -> Column:
    """Means of normals."""
    error = (2 * (1 - shared) / G) ** 0.5
    return _means(truth[:, None] * error + _noise(draw, (len(truth), G), shared))


def share(draw: np.random.Generator, truth: np.ndarray, shared: float) -> Column:
    """Shares near .05 of N samples, those with noise beyond a quantile."""
    error = (2 * (1 - shared) * 0.05 * 0.95 / N) ** 0.5
    noise = _noise(draw, (len(truth), G, N // G), shared)
    bound = ndtri(np.minimum(0.05 + truth * error, 0.9))
    return _means((noise < bound[:, None, None]).mean(axis=2))


def frechet(draw: np.random.Generator, truth: np.ndarray, shared: float) -> Column:
    """sum_f (mean^2 + (std - 1)^2) + a shift of the first mean, of N samples with FEATURES of spread .9, debiased."""
    x = 0.1 + 0.9 * _noise(draw, (len(truth), G, N // G, FEATURES), shared)
    x[..., 0] += truth[:, None, None] * (2 * (1 - shared) / N) ** 0.5
    first, second = x.mean(axis=2), (x**2).mean(axis=2)

    def distance(one: np.ndarray, two: np.ndarray) -> np.ndarray:
        return (one**2 + (np.sqrt(two - one**2) - 1) ** 2).sum(axis=-1)

    parts = distance(*((part.sum(axis=1, keepdims=True) - part) / (G - 1) for part in (first, second)))
    return G * distance(first.mean(axis=1), second.mean(axis=1)) - (G - 1) * parts.mean(axis=1), parts


def lost(columns: list[Column]) -> dict[str, np.ndarray]:
    """Rule -> which methods of each column it calls worse than the best, (columns, k)."""
    k, family = len(columns[0][0]), sum(len(values) for values, _ in columns)
    found = {rule: np.zeros((len(columns), k), dtype=bool) for rule in RULES}
    alone, ours = np.ones((len(columns), k)), np.ones((len(columns), k))
    found["ours, interval"] = np.zeros((len(columns), k), dtype=bool)
    for c, (values, parts) in enumerate(columns):
        top = int(values.argmin())
        for i in set(range(k)) - {top}:
            alone[c, i] = p_value((values[i], values[top]), (parts[i], parts[top]), debias=False)
        ends = [interval(value, part, debias=False) for value, part in zip(values, parts, strict=True)]
        found["overlap"][c] = [one.low > ends[top].high for one in ends]
        behind = behind_best(values, parts, family=family)
        ours[c] = [one.p for one in behind]
        found["ours, interval"][c] = [not one.low <= 0 <= one.high for one in behind]
    others = ~np.stack([np.arange(k) == values.argmin() for values, _ in columns])
    found["leader"][others] = holm(alone[others]) <= ALPHA
    found["Hsu"] = ours <= ALPHA / len(columns)
    found["ours"] = (holm(ours.ravel()) <= ALPHA).reshape(ours.shape)
    return found


def report(case: Case, realisations: int, num_columns: int) -> str:
    """What each rule did in one case, as lines of text."""
    truth, worse = case.truth, case.truth > 0
    wrong: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for k in range(realisations):
        draw = seeds.generator(0, "multiple comparisons", case.told, k)
        for rule, found in lost([case.law(draw, truth, case.shared) for _ in range(num_columns)]).items():
            wrong[rule] += bool(found[:, ~worse].any())
            right[rule] += int(found[:, worse].sum())
    lines = [f"{case.told}: {case.methods} methods x {num_columns} columns, {realisations} realisations"]
    for rule in RULES:
        share_lost = share_interval(wrong[rule], realisations)
        line = f"  {rule:8s} loses a best method in {_text(share_lost)}"
        if case.worse:
            line += f", finds {right[rule] / (realisations * num_columns * case.worse):.3f} of the worse ones"
        lines.append(line)
    if not case.worse:  # else their distance to the best is known of means alone
        missed = share_interval(wrong["ours, interval"], realisations)
        lines.append(f"  an interval of ours misses its truth in {_text(missed)}")
    return "\n".join(lines)


def _text(found: Estimate) -> str:
    return f"{found.value:.4f} [{found.low:.4f}, {found.high:.4f}]"


CASES = (
    Case("equal means of normals", normal, 15),
    Case("equal means of normals, .9 of the noise shared", normal, 15, shared=0.9),
    Case("equal means of normals, few methods", normal, 4),
    Case("equal shares of .05", share, 15, shared=0.5),
    Case("equal Frechet distances", frechet, 15, shared=0.5),
    Case("means of normals, 7 of 15 behind by 5", normal, 15, 7, 5.0),
    Case("means of normals, 14 of 15 behind by 5", normal, 15, 14, 5.0),
    Case("means of normals, 12 of 15 behind by 8", normal, 15, 12, 8.0),
    Case("means of normals, 4 of 6 behind by 5", normal, 6, 4, 5.0),
    Case("Frechet distances, 12 of 15 behind by 8", frechet, 15, 12, 8.0, shared=0.5),
)


def main() -> None:
    """Print every case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--realisations", type=int, default=2000)
    parser.add_argument("--columns", type=int, default=5)
    options = parser.parse_args()
    print(f"nominal {ALPHA:g}; a distance of d is d standard errors of a paired difference; {G} jackknife groups")
    for case in CASES:
        print(report(case, options.realisations, options.columns), flush=True)


if __name__ == "__main__":
    main()
