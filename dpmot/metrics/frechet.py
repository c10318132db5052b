"""Frechet distance of two Gaussians fitted to features (Dowson and Landau 1982; Heusel et al. 2017):

    FD = |m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C1^1/2 C2 C1^1/2)^1/2.

With any root C2 = R R^T the last trace is that of (R^T C1 R)^1/2: the sum of the singular values of X R / (n - 1)^1/2,
X the n centred samples. One root of the reference serves all samples and all leave-out groups. The singular values are
taken as roots of eigenvalues of R^T C1 R, four times as fast, where rounding then costs at most 1e-10 of the traces;
that form needs no epsilon and never meets a complex root. Where it would cost more, as for singular covariances, where
the root of an eigenvalue's rounding error is not negligible, the singular values themselves are computed.

FD of n samples is biased by about 1/n: compare at equal n only. The jackknife removes that from n = 6 d on; below, the
plain value is reported, with its bias and a remark. The interval is that of the FD which infinitely many samples would
have on average over references of this size: it adds the variance of the reference, from the derivative of FD in each
of its rows, and the bias of a reference of m rows, the same for every method, stays in the value as in the floor's.
``benchmarks/coverage.py`` measures the coverage. It fails for features of heavy tails, whose covariances have hardly a
variance: a remark says so where the squared lengths of a set's centred features, whose mean is the trace, have an
excess kurtosis beyond ``HEAVY``.
"""

from dataclasses import dataclass

import numpy as np

from dpmot.features import Features, remembered
from dpmot.features._kept import kept
from dpmot.metrics import Arrays, Fact, References, check_groups, need, of_all
from dpmot.metrics._neighbours import required

