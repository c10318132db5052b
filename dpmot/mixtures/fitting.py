r"""Fit K Gaussians to images: k-means, then the shrunk covariance of each component, truncated to its rank.

S_k, the covariance of the n_k images of a component, is drawn towards a scaled identity with as much variance,

    C_k = (1 - a) S_k + a (tr S_k / d) I,

with a given, or the one that Ledoit & Wolf (2004) estimate. Of C_k the r leading eigenvectors keep their variance, and
all others share what is left equally, which keeps tr C_k: probabilistic PCA (Tipping & Bishop 1999). The smaller of the
two matrices X^T X and X X^T is decomposed. A component of one image has C = 0.

The rank is as large as fits into the bytes of the images that the mixture replaces, at most n_k - 1 and d.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from dpmot.device import ordinary
from dpmot.images import to_float
from dpmot.mixtures.clusters import clusters
from dpmot.mixtures.gaussians import HEADER, Gaussians

LARGEST = 8192  # side of a matrix that is decomposed: minutes, and half a gigabyte
BLOCK = 8192  # rows that are in float64 at a time
BY = ("kmeans", "labels")
COVARIANCES = ("own", "shared")


def check(
    *, components: int = 10, by: str = "kmeans", rank: int | None = None,
    shrinkage: float | None = None, covariance: str = "own",
) -> None:  # fmt: skip
    """Check the options of a fit, as far as they are given.

    Raises:
        ValueError: "<option>: <what is wrong>".
    """
    for name, word, allowed in (("by", by, BY), ("covariance", covariance, COVARIANCES)):
        if word not in allowed:
            raise ValueError(f"{name}: {word!r} is not one of them; allowed: {', '.join(allowed)}")
    for name, count, least in (("components", components, 1), ("rank", 0 if rank is None else rank, 0)):
        if isinstance(count, bool) or not isinstance(count, int) or count < least:
            raise ValueError(f"{name}: {count!r}; give a whole number of at least {least}")
    number = isinstance(shrinkage, int | float) and not isinstance(shrinkage, bool)
    if shrinkage is not None and not (number and 0 <= shrinkage <= 1):
        raise ValueError(f"shrinkage: {shrinkage!r}; give a share in 0..1, or leave it out for Ledoit & Wolf's")


@ordinary(grad=False)
def fit(
    images: Tensor,
    labels: Tensor | None = None,
    *,
    components: int = 10,
    by: str = "kmeans",
    rank: int | None = None,
    shrinkage: float | None = None,
    covariance: str = "own",
    seed: int,
) -> Gaussians:
    """Fit a mixture to images.

    Args:
        images: uint8 (n, *S), or float32 (n, *S), taken as they are.
        labels: classes, int64 (n,), from 0; None: all of one.
        components: K; with by "labels" of each class.
        by: how images are shared out: "kmeans", or "labels" for k-means within each class.
        rank: r; None: as large as fits into the bytes of the images.
        shrinkage: a in [0, 1]; None: Ledoit & Wolf's, of each component.
        covariance: "own" of each component, or one "shared" by all, that within components.
        seed: of k-means.

    Raises:
        ValueError: an option that :func:`check` refuses, more components than images, a rank that takes more bytes than
            the images, or a component that is too large.
    """
    check(components=components, by=by, rank=rank, shrinkage=shrinkage, covariance=covariance)
    classes = torch.zeros(len(images), dtype=torch.int64) if labels is None else labels.long()
    raw = images.flatten(1)
    x = to_float(raw) if raw.dtype == torch.uint8 else raw.float()
    component, sizes = _several_first(clusters(x, classes, components=components, by=by, seed=seed))
    parts = [(component == k).nonzero()[:, 0] for k in range(int((sizes > 1).sum()))]
    means, alone = [x[rows].double().mean(0) for rows in parts], sizes[component] == 1
    stored = torch.float16 if raw.dtype == torch.uint8 else torch.float32
    base = Gaussians(
        counts=_counts(component, classes)[: len(parts)],
        means=torch.stack(means).to(stored) if means else torch.empty(0, x.shape[1], dtype=stored),
        singles=raw[alone],
        classes=_smallest(classes[alone]),
        **_none(x.shape[1], stored),
    )
    groups = [parts] if covariance == "shared" and parts else [[rows] for rows in parts]
    most = [min(sum(len(rows) - 1 for rows in group), x.shape[1]) for group in groups]
    rank = _allowed(rank, most, base, raw)
    found: list[Spread] = []
    for group, least in zip(groups, most, strict=True):
        first = len(found)  # of a group of its own, else 0
        centred = (x[few].double() - means[first + k] for k, rows in enumerate(group) for few in rows.split(BLOCK))
        found.append(_spread(centred, sum(map(len, group)), x.shape[1], min(rank, least), shrinkage))
    return replace(base, **_stacked(found, stored)) if found else base


def _several_first(component: Tensor) -> tuple[Tensor, Tensor]:
    """Components renumbered, those of a single image last, in the order of the images; and their sizes."""
    sizes = torch.bincount(component)
    first = torch.full((len(sizes),), len(component)).scatter_reduce(0, component, torch.arange(len(component)), "amin")
    order = torch.argsort(first + (sizes == 1) * len(component))
    return torch.argsort(order)[component], sizes[order]


def _counts(component: Tensor, classes: Tensor) -> Tensor:
    """Images of each component and class, (K, C)."""
    width, number = int(classes.max()) + 1, int(component.max()) + 1
    counts = torch.bincount(component * width + classes, minlength=number * width)
    return _smallest(counts.reshape(number, width))


def _smallest(whole: Tensor) -> Tensor:
    """In the smallest integers that hold these."""
    most = int(whole.max()) if len(whole) else 0
    return whole.to(next(one for one in (torch.uint8, torch.int16, torch.int32) if most <= torch.iinfo(one).max))


def _none(dim: int, stored: torch.dtype) -> dict[str, Tensor]:
    """No covariance."""
    return {
        "ranks": torch.empty(0, dtype=torch.int32),
        "rest": torch.empty(0),
        "values": torch.empty(0),
        "vectors": torch.empty(0, dim, dtype=stored),
    }


def _allowed(rank: int | None, most: Sequence[int], base: Gaussians, raw: Tensor) -> int:
    """The rank asked for, or the largest that fits into the bytes of the images; a ValueError if it does not fit."""
    budget, numbers = raw.numel() * raw.element_size(), torch.tensor(most, dtype=torch.int64)
    each = raw.shape[1] * base.vectors.element_size() + 4  # bytes of a vector and its value

    def needed(rank: int) -> int:
        return HEADER + base.nbytes + 8 * len(most) + each * int(numbers.clamp(max=rank).sum())

    ranks = range(max(most, default=0) + 1)
    largest = max(0, bisect_right(ranks, budget, key=needed) - 1)
    if rank is not None and min(rank, ranks[-1]) > largest:
        told = f"{needed(rank):,} bytes, more than the {budget:,} of the {len(raw):,} images"
        raise ValueError(f"rank: {len(base)} components of rank {rank} take {told}; the largest that fits is {largest}")
    return largest if rank is None else rank


class Spread(NamedTuple):
    """L (r,) descending, V (r, d) and s^2 of a covariance."""

    values: Tensor
    vectors: Tensor
    rest: float


def _spread(centred: Iterator[Tensor], number: int, dim: int, rank: int, shrinkage: float | None) -> Spread:
    """Of centred rows, float64, in blocks that hold so many together."""
    if min(number, dim) > LARGEST:
        told = (
            f"{number:,} images of {dim:,} numbers in one component need a decomposition of side {min(number, dim):,}"
        )
        raise ValueError(f"components: {told}; at most {LARGEST:,} is done: take more components")
    fourth, matrix, rows = 0.0, torch.zeros(min(number, dim), min(number, dim), dtype=torch.float64), torch.empty(0)
    if number >= dim:
        for block in centred:
            matrix += block.T @ block
            fourth += float(block.square().sum(1).square().sum())
    else:
        rows = torch.cat(list(centred))
        matrix, fourth = rows @ rows.T, float(rows.square().sum(1).square().sum())
    values, vectors = torch.linalg.eigh(matrix / number)
    values, vectors = values.clamp(min=0).flip(0), vectors.flip(1)
    total = float(values.sum())
    a = _shrinkage(values, fourth / number, number, dim) if shrinkage is None else float(shrinkage)
    rank = min(rank, int((values > values[0] * max(number, dim) * torch.finfo(values.dtype).eps).sum()))
    shrunk = (1 - a) * values[:rank] + a * total / dim
    rest = max(0.0, total - float(shrunk.sum())) / max(1, dim - rank)
    along = vectors[:, :rank].T
    if number < dim:
        along = along @ rows / (number * values[:rank, None]).sqrt()
    return Spread(shrunk, along, rest)


def _shrinkage(values: Tensor, fourth: float, number: int, dim: int) -> float:
    """Ledoit & Wolf (2004), lemma 3.2 ff.: a = min(b^2, d^2) / d^2, d^2 = |S - m I|^2, b^2 = mean |x x^T - S|^2 / n.

    Args:
        values: eigenvalues of S.
        fourth: mean of |x|^4.
    """
    square = float(values.square().sum())
    distance = square - float(values.sum()) ** 2 / dim
    error = max(0.0, fourth - square) / number
    return min(error, distance) / distance if distance > 1e-12 * square else 0.0


def _stacked(found: Sequence[Spread], stored: torch.dtype) -> dict[str, Tensor]:
    return {
        "ranks": torch.tensor([len(one.values) for one in found], dtype=torch.int32),
        "rest": torch.tensor([one.rest for one in found]),
        "values": torch.cat([one.values for one in found]).float(),
        "vectors": torch.cat([one.vectors for one in found]).to(stored),
    }
