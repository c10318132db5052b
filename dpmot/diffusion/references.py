r"""What a denoiser's error is judged against, all on the same images and the same noise.

    identity  x itself:                                                    error sigma^2
    Wiener    mu + C (C + sigma^2 I)^-1 (x - mu), the best affine denoiser for data of mean mu and covariance C
    ideal     the posterior mean of the images, a softmax over them: nothing errs less on them, on average

The Wiener filter is estimated without the images that are tried. Where an image has more than ``WIDEST`` numbers it
filters blocks of it, whose covariance all blocks share. The ideal denoiser knows the images that are tried: it is a
bound, which a good network does not reach at small sigma. With labels it knows the class.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from dpmot import seeds
from dpmot.diffusion.denoiser import IdealDenoiser

WIDEST = 1024  # numbers of a block that is filtered as one
KEPT = 2**25  # numbers of the images that are looked at: 42,000 of Fashion-MNIST's, 10,000 of CIFAR-10's


@dataclass(frozen=True)
class Trial:
    """Some images, their noise, and the levels at which a denoiser is tried.

    Attributes:
        images: all that are known, float (N, *S) in [-1, 1].
        labels: (N,) or None.
        rows: (B,) which of them are tried.
        sigmas: (L,) ascending levels.
        seed: of the noise.
    """

    images: Tensor
    labels: Tensor | None
    rows: Tensor
    sigmas: tuple[float, ...]
    seed: int = 0

    @classmethod
    def of(cls, images: Tensor, labels: Tensor | None, sigmas: Sequence[float], *, rows: int, seed: int) -> "Trial":
        """A trial on ``rows`` images, drawn by the seed among the first ``KEPT`` numbers."""
        most = max(rows, KEPT // max(1, images[0].numel()))
        images, labels = images[:most], None if labels is None else labels[:most]
        order = torch.from_numpy(seeds.generator(seed, "doctor", "rows").permutation(len(images)))
        return cls(images, labels, order[:rows], tuple(map(float, sigmas)), seed)

    def others(self, number: int) -> "Trial":
        """The same with so many other images and noise, or as many as there are; with all where too few are left."""
        order = seeds.generator(self.seed, "doctor", "others").permutation(len(self.images))
        rest = np.setdiff1d(order, self.rows.numpy(), assume_unique=True)  # keeps the order
        chosen = torch.from_numpy(rest if len(rest) >= len(self.rows) else order)[:number]
        return replace(self, rows=chosen, seed=self.seed + 1)

    @cached_property
    def x0(self) -> Tensor:
        """The clean images that are tried, (B, *S)."""
        return self.images[self.rows]

    @cached_property
    def given(self) -> Tensor | None:
        """Their labels, (B,)."""
        return None if self.labels is None else self.labels[self.rows]

    @cached_property
    def noise(self) -> Tensor:
        """N(0, I), (B, *S), the same at every level."""
        drawn = seeds.generator(self.seed, "doctor", "noise").standard_normal(tuple(self.x0.shape), dtype="float32")
        return torch.from_numpy(drawn)

    def noisy(self, sigma: float) -> Tensor:
        """x0 + sigma eps, (B, *S)."""
        return self.x0 + sigma * self.noise

    def error(self, output: Tensor) -> float:
        """Mean squared error of an answer (B, *S), a pixel."""
        return float((output.double() - self.x0.double()).square().mean())

    @cached_property
    def wiener(self) -> tuple[float, ...]:
        """The Wiener filter's error at each level."""
        rest = torch.ones(len(self.images), dtype=torch.bool)
        rest[self.rows] = len(self.images) < 2 * len(self.rows)  # too few to spare any
        filtered = Wiener(self.images[rest])
        return tuple(self.error(filtered(self.noisy(sigma), sigma)) for sigma in self.sigmas)

    @cached_property
    def ideal(self) -> tuple[float, ...]:
        """The ideal denoiser's error at each level, of each class apart where there are labels."""
        outputs = [torch.empty_like(self.x0) for _ in self.sigmas]
        groups = [None] if self.labels is None else self.given.unique().tolist()  # type: ignore[union-attr]
        for group in groups:
            tried = slice(None) if group is None else self.given == group
            known = IdealDenoiser(self.images if group is None else self.images[self.labels == group])
            for output, sigma in zip(outputs, self.sigmas, strict=True):
                output[tried] = known(self.noisy(sigma)[tried], torch.tensor(sigma))
        return tuple(map(self.error, outputs))


class Wiener:
    """The Wiener filter of images (N, *S), by the eigenvectors of their covariance, shrunk as Ledoit & Wolf (2004)."""

    def __init__(self, images: Tensor) -> None:
        from sklearn.covariance import ledoit_wolf  # half a second, and only here

        self.mean = images.double().mean(0)
        self.sides = _block(tuple(images.shape[1:]))
        centred = self._split((images[: max(2, KEPT // images[0].numel() // 4)] - self.mean).double())
        covariance, _ = ledoit_wolf(centred.numpy(), assume_centered=True)
        self.variances, self.axes = torch.linalg.eigh(torch.from_numpy(covariance))

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """x (B, *S) -> (B, *S)."""
        centred = self._split(x.double() - self.mean)
        gains = self.variances.clamp_min(0) / (self.variances.clamp_min(0) + sigma**2)
        filtered = ((centred @ self.axes) * gains) @ self.axes.T
        return (self._joined(filtered, x.shape) + self.mean).to(x.dtype)

    def _split(self, x: Tensor) -> Tensor:
        """(B, *S) -> its blocks, (B n, numbers of a block)."""
        if x.dim() != 4:
            return x.flatten(1).reshape(-1, self.sides[0])
        (b, c, h, w), (high, wide) = x.shape, self.sides
        cut = x.reshape(b, c, h // high, high, w // wide, wide)
        return cut.permute(0, 2, 4, 1, 3, 5).reshape(-1, c * high * wide)

    def _joined(self, blocks: Tensor, shape: Sequence[int]) -> Tensor:
        if len(shape) != 4:
            return blocks.reshape(shape)
        (b, c, h, w), (high, wide) = shape, self.sides
        return blocks.reshape(b, h // high, w // wide, c, high, wide).permute(0, 3, 1, 4, 2, 5).reshape(shape)


def _block(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Sides of the largest blocks that fill an image: (high, wide), or (numbers,) of a vector."""
    if len(shape) != 3:
        return (_divisor(math.prod(shape), WIDEST),)
    channels, high, wide = shape
    if channels * high * wide <= WIDEST:
        return high, wide
    most = max(1, math.isqrt(WIDEST // channels))
    return _divisor(high, most), _divisor(wide, most)


def _divisor(number: int, most: int) -> int:
    """The largest divisor up to ``most``."""
    return next(divisor for divisor in range(min(number, most), 0, -1) if number % divisor == 0)