FACTS = {"fd": Fact("lower", "FD", "Frechet distance", copier=True, fresh=True)}
SPACE = "features"
DEBIAS = True
FEWEST = 6
HEAVY = 25.0  # Student's t: intervals hold in 93 % at 28, in 80 % at 72 and above; classifiers' features are below 6
DISTANCE = True
ROUNDING = 1e-10  # of the traces, what FD may lose by roots of eigenvalues


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean (d,), a root R (d, r) of the covariance C = R R^T, of rank r, and tr C; all float64."""

    mean: np.ndarray
    root: np.ndarray
    trace: float


def moments(values: np.ndarray) -> Moments:
    """Mean and unbiased covariance of samples (n, d), n >= 2.

    Raises:
        ValueError: fewer than two samples.
    """
    if len(values) < 2:
        raise ValueError(f"A covariance needs at least two samples, got {len(values)}")
    values = values.astype(np.float64)
    mean = values.mean(axis=0)
    centred = values - mean
    return gaussian_moments(mean, centred.T @ centred / (len(values) - 1))


def gaussian_moments(mean: np.ndarray, covariance: np.ndarray) -> Moments:
    """Moments from a mean (d,) and a symmetric positive semi-definite covariance (d, d)."""
    eigenvalues, vectors = np.linalg.eigh(covariance)
    # Below d eps lambda_max an eigenvalue is rounding; its square root would not be negligible.
    real = eigenvalues > len(eigenvalues) * np.finfo(np.float64).eps * max(eigenvalues[-1], 0)
    return Moments(mean=mean, root=vectors[:, real] * np.sqrt(eigenvalues[real]), trace=float(np.trace(covariance)))


def frechet_distance(first: Moments, second: Moments) -> float:
    """FD of two Gaussians, >= 0 up to rounding, in squared units of the features."""
    difference = first.mean - second.mean
    coupling = np.linalg.svd(first.root.T @ second.root, compute_uv=False).sum()
    return float(difference @ difference + first.trace + second.trace - 2 * coupling)


def remark(generated: Features, references: References) -> str:
    """Too few samples, a reference of few rows, or features of heavy tails."""
    n, d = generated.values.shape
    found = []
    if n < FEWEST * d:
        singular = " and the covariance is singular" if n <= d else ""
        found.append(f"n = {n} samples are fewer than {FEWEST} d = {FEWEST * d}: FD keeps its bias{singular}")
    few = {name: len(reference) for name, reference in references.items() if len(reference) <= d}
    found += [f"the reference {name} has {m} rows in d = {d}: its covariance is singular" for name, m in few.items()]
    tails = {"samples": _kurtosis(generated)} | {
        f"reference {name}": _kurtosis(one) for name, one in references.items()
    }
    heavy = [f"{name} {kurtosis:.0f}" for name, kurtosis in tails.items() if kurtosis > HEAVY]
    if heavy:
        of = f"squared lengths of features have an excess kurtosis beyond {HEAVY:g}, {', '.join(heavy)}"
        found.append(f"{of}: intervals of FD hold the truth too seldom")
    return "; ".join(found)


@np.errstate(under="ignore")
def leave_out(generated: Features, references: References, groups: np.ndarray | None) -> Arrays:
    """``fd_<extractor>`` against every reference, without each group: (G,). A group costs one product of its rows."""
    for name in references:
        need(len(generated), 2, "FD needs two samples", f"fd_{generated.extractor}", name)
        required(generated, references, name, "FD", least=2, stem="fd")
    if groups is not None:
        check_groups(groups, len(generated))
    return {
        (f"fd_{generated.extractor}", name): _distances(generated.values, _reference_moments(reference), groups)
        for name, reference in references.items()
    }


evaluate = of_all(leave_out)


@np.errstate(under="ignore")
def reference_rows(generated: Features, references: References) -> Arrays:
    """The derivative of FD in the weight of each reference row, (m,): the reference's part of the variance.

    With whitened rows z = R^+ (y - m2) it is |y - m2|^2 - z^T (R^T C1 R)^1/2 z + 2 (m2 - m1) (y - m2).
    """
    return {
        (f"fd_{generated.extractor}", name): _derivatives(generated.values, reference)
        for name, reference in references.items()
    }


@remembered
def _kurtosis(features: Features) -> float:
    """Excess kurtosis of the squared lengths of the centred rows; 0 where they are equal."""
    centred = features.values - features.values.mean(axis=0, dtype=np.float64)
    lengths = np.einsum("nd,nd->n", centred, centred)
    lengths -= lengths.mean()
    size = np.abs(lengths).max()
    squares = (lengths / size) ** 2 if size > 0 else np.ones(1)
    return float((squares**2).mean() / squares.mean() ** 2 - 3) if size > 0 else 0.0


@remembered
def _reference_moments(reference: Features) -> Moments:
    mean, root, trace = _kept_moments(reference)
    return Moments(mean, root, float(trace))


@kept
def _kept_moments(reference: Features) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    found = moments(reference.values)
    return found.mean, found.root, np.array(found.trace)


def _distances(values: np.ndarray, reference: Moments, groups: np.ndarray | None) -> np.ndarray:
    """FD of samples (n, d) without each group (G,), or of all (1,)."""
    centre = values.mean(axis=0, dtype=np.float64)
    values = values - centre  # keeps the differences of sums below free of cancellation
    rooted, lengths = values @ reference.root, np.einsum("nd,nd->n", values, values)
    squares, difference = rooted.T @ rooted, centre - reference.mean
    found = []
    for group in range(1 if groups is None else groups.max() + 1):
        out = np.zeros(len(values), dtype=bool) if groups is None else groups == group
        n = len(values) - int(out.sum())
        if n < 2:
            raise ValueError(f"Without group {group} only {n} samples remain: a covariance needs at least two")
        mean, rooted_mean = -values[out].sum(axis=0) / n, -rooted[out].sum(axis=0) / n
        product = (squares - rooted[out].T @ rooted[out] - n * np.outer(rooted_mean, rooted_mean)) / (n - 1)
        trace = (lengths.sum() - lengths[out].sum() - n * mean @ mean) / (n - 1)
        coupling = _trace_of_root(product, ROUNDING * (trace + reference.trace)) if n > len(product) > 0 else None
        if coupling is None:
            coupling = np.linalg.svd(rooted[~out] - rooted_mean, compute_uv=False).sum() / np.sqrt(n - 1)
        shift = difference + mean
        found.append(shift @ shift + trace + reference.trace - 2 * coupling)
    return np.array(found)


def _trace_of_root(product: np.ndarray, allowed: float) -> float | None:
    """tr P^1/2 of a positive definite P (r, r) by its eigenvalues; None where rounding costs more than ``allowed``."""
    eigenvalues = np.linalg.eigvalsh(product)
    error = 4 * np.finfo(np.float64).eps * eigenvalues[-1]  # of each; seldom above one epsilon
    if not error > np.finfo(np.float64).tiny:  # squares of numbers this small are none
        return None
    roots = np.sqrt(np.maximum(eigenvalues, error))
    return float(roots.sum()) if (error / roots).sum() <= allowed else None


def _derivatives(values: np.ndarray, reference: Features) -> np.ndarray:
    known = _reference_moments(reference)
    centre = values.mean(axis=0, dtype=np.float64)
    rooted = (values - centre) @ known.root
    eigenvalues, vectors = np.linalg.eigh(rooted.T @ rooted / (len(values) - 1))
    rows = reference.values - known.mean
    # R has orthogonal columns, so that R^+ = R^T over their squared lengths.
    white = rows @ (known.root / (known.root**2).sum(axis=0))
    moved = ((white @ (vectors * np.maximum(eigenvalues, 0) ** 0.25)) ** 2).sum(axis=1)
    return (rows**2).sum(axis=1) - moved + 2 * rows @ (known.mean - centre)
