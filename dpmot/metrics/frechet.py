"""Frechet distance of two Gaussians fitted to features (Dowson and Landau 1982; Heusel et al. 2017):

    FD = |m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C1^1/2 C2 C1^1/2)^1/2.

With any roots C = A A^T the last trace is the sum of the singular values of A1^T A2. That form needs no epsilon,
never meets a complex root, and keeps full accuracy for singular covariances, where the square root of an
eigenvalue's rounding error would not.

FD of n samples is biased by about 1/n: compare at equal n only. The jackknife removes that from n = 6 d on; measured on
Gaussians, its 95 % intervals then hold the truth in 97 to 98 %, at n = 4 d in 88 to 96 %, at 2 d in 65 %, at d never.
Below 6 d the plain value is reported, with its bias and a remark.
"""

from dataclasses import dataclass

import numpy as np

from dpmot.features import Features, remembered
from dpmot.metrics import Arrays, Fact, References, check_groups, need, of_all
from dpmot.metrics._neighbours import required

FACTS = {"fd": Fact("lower", "FD", "Frechet distance", copier=True)}
SPACE = "features"
DEBIAS = True
FEWEST = 6


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean (d,), a root A (d, d) of the covariance C = A A^T, and tr C; all float64."""

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
    noise = len(eigenvalues) * np.finfo(np.float64).eps * max(eigenvalues[-1], 0)
    eigenvalues = np.where(eigenvalues > noise, eigenvalues, 0)
    return Moments(mean=mean, root=vectors * np.sqrt(eigenvalues), trace=float(np.trace(covariance)))


def frechet_distance(first: Moments, second: Moments) -> float:
    """FD of two Gaussians, >= 0 up to rounding, in squared units of the features."""
    difference = first.mean - second.mean
    coupling = np.linalg.svd(first.root.T @ second.root, compute_uv=False).sum()
    return float(difference @ difference + first.trace + second.trace - 2 * coupling)


def remark(generated: Features, references: References) -> str:
    """Too few samples, or a reference of few rows."""
    n, d = generated.values.shape
    found = []
    if n < FEWEST * d:
        singular = " and the covariance is singular" if n <= d else ""
        found.append(f"n = {n} samples are fewer than {FEWEST} d = {FEWEST * d}: FD keeps its bias{singular}")
    few = {name: len(reference) for name, reference in references.items() if len(reference) <= d}
    found += [f"the reference {name} has {m} rows in d = {d}: its covariance is singular" for name, m in few.items()]
    return "; ".join(found)


@np.errstate(under="ignore")
def leave_out(generated: Features, references: References, groups: np.ndarray | None) -> Arrays:
    """``fd_<extractor>`` against every reference, without each group: (G,). A group costs one product of its rows."""
    for name in references:
        need(len(generated), 2, "FD needs two samples", f"fd_{generated.extractor}", name)
        required(generated, references, name, "FD", least=2, stem="fd")
    without = [moments(generated.values)] if groups is None else _moments_without(generated.values, groups)
    return {
        (f"fd_{generated.extractor}", name): np.array([frechet_distance(own, _reference_moments(r)) for own in without])
        for name, r in references.items()
    }


evaluate = of_all(leave_out)


@remembered
def _reference_moments(reference: Features) -> Moments:
    return moments(reference.values)


def _moments_without(values: np.ndarray, groups: np.ndarray) -> list[Moments]:
    check_groups(groups, len(values))
    values = values.astype(np.float64)
    centre = values.mean(axis=0)
    values = values - centre  # keeps the differences of sums below free of cancellation
    squares = values.T @ values
    result = []
    for group in range(groups.max() + 1):
        left = values[groups == group]
        n = len(values) - len(left)
        if n < 2:
            raise ValueError(f"Without group {group} only {n} samples remain: a covariance needs at least two")
        mean = -left.sum(axis=0) / n
        covariance = (squares - left.T @ left - n * np.outer(mean, mean)) / (n - 1)
        result.append(gaussian_moments(centre + mean, covariance))
    return result
