"""Feature likelihood divergence (Jiralerspong et al. 2023): held-out images under a mixture centred at the samples.

With one Gaussian N(g_j, s_j^2 I) of equal weight at each sample, in features scaled to mean 0 and variance 1 on the
held-out images, and s_j^2 fitted to the likelihood of the *training* images,

    FLD = -100 / d mean_test log p(x) - C,

C the same for a mixture at a random half of the training images, fitted to the other half. A sample that copies a
training image gets a variance that is far too small for held-out images, so copying, poor fidelity and missing modes
all raise FLD.

While it is fitted, the mixture has a broad component beside it, as in the authors' code: at the mean of the training
images, of weight 1, with squared distances times .81. It explains images that no sample is near; without it copies
would have to, with variances too large to give them away. Where the authors take 50 steps of Adam, this is EM, which
needs no rate and goes on to the optimum; s_j^2 >= 1e-6. On samples that copy nothing both agree within about one; on
copies of training images both are huge, but not equal (copies moved by a tenth: 367 and 4980 in one case, theirs 5136
after 1500 steps at a tenth of their rate), so published values of copiers are not comparable.

At most 10,000 rows of each set are used, chosen by the hash of their content. FLD falls with the number of samples:
compare at equal n only. Its zero is that half of the training images, fitted to the other half, so more fresh images
than that lie below it: the floor is the value of a second real sample. Intervals count the samples and the held-out
images and hold what is fitted to the training images, whose own part is left out: for new ones they hold the truth in
90 to 93 % (``benchmarks/coverage.py``).
"""

from collections.abc import Iterator
from hashlib import sha256

import numpy as np
from scipy.special import logsumexp

from dpmot import seeds
from dpmot.features import Features, remembered
from dpmot.features._kept import kept
from dpmot.metrics import Arrays, Fact, References, _pairs, members, of_all
from dpmot.metrics._neighbours import required

# the training images are what FLD is fitted to: as samples they are an exact copier, and no floor
FACTS = {"fld": Fact("lower", "FLD", "Feature likelihood divergence", floor=False, fresh=True)}
SPACE = "features"
COPYING = True
DEBIAS = False
HELD = True  # the variances: refitting 20 times would give errors within a few per cent of these
MOST = 10_000
FLOOR = 1e-6  # least variance, of features with variance 1
BROAD = 0.81  # factor on squared distances to the broad component's centre, as in the authors' code
STEPS = 100
ENOUGH = 1e-5  # nats a dimension: the gain of a step of EM at which it stops
BLOCK = 1 << 20  # densities at a time, 8 MiB
KEPT = 1 << 25  # squared distances that are kept from step to step, 256 MiB


@np.errstate(under="ignore")
def leave_out(generated: Features, references: References, groups: np.ndarray | None) -> Arrays:
    """``fld_<extractor>`` against "test", from variances fitted to "train" and held, without each group: (G,)."""
    train, test = _needed(generated, references)
    x, variance = _fitted(generated, train, test)
    member = members(groups, len(generated))[_chosen(generated)]
    found = _log_likelihoods(x, variance, _scaled(test, test), member).mean(axis=0)
    zero = _baseline(train, test, len(x)).mean()
    return {(f"fld_{generated.extractor}", "test"): -100 / x.shape[1] * (found - zero)}


evaluate = of_all(leave_out)


@np.errstate(under="ignore")
def reference_rows(generated: Features, references: References) -> Arrays:
    """-100 / d times what each held-out image adds to the mean, (m,): the held-out images' part of the variance.

    The training images, to which both mixtures are fitted, are held. Rows that are not used have the mean.
    """
    train, test = _needed(generated, references)
    x, variance = _fitted(generated, train, test)
    found = _log_likelihoods(x, variance, _scaled(test, test), np.zeros((len(x), 1)))[:, 0]
    found = -100 / x.shape[1] * (found - _baseline(train, test, len(x)))
    rows = np.full(len(test), found.mean())
    rows[_chosen(test)] += len(test) / len(found) * (found - found.mean())
    return {(f"fld_{generated.extractor}", "test"): rows}


def _needed(generated: Features, references: References) -> tuple[Features, Features]:
    """The training images, of which one half is fitted to the other, and the held-out ones, which have a variance."""
    least = {"train": 4, "test": 2}
    train, test = (required(generated, references, name, "FLD", least=m, stem="fld") for name, m in least.items())
    return train, test


def remark(generated: Features, references: References) -> str:
    """Not all samples were used."""
    return f"FLD uses {MOST} of the {len(generated)} samples" if len(generated) > MOST else ""


@remembered
def _chosen(one: Features) -> np.ndarray:
    """The rows that are used, whatever their order: all, or those with the smallest hashes."""
    if len(one) <= MOST:
        return np.arange(len(one))
    hashes = [sha256(np.ascontiguousarray(row).data).digest() for row in one.values]
    return np.sort(np.array(sorted(range(len(one)), key=hashes.__getitem__)[:MOST]))


