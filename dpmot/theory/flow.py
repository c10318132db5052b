r"""Laws whose score and flow are known: equal Gaussians, under noise, with an error of the score of a known size.

    p_sigma = (1/K) sum_k N(m_k, (s^2 + sigma^2) I),        D(x, sigma) = (s^2 x + sigma^2 mbar(x)) / (s^2 + sigma^2),

mbar(x) = sum_k r_k(x) m_k the posterior mean of the means. The flow is dx / d sigma = (x - D) / sigma; in
v = log(s^2 + sigma^2) / 2 it is dx / dv = x - mbar(x), without a singularity at 0. The Jacobian of D is

    grad D = s^2 / (s^2 + sigma^2) I + sigma^2 / (s^2 + sigma^2)^2 Cov_r(m),

and along a direction u the variance of <m, u> is at most (half its range)^2 (Popoviciu 1935), so that with R half the
largest distance of two means, and exactly where two means alone share the weight,

    Lip D(., sigma) <= s^2 / (s^2 + sigma^2) + sigma^2 R^2 / (s^2 + sigma^2)^2.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from dpmot import seeds as streams
from dpmot.device import ordinary

STEP = 0.05  # of v, of the classical Runge-Kutta method: 5e-8 of x - m a unit of v for one Gaussian
Kind = Literal["none", "bias", "wave"]


@dataclass(frozen=True, eq=False)
class Law:
    """K Gaussians of equal shares.

    Attributes:
        means: m_k, float64 (K, d).
        std: s, above 0, one for all.
    """

    means: Tensor
    std: float

    @property
    def dim(self) -> int:
        """d."""
        return self.means.shape[1]

    @cached_property
    def radius(self) -> float:
        """R, half the largest distance of two means; 0 of one Gaussian."""
        return float(torch.cdist(self.means, self.means).max()) / 2

    @cached_property
    def spread(self) -> float:
        """Root mean square distance to the mean: the W2 distance to a point mass there."""
        centred = self.means - self.means.mean(0)
        return math.sqrt(float(centred.square().sum(1).mean()) + self.dim * self.std**2)

    def draw(self, number: int, *key: int | str) -> Tensor:
        """Samples of p_0 from the stream of this key, float64 (n, d)."""
        stream = streams.generator(*key)
        which = torch.from_numpy(stream.integers(len(self.means), size=number))
        return self.means[which] + self.std * torch.from_numpy(stream.standard_normal((number, self.dim)))

    def denoise(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """D of x (B, d) at sigma () or (B,), in x's dtype."""
        level = torch.as_tensor(sigma, dtype=x.dtype).square()
        level, means = level[:, None] if level.dim() else level, self.means.to(x)
        variance = self.std**2 + level
        mean = torch.softmax(-torch.cdist(x, means).square() / (2 * variance), 1) @ means
        return (self.std**2 * x + level * mean) / variance

    def log_density(self, x: Tensor, sigma: float) -> Tensor:
        """log p_sigma of x (B, d): (B,)."""
        variance = self.std**2 + sigma**2
        own = -0.5 * (torch.cdist(x, self.means).square() / variance + self.dim * math.log(2 * math.pi * variance))
        return own.logsumexp(1) - math.log(len(self.means))

    def jacobian(self, x: Tensor, sigma: float) -> Tensor:
        """grad D at x (B, d): (B, d, d), symmetric, no eigenvalue below s^2 / (s^2 + sigma^2)."""
        variance = self.std**2 + sigma**2
        weights = torch.softmax(-torch.cdist(x, self.means).square() / (2 * variance), 1)
        centred = self.means - (weights @ self.means)[:, None]
        covariance = torch.einsum("bk,bki,bkj->bij", weights, centred, centred)
        return self.std**2 / variance * torch.eye(self.dim).to(x) + sigma**2 / variance**2 * covariance

    def lipschitz(self, sigma: float) -> float:
        """The bound on Lip D(., sigma) above."""
        variance = self.std**2 + sigma**2
        return (self.std**2 + sigma**2 * self.radius**2 / variance) / variance

    def flow(self, x: Tensor, sigma: float, to: float) -> Tensor:
        """Where the exact flow takes x (B, d) from one level to another, both at least 0."""
        v, end = (math.log(self.std**2 + level**2) / 2 for level in (sigma, to))
        number = max(1, math.ceil(abs(end - v) / STEP))
        h = (end - v) / number
        for _ in range(number):
            first = self._slope(x, v)
            second = self._slope(x + h / 2 * first, v + h / 2)
            third = self._slope(x + h / 2 * second, v + h / 2)
            x, v = x + h / 6 * (first + 2 * (second + third) + self._slope(x + h * third, v + h)), v + h
        return x

    def _slope(self, x: Tensor, v: float) -> Tensor:
        nearness = torch.cdist(x, self.means).square() * (-math.exp(-2 * v) / 2)
        return x - torch.softmax(nearness, 1) @ self.means


