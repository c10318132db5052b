r"""Every network is seen as a denoiser D(x, sigma) = E[x0 | x0 + sigma eps = x].

Two denoisers are known in closed form and serve as truth: a finite data set's posterior mean is a softmax over
its points, and a Gaussian mixture's is a responsibility-weighted average (Vincent 2011; Karras et al. 2022, app. B.3).
"""

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from dpmot.device import ordinary
from dpmot.diffusion.audit import evaluated
from dpmot.diffusion.protocols import Callback, Denoiser, Noise, is_posterior_mean  # noqa: F401 - imported from here too
from dpmot.tiles import in_tiles

BLOCK = 2048  # points, or pairs, taken to float64 at a time
FEW = 32  # points a row
NEGLIGIBLE = 50.0  # nats: e^-50 N is under float64's last bit for every N in memory


def per_sample(sigma: Tensor | float, x: Tensor) -> Tensor:
    """sigma () or (B,) as a vector (B,) in x's dtype and device."""
    return torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(len(x))


class NonFiniteOutput(ArithmeticError):
    """A network returned NaN or infinity; the message names the level ``sigma``.

    ``batch`` holds the rows that it did so for: "row" (b,), "x" (b, *S), "sigma" (b,), "output" (b, *S).
    """

    def __init__(self, sigma: float, batch: dict[str, Tensor] | None = None) -> None:
        super().__init__(f"The network returned NaN or infinity at sigma {sigma:.4g}")
        self.sigma, self.batch = sigma, batch or {}


