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
compare at equal n only; its floor is 0 by definition.
"""

from hashlib import sha256

import numpy as np
from scipy.special import logsumexp

from dpmot import seeds
from dpmot.features import Features, remembered
from dpmot.metrics import Arrays, Fact, References, _pairs, members, of_all
from dpmot.metrics._neighbours import required

# the training images are what FLD is fitted to: as samples they are an exact copier, and no floor
FACTS = {"fld": Fact("lower", "FLD", "Feature likelihood divergence", floor=False)}
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


@np.errstate(under="ignore")
def leave_out(generated: Features, references: References, groups: np.ndarray | None) -> Arrays:
    """``fld_<extractor>`` against "test", from variances fitted to "train" and held, without each group: (G,)."""
    least = {"train": 4, "test": 2}  # to fit to one half of them; to have a variance
    train, test = (required(generated, references, name, "FLD", least=m, stem="fld") for name, m in least.items())
    asked = _scaled(test, test)
    x, variance = _fitted(generated, train, test)
    member = members(groups, len(generated))[_chosen(generated)]
    value = _divergence(x, variance, asked, member) - _baseline(train, test, len(x))
    return {(f"fld_{generated.extractor}", "test"): value}


evaluate = of_all(leave_out)


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


@remembered
def _baseline(train: Features, test: Features, n: int) -> float:
    """The divergence of at most n rows of one half of the training images, fitted to the other half."""
    rows = _scaled(train, test)
    half, other = np.array_split(rows[seeds.generator(0, "fld").permutation(len(rows))], 2)
    half = half[:n]
    return float(_divergence(half, variances(half, other), _scaled(test, test), np.zeros((len(half), 1)))[0])


@np.errstate(under="ignore")
def variances(centres: np.ndarray, x: np.ndarray) -> np.ndarray:
    """s_j^2 >= 1e-6, (m,), that maximise the likelihood of x (n, d) under equal Gaussians at centres (m, d), by EM.

    The broad component is fitted beside them and left out of what is returned.
    """
    d = x.shape[1]
    squared, far = _squared(x, centres), BROAD * ((x - x.mean(axis=0)) ** 2).sum(axis=1)
    found, broad, before = np.maximum(squared.min(axis=0) / d, FLOOR), 1.0, -np.inf
    for _ in range(STEPS):
        weight, spread, total = np.zeros(len(centres)), np.zeros(len(centres)), 0.0
        far_weight = far_spread = 0.0
        for rows in _blocks(len(x), len(centres)):
            density = _log_densities(squared[rows], found, d) - np.log(len(centres))
            beside = _log_densities(far[rows], broad, d)
            most = np.maximum(density.max(axis=1), beside)
            np.exp(density - most[:, None], out=density)
            beside = np.exp(beside - most)
            sums = density.sum(axis=1) + beside
            total += float((np.log(sums) + most).sum())
            density /= sums[:, None]
            weight += density.sum(axis=0)
            spread += np.einsum("nm,nm->m", density, squared[rows])
            far_weight += float((beside / sums).sum())
            far_spread += float(far[rows] @ (beside / sums))
        used = weight > 1e-12  # a centre that explains nothing keeps its variance
        found[used] = np.maximum(spread[used] / (d * weight[used]), FLOOR)
        broad = max(far_spread / (d * far_weight), FLOOR) if far_weight > 1e-12 else broad
        if total - before <= ENOUGH * d * len(x):
            break
        before = total
    return found


def _divergence(centres: np.ndarray, variance: np.ndarray, x: np.ndarray, member: np.ndarray) -> np.ndarray:
    """-100 / d times the mean log density of x without each group of centres, (G,): member (m, G) is 1 in the group."""
    d, squared = x.shape[1], _squared(x, centres)
    totals = np.zeros(member.shape[1])
    for rows in _blocks(len(x), len(centres)):
        density = _log_densities(squared[rows], variance, d)
        most = density.max(axis=1, keepdims=True)
        weight = np.exp(density - most)
        whole = weight.sum(axis=1, keepdims=True)
        left = whole - weight @ member
        lost = np.nonzero(left < 1e-6 * whole)  # the group had nearly all of it: a difference would tell nothing
        logs = np.log(np.where(left > 0, left, 1)) + most
        logs[lost] = [logsumexp(density[i, member[:, g] == 0]) for i, g in zip(*lost, strict=True)]
        totals += logs.sum(axis=0)
    return -100 / d * (totals / len(x) - np.log(len(centres) - member.sum(axis=0)))


def _log_densities(squared: np.ndarray, variance: np.ndarray | float, d: int) -> np.ndarray:
    return -0.5 * squared / variance - 0.5 * d * np.log(2 * np.pi * variance)


def _squared(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """|x_i - y_j|^2, (n, m): by products, and by differences where those cancel."""
    product = x @ y.T
    result = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2 * product
    near = result < 1e-6 * np.abs(product)
    i, j = np.nonzero(near)
    result[i, j] = _pairs.squared_distances(x, y, i, j)
    return result


def _blocks(n: int, m: int) -> list[slice]:
    step = max(1, BLOCK // max(1, m))
    return [slice(first, first + step) for first in range(0, n, step)]