def _scaled(one: Features, test: Features) -> np.ndarray:
    """The chosen rows of a set in features of mean 0 and variance 1 on the held-out images."""
    held_out = test.values[_chosen(test)].astype(np.float64)
    std = held_out.std(axis=0)
    std[std == 0] = 1  # a constant feature tells nothing
    return (one.values[_chosen(one)] - held_out.mean(axis=0)) / std


@remembered
def _fitted(generated: Features, train: Features, test: Features) -> tuple[np.ndarray, np.ndarray]:
    """Centres and variances of the mixture at the samples."""
    x = _scaled(generated, test)
    return x, variances(x, _scaled(train, test))


@kept
def _baseline(train: Features, test: Features, n: int) -> np.ndarray:
    """Log densities at the held-out images (m,) of n rows of one half of the training images, fitted to the other."""
    rows = _scaled(train, test)
    half, other = np.array_split(rows[seeds.generator(0, "fld").permutation(len(rows))], 2)
    half = half[:n]
    return _log_likelihoods(half, variances(half, other), _scaled(test, test), np.zeros((len(half), 1)))[:, 0]


@np.errstate(under="ignore")
def variances(centres: np.ndarray, x: np.ndarray) -> np.ndarray:
    """s_j^2 >= 1e-6, (m,), that maximise the likelihood of x (n, d) under equal Gaussians at centres (m, d), by EM.

    The broad component is fitted beside them and left out of what is returned.
    """
    d, squares = x.shape[1], _Squares(x, centres)
    far = BROAD * ((x - x.mean(axis=0)) ** 2).sum(axis=1)
    nearest = np.min([squared.min(axis=0) for _, squared in squares], axis=0)
    found, broad, before = np.maximum(nearest / d, FLOOR), 1.0, -np.inf
    for _ in range(STEPS):
        weight, spread, total = np.zeros(len(centres)), np.zeros(len(centres)), 0.0
        far_weight = far_spread = 0.0
        for rows, squared in squares:
            density = _log_densities(squared, found, d) - np.log(len(centres))
            beside = _log_densities(far[rows], broad, d)
            most = np.maximum(density.max(axis=1), beside)
            np.exp(density - most[:, None], out=density)
            beside = np.exp(beside - most)
            sums = density.sum(axis=1) + beside
            total += float((np.log(sums) + most).sum())
            density /= sums[:, None]
            weight += density.sum(axis=0)
            spread += np.einsum("nm,nm->m", density, squared)
            far_weight += float((beside / sums).sum())
            far_spread += float(far[rows] @ (beside / sums))
        used = weight > 1e-12  # a centre that explains nothing keeps its variance
        found[used] = np.maximum(spread[used] / (d * weight[used]), FLOOR)
        broad = max(far_spread / (d * far_weight), FLOOR) if far_weight > 1e-12 else broad
        if total - before <= ENOUGH * d * len(x):
            break
        before = total
    return found


def _log_likelihoods(centres: np.ndarray, variance: np.ndarray, x: np.ndarray, member: np.ndarray) -> np.ndarray:
    """Log densities of x (n, d) without each group of centres, (n, G): member (m, G) is 1 in the group."""
    found = np.empty((len(x), member.shape[1]))
    for rows, squared in _Squares(x, centres):
        density = _log_densities(squared, variance, x.shape[1])
        most = density.max(axis=1, keepdims=True)
        weight = np.exp(density - most)
        whole = weight.sum(axis=1, keepdims=True)
        left = whole - weight @ member
        lost = np.nonzero(left < 1e-6 * whole)  # the group had nearly all of it: a difference would tell nothing
        logs = np.log(np.where(left > 0, left, 1)) + most
        logs[lost] = [logsumexp(density[i, member[:, g] == 0]) for i, g in zip(*lost, strict=True)]
        found[rows] = logs
    return found - np.log(len(centres) - member.sum(axis=0))


def _log_densities(squared: np.ndarray, variance: np.ndarray | float, d: int) -> np.ndarray:
    return -0.5 * squared / variance - 0.5 * d * np.log(2 * np.pi * variance)


class _Squares:
    """|x_i - y_j|^2 in blocks (rows, m) of x (n, d) against y (m, d), in turn and again.

    Those that fit into ``KEPT`` numbers are computed once, the others each time: memory does not grow with n m.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        step = max(1, BLOCK // max(1, len(y)))
        self.x, self.y = x, y
        self.rows = [slice(first, first + step) for first in range(0, len(x), step)]
        self.kept: list[np.ndarray] = []

    def __iter__(self) -> Iterator[tuple[slice, np.ndarray]]:
        for k, rows in enumerate(self.rows):
            if k < len(self.kept):
                yield rows, self.kept[k]
                continue
            squared = _squared(self.x[rows], self.y)
            if k == len(self.kept) and (k + 1) * squared.size <= KEPT:
                self.kept.append(squared)
            yield rows, squared


def _squared(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """|x_i - y_j|^2, (n, m): by products, and by differences where those cancel."""
    product = x @ y.T
    result = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2 * product
    near = result < 1e-6 * np.abs(product)
    i, j = np.nonzero(near)
    result[i, j] = _pairs.squared_distances(x, y, i, j)
    return result