class TiledDenoiser:
    """Evaluates a denoiser in fixed tiles (:mod:`dpmot.tiles`) and in float32.

    Args:
        labels: (B,) of every batch it will be given, for a denoiser that takes them; a batch of k B rows holds the
            B samples k times.
        tile: rows; None: as suits the size of an image.
    """

    def __init__(self, denoiser: Denoiser, *, labels: Tensor | None = None, tile: int | None = None) -> None:
        self.denoiser, self.labels, self.tile = denoiser, labels, tile
        self.sigma_min, self.sigma_max = denoiser.sigma_min, denoiser.sigma_max
        self.evaluations_each = getattr(denoiser, "evaluations_each", 1)  # of the network
        self.posterior_mean = is_posterior_mean(denoiser)

    def __call__(self, x: Tensor, sigma: Tensor, to: Tensor | float | None = None) -> Tensor:
        """D(x, sigma) in x's dtype, (B, *S), an ordinary tensor without gradient.

        With ``to``, () or (B,), it is D of the span from sigma to there (:mod:`dpmot.diffusion.networks.meanflow`).

        Raises:
            NonFiniteOutput: the network returned NaN or infinity.
            ValueError: a span is asked for, and the network knows none.
        """
        levels = per_sample(sigma, x).float()
        labels = () if self.labels is None else (self.labels.repeat(len(x) // len(self.labels)),)
        if to is None:
            output = in_tiles(self.denoiser, x.float(), levels, *labels, tile=self.tile)
        else:
            output = in_tiles(self._of_span, x.float(), levels, per_sample(to, x).float(), *labels, tile=self.tile)
        if not torch.isfinite(output.sum()):  # NaN and infinity reach the sum; a quarter of the time of asking each
            row = (~torch.isfinite(output)).flatten(1).any(1).nonzero()[:, 0]
            if len(row):  # and not merely a sum beyond the largest number
                batch = {"row": row, "x": x[row], "sigma": levels[row], "output": output[row]}
                raise NonFiniteOutput(float(levels[0]), batch)
        return output.to(x.dtype)

    def _of_span(self, x: Tensor, sigma: Tensor, to: Tensor, *labels: Tensor) -> Tensor:
        ask: Any = self.denoiser
        if not getattr(ask, "spans", False):
            told = "give one of kind meanflow, without guidance, or another sampler"
            raise ValueError(f"the sampler asks for D of a span, D(x, sigma, to), and the network knows none: {told}")
        return ask(x, sigma, *labels, to=to)


class IdealDenoiser:
    """Posterior mean of a finite data set: D(x, sigma) = sum_i softmax_i(-|x - y_i|^2 / 2 sigma^2) y_i.

    Made for many points of many dimensions, where a softmax is mostly one point, or few. A float32 product finds the
    points that can matter: it errs by at most (d + 32) u (|x|^2 + |y|^2) / 2, u = 2^-24, in whatever order it is
    summed. Where these are few, their distances are taken by differences in float64; elsewhere products are float64.

    Args:
        points: the data y_i, (N, *S).
    """

    sigma_min, sigma_max = 0.002, 80.0

    def __init__(self, points: Tensor) -> None:
        self.points = points
        flat = points.flatten(1)
        self._mean = flat.mean(0, dtype=torch.float64)
        self._centred = torch.cat([(part.double() - self._mean).float() for part in flat.split(BLOCK)])
        self._half = torch.cat([part.double().square().sum(1) / 2 for part in self._centred.split(BLOCK)])

    @ordinary()
    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """x (B, *S), sigma () or (B,) -> (B, *S)."""
        evaluated(self, len(x))
        exact, variance = x.flatten(1).double(), per_sample(sigma, x).double().square()
        rows, index = self._candidates(exact - self._mean, variance)
        count = torch.bincount(rows, minlength=len(x))
        few = (count > 0) & (count <= FEW)  # no candidate at all: NaN, which must come out again
        result = torch.empty_like(exact)
        if few.any():
            of_few = few[rows]  # which pairs belong to such rows
            result[few] = self._of_few(exact, variance, rows[of_few], index[of_few])[few]
        if not few.all():
            result[~few] = self._of_all(exact, variance)[~few]  # of the whole tile: a product's bits know its shape
        return result.to(x.dtype).reshape(x.shape)

    @ordinary()
    def weights(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """The posterior softmax_i(-|x - y_i|^2 / 2 sigma^2) of x (B, *S) at sigma () or (B,): float64 (B, N)."""
        exact, variance = x.flatten(1).double(), per_sample(sigma, x).double().square()
        rows, index = self._candidates(exact - self._mean, variance)
        few = torch.bincount(rows, minlength=len(x)) <= FEW
        of_few = few[rows]
        result = exact.new_zeros(len(x), len(self.points))
        if of_few.any():
            rows, index = rows[of_few], index[of_few]
            result[rows, index] = self._weights_of_few(exact, variance, rows, index)
        if not few.all():
            result[~few] = self._weights_of_all(exact[~few], variance[~few])
        return result

    @ordinary()
    def mean(self, weights: Tensor) -> Tensor:
        """sum_i w_i y_i of weights float64 (B, N) that sum to 1: float64 (B, d)."""
        few = weights.gt(0).sum(1) <= FEW
        result = weights.new_zeros(len(weights), self._centred.shape[1])
        rows, index = (weights * few[:, None]).nonzero().T
        for i, j in zip(rows.split(BLOCK), index.split(BLOCK), strict=True):
            result.index_add_(0, i, weights[i, j][:, None] * self.points.flatten(1)[j].double())
        if not few.all():
            result[~few] = weights[~few] @ self._exact + self._mean
        return result

    def _candidates(self, centred: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """(row, point) of all pairs whose weight may be more than e^-NEGLIGIBLE of the row's largest."""
        near = centred.float()
        scores = near @ self._centred.T - self._half.float()
        size = near.double().square().sum(1) / 2 + self._half.max()
        error = (near.shape[1] + 32) * 2.0**-24 * size
        limit = scores.max(1).values.double() - 3 * error - NEGLIGIBLE * variance  # one more for its own rounding
        rows, index = (scores >= limit.float()[:, None]).nonzero().T
        return rows, index

    def _weights_of_few(self, x: Tensor, variance: Tensor, rows: Tensor, index: Tensor) -> Tensor:
        """Of the pairs (row, point), each row's to sum 1."""
        y = self.points.flatten(1)
        pairs = zip(rows.split(BLOCK), index.split(BLOCK), strict=True)
        log = torch.cat([-(x[i] - y[j].double()).square().sum(1) / (2 * variance[i]) for i, j in pairs])
        top = log.new_full((len(x),), -torch.inf).scatter_reduce(0, rows, log, "amax")
        weight = (log - top[rows]).exp()
        return weight / torch.zeros_like(top).index_add(0, rows, weight)[rows]

    def _of_few(self, x: Tensor, variance: Tensor, rows: Tensor, index: Tensor) -> Tensor:
        """The mean over the pairs (row, point), (B, d); 0 for rows without a pair."""
        y, weight = self.points.flatten(1), self._weights_of_few(x, variance, rows, index)
        result = torch.zeros_like(x)
        for i, j, w in zip(rows.split(BLOCK), index.split(BLOCK), weight.split(BLOCK), strict=True):
            result.index_add_(0, i, w[:, None] * y[j].double())
        return result

    def _of_all(self, x: Tensor, variance: Tensor) -> Tensor:
        """The mean over all points, (B, d)."""
        return self._weights_of_all(x, variance) @ self._exact + self._mean

    def _weights_of_all(self, x: Tensor, variance: Tensor) -> Tensor:
        scores = (x - self._mean) @ self._exact.T - self._exact_half
        return torch.softmax(scores / variance[:, None], dim=1)

    @cached_property
    def _exact(self) -> Tensor:
        """The centred points in float64: twice the memory, needed only where a softmax is of many points."""
        return self.points.flatten(1).double() - self._mean

    @cached_property
    def _exact_half(self) -> Tensor:
        """Half of their squares, (N,)."""
        return torch.cat([part.square().sum(1) / 2 for part in self._exact.split(BLOCK)])


class MixtureDenoiser:
    """Posterior mean of an isotropic Gaussian mixture sum_k N(mu_k, s^2 I) / K.

    D(x, sigma) = sum_k r_k(x) (s^2 x + sigma^2 mu_k) / (s^2 + sigma^2), with r_k the posterior of component k.

    Args:
        means: mu_k, (K, d).
        std: s, one for all components.
    """

    sigma_min, sigma_max = 0.002, 80.0

    def __init__(self, means: Tensor, std: float) -> None:
        self.means, self.std = means, std

    @ordinary()
    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """x (B, d), sigma () or (B,) -> (B, d)."""
        evaluated(self, len(x))
        means, variance = self.means.to(x), per_sample(sigma, x).square()[:, None]
        total = self.std**2 + variance
        squared = (x[:, None, :] - means).square().sum(-1)
        mean = torch.softmax(-squared / (2 * total), dim=1) @ means
        return (self.std**2 * x + variance * mean) / total
