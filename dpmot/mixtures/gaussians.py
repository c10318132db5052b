r"""K Gaussians of low rank plus a scaled identity, and their marginal at a noise level sigma:

    p_sigma = sum_k w_k N(m_k, C_k + sigma^2 I),    C_k = V_k^T (L_k - s_k^2 I) V_k + s_k^2 I        (V_k: r_k x d)

that is variances L_k along r_k orthonormal rows, and s_k^2 along all others (probabilistic PCA, Tipping & Bishop 1999).
A draw is the image of noise z ~ N(0, I) under the symmetric root, the transport map of Brenier from N(0, I),

    x = m_k + (C_k + sigma^2 I)^(1/2) z
      = m_k + t z + V_k^T ((L_k + sigma^2 I)^(1/2) - t I) V_k z,      t^2 = s_k^2 + sigma^2.

With one image a component (K = N) all of C is 0, and x = x0_k + sigma z is the exact marginal of the images. Such a
component stores its image as it came; others store means and rows of V in float16 where images are uint8: an error of a
thirtieth of a grey level, and of 2^-11 of each number of V.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from dpmot import seeds as streams
from dpmot.images import to_float
from dpmot.tiles import in_tiles, product

TILE = 32  # rows: a component has few of a batch
HEADER = 4096  # bytes of a file beside its numbers, at most
ROWS = 128  # samples whose distances to all single images are held at a time


class Component(NamedTuple):
    """m (d,), V (r, d), L (r,), float64, and s^2."""

    mean: Tensor
    vectors: Tensor
    values: Tensor
    rest: float

    def map(self, z: Tensor, sigma: float) -> Tensor:
        """Noise (B, d) -> draws of N(m, C + sigma^2 I), float64; a row has the same bits beside any others."""
        t = math.sqrt(self.rest + sigma**2)
        x = self.mean + t * z.double()
        if not len(self.values):
            return x
        stretch = (self.values + sigma**2).sqrt() - t

        def moved(rows: Tensor) -> Tensor:
            return product(product(rows, self.vectors.T) * stretch, self.vectors)

        return x + in_tiles(moved, z.double(), tile=TILE)

    def log_density(self, x: Tensor, eps: Tensor, sigmas: Sequence[float]) -> Tensor:
        """log N(x + sigma eps; m, C + sigma^2 I) of rows (n, d) at each level, (levels, n)."""
        x = x - self.mean
        along, eps_along = x @ self.vectors.T, eps @ self.vectors.T
        found = []
        for sigma in sigmas:
            rest = max(self.rest + sigma**2, torch.finfo(torch.float64).tiny)
            values = self.values + sigma**2
            square = (x + sigma * eps).square().sum(1) / rest
            square += (along + sigma * eps_along).square() @ (1 / values - 1 / rest)
            spread = float(values.log().sum()) + (x.shape[1] - len(values)) * math.log(rest)
            found.append(-0.5 * (square + spread + x.shape[1] * math.log(2 * math.pi)))
        return torch.stack(found)


@dataclass(frozen=True, eq=False)
class Gaussians:
    """The stored form: components of several images, then those of a single one.

    Attributes:
        counts: images of each component of several images and class, (K - N1, C), in integers that just hold them.
        means: of these components, (K - N1, d), float16 or float32.
        singles: the images of the others, as they came, (N1, d).
        classes: of these images, (N1,), in integers that just hold them.
        ranks: r_k of each component of several images, int32 (K - N1,); (1,) where all share one covariance.
        rest: s_k^2, float32, as many.
        values: L_k one after the other, float32 (sum r_k,).
        vectors: V_k one below the other, float16 or float32 (sum r_k, d).
    """

    counts: Tensor
    means: Tensor
    singles: Tensor
    classes: Tensor
    ranks: Tensor
    rest: Tensor
    values: Tensor
    vectors: Tensor

    @property
    def tensors(self) -> dict[str, Tensor]:
        """What is stored."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "Gaussians":
        """From what :attr:`tensors` gave.

        Raises:
            ValueError: these are no mixture.
        """
        names = [field.name for field in fields(cls)]
        if missing := [name for name in names if name not in tensors]:
            raise ValueError(
                f"No Gaussian mixture: {', '.join(missing)} is not among {', '.join(tensors) or 'nothing'}"
            )
        return cls(**{name: tensors[name] for name in names})

    @property
    def nbytes(self) -> int:
        """Bytes of all numbers; a file has a header besides."""
        return sum(one.numel() * one.element_size() for one in self.tensors.values())

    @property
    def dim(self) -> int:
        """d, the numbers of an image."""
        return self.means.shape[1]

    @property
    def shared(self) -> bool:
        """Whether all components have one covariance."""
        return len(self.ranks) == 1 and len(self) > 1

    def __len__(self) -> int:
        return len(self.means) + len(self.singles)

    @cached_property
    def _ends(self) -> list[int]:
        return [0, *self.ranks.cumsum(0).tolist()]

    def component(self, k: int) -> Component:
        """Component k in float64."""
        several = len(self.means)
        mean = self.means[k] if k < several else _floats(self.singles[k - several])
        if k >= several and not self.shared:
            return Component(mean.double(), torch.empty(0, self.dim).double(), torch.empty(0).double(), 0.0)
        place = 0 if self.shared else k
        rows = slice(self._ends[place], self._ends[place + 1])
        spread = self.vectors[rows].double(), self.values[rows].double(), float(self.rest[place])
        return Component(mean.double(), *spread)

    def choose(self, seeds: Sequence[int], labels: Tensor | None = None) -> Tensor:
        """A component for each sample in the shares of images, or of those of its class, int64 (B,).

        Raises:
            ValueError: a class of which no image was fitted.
        """
        found = torch.empty(len(seeds), dtype=torch.int64)
        groups: dict[int | None, Tensor] = {None: torch.arange(len(seeds))}
        if labels is not None:
            groups = {label: (labels == label).nonzero()[:, 0] for label in labels.unique().tolist()}
        for label, rows in groups.items():
            images = self._images(label).cumsum(0)
            if not int(images[-1]):
                raise ValueError(f"No image of class {label} was fitted, so none can be drawn")
            drawn = streams.integers([seeds[i] for i in rows.tolist()], int(images[-1]), "component")
            found[rows] = torch.searchsorted(images, drawn, right=True)
        return found

    def _images(self, label: int | None) -> Tensor:
        """How many of each component, int64 (K,): all, or those of a class."""
        if label is None:
            return torch.cat([self.counts.long().sum(1), torch.ones(len(self.singles), dtype=torch.int64)])
        known = 0 <= label < self.counts.shape[1]
        several = self.counts[:, label].long() if known else torch.zeros(len(self.means), dtype=torch.int64)
        return torch.cat([several, self.classes.eq(label).long()])

    @property
    def labels(self) -> Tensor:
        """The classes of the fitted images in ascending order, int64 (n,)."""
        images = self.counts.long().sum(0) + torch.bincount(self.classes.long(), minlength=self.counts.shape[1])
        return torch.arange(len(images)).repeat_interleave(images)

    def points(self, z: Tensor, component: Tensor, sigma: float) -> Tensor:
        """Noise (B, d) under the map of each row's component (B,): (B, d), in the type of z."""
        x = torch.empty_like(z)
        for k in component.unique().tolist():
            rows = (component == k).nonzero()[:, 0]
            x[rows] = self.component(k).map(z[rows], sigma).to(z.dtype)
        return x

    def log_likelihood(self, x: Tensor, eps: Tensor, sigmas: Sequence[float]) -> list[float]:
        """Mean of log p_sigma(x + sigma eps) / d over rows (n, d), in nats, at each of the levels, all above 0."""
        return [float(one.mean()) / self.dim for one in self.log_density(x, eps, sigmas)]

    def log_density(self, x: Tensor, eps: Tensor, sigmas: Sequence[float]) -> Tensor:
        """log p_sigma(x + sigma eps) of rows (n, d), in nats, at each level above 0: float64 (levels, n)."""
        x, eps, images = x.double(), eps.double(), self._images(None).double()
        total = torch.full((len(sigmas), len(x)), -math.inf, dtype=torch.float64)
        weights = (images / images.sum()).log()
        for k in range(len(self) if self.shared else len(self.means)):
            total = torch.logaddexp(total, self.component(k).log_density(x, eps, sigmas) + weights[k])
        for first in range(0, len(x), ROWS) if len(self.singles) and not self.shared else ():
            rows = slice(first, first + ROWS)
            for i, found in enumerate(self._log_of_singles(x[rows], eps[rows], sigmas, -math.log(images.sum()))):
                total[i, rows] = torch.logaddexp(total[i, rows], found)
        return total

    def _log_of_singles(self, x: Tensor, eps: Tensor, sigmas: Sequence[float], log: float) -> Iterator[Tensor]:
        images = _floats(self.singles).double()
        for sigma in sigmas:
            square = torch.cdist(x + sigma * eps, images).square() / sigma**2
            yield (-0.5 * square).logsumexp(1) + log - 0.5 * self.dim * math.log(2 * math.pi * sigma**2)


def _floats(images: Tensor) -> Tensor:
    return to_float(images) if images.dtype == torch.uint8 else images