@dataclass(frozen=True, eq=False)
class ScoreError:
    r"""What a denoiser adds to D: e(x, sigma) = size c w(x), c = sigma S / sqrt(sigma^2 + S^2).

    S^2 is the law's variance along a coordinate and c the posterior deviation of Gaussian data of it, so that ``size``
    is the error over that deviation: the mean square of e along a coordinate is (size c)^2. w is

        bias   a sign for each coordinate, the same everywhere and at all levels;
        wave   sqrt(2) sin(x O / S + phase), O a random orthogonal matrix and phases uniform, the same at all levels:
               of mean square 1 at every x, over the phases, and of the Lipschitz constant sqrt(2) / S.
    """

    law: Law
    kind: Kind
    size: float
    seed: int

    @cached_property
    def _field(self) -> tuple[Tensor, Tensor]:
        stream = streams.generator(self.seed, "bound", self.kind)
        phase = torch.from_numpy(stream.uniform(0, 2 * math.pi, self.law.dim))
        turn, upper = torch.linalg.qr(torch.from_numpy(stream.standard_normal((self.law.dim, self.law.dim))))
        return turn * upper.diagonal().sign(), phase

    @property
    def _scale(self) -> float:
        return self.law.spread / math.sqrt(self.law.dim)

    def _height(self, sigma: Tensor | float) -> Tensor:
        level = torch.as_tensor(sigma, dtype=torch.float64)
        height = self.size * level * self._scale / (level.square() + self._scale**2).sqrt()
        return height[:, None] if height.dim() else height

    def __call__(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """e of x (B, d) at sigma () or (B,)."""
        if self.kind == "none":
            return torch.zeros_like(x)
        turn, phase = (one.to(x) for one in self._field)
        if self.kind == "bias":
            return (self._height(sigma) * (phase - math.pi).sign()).to(x).expand_as(x)
        return (self._height(sigma) * math.sqrt(2) * torch.sin(x @ turn / self._scale + phase)).to(x)

    def jacobian(self, x: Tensor, sigma: float) -> Tensor:
        """Its derivative, row i that of coordinate i: (B, d, d)."""
        if self.kind != "wave":
            return x.new_zeros(len(x), x.shape[1], x.shape[1])
        turn, phase = self._field
        slope = float(self._height(sigma)) * math.sqrt(2) / self._scale * torch.cos(x @ turn / self._scale + phase)
        return slope[:, :, None] * turn.T

    def lipschitz(self, sigma: float) -> float:
        """Lip e(., sigma)."""
        return float(self._height(sigma)) * math.sqrt(2) / self._scale if self.kind == "wave" else 0.0


@ordinary(grad=False)
def ddim(law: Law, x: Tensor, sigmas: Sequence[float], error: ScoreError | None = None) -> Tensor:
    """DDIM's x_{i+1} = r x_i + (1 - r) (D + e)(x_i), r = sigma_{i+1} / sigma_i, of x (B, d) down the levels."""
    for sigma, to in itertools.pairwise(sigmas):
        told = law.denoise(x, sigma) if error is None else law.denoise(x, sigma) + error(x, sigma)
        x = to / sigma * x + (1 - to / sigma) * told
    return x


@ordinary(grad=False)
def log_volume(law: Law, x: Tensor, sigmas: Sequence[float], error: ScoreError) -> tuple[Tensor, Tensor]:
    """The end of DDIM, (B, d), and log |det| of its derivative along the way, (B,)."""
    total, unit = x.new_zeros(len(x)), torch.eye(law.dim).to(x)
    for sigma, to in itertools.pairwise(sigmas):
        keep = to / sigma
        step = keep * unit + (1 - keep) * (law.jacobian(x, sigma) + error.jacobian(x, sigma))
        total = total + torch.linalg.slogdet(step).logabsdet
        x = ddim(law, x, (sigma, to), error)
    return x, total


def invertible(law: Law, sigmas: Sequence[float], error: ScoreError) -> bool:
    """Whether every step of DDIM is shown to be one to one: its derivative has a symmetric part above 0 everywhere."""
    least = [
        to / sigma + (1 - to / sigma) * (law.std**2 / (law.std**2 + sigma**2) - error.lipschitz(sigma))
        for sigma, to in itertools.pairwise(sigmas)
    ]
    return min(least) > 0
