r"""How often an exact denoiser hands back the image behind its start: source recovery, predicted from the images alone.

A start is x = y_I + sigma eps, I a random one of N stored images. Its source has the posterior

    p_j(x) = softmax_j(-|x - y_j|^2 / 2 sigma^2),

so that whatever is made of x alone, ending at image T(x), is its source with probability E p_T(x):

    a posterior draw, T ~ p                E sum_j p_j^2
    the flow of the ideal denoiser, DDIM   E p_T(x),    T(x) the end of dx / d sigma = (x - D(x, sigma)) / sigma.

Neither asks which image x came from, which spares the variance of asking. Images that coincide count as one. The
information of a latent about its source, I(I; x) = E log p_I(x) / w_I, w the shares of the images, is at most log N.

A trajectory is followed until one image has all weight but ``UNDECIDED``: with x = y_j + s u the logarithm of the odds
of j against k is |y_j - y_k|^2 / 2 s^2 + <y_j - y_k, u> / s, which grows as s falls once it is above 0, and D = y_j.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dpmot import seeds as streams
from dpmot.device import ordinary
from dpmot.diffusion.denoiser import IdealDenoiser
from dpmot.statistics.jackknife import Estimate, mean_interval

UNDECIDED = 1e-6
RATIO, MOST = 0.8, 200  # of one level to the next one, and steps: from 80 to 1e-17
WEIGHTS, TOGETHER = 2**22, 1024  # posterior weights, and latents, in memory at once


@dataclass(frozen=True)
class Recovery:
    """At one noise level, with 95 % intervals over latents.

    Attributes:
        sigma: the level.
        posterior: recovery of a posterior draw, in [0, 1].
        ode: that of the ideal denoiser's flow.
        information: of a latent about its source, in nats, at most log N.
    """

    sigma: float
    posterior: Estimate
    ode: Estimate
    information: Estimate


class Stored:
    """The images behind the starts.

    Args:
        images: (N, *S), floats.

    Attributes:
        group: the image that each is, the same of those that coincide, int64 (N,).
        shares: w of the images that differ, float64 (G,), summing to 1.
    """

    def __init__(self, images: Tensor) -> None:
        self.images, self.ideal = images, IdealDenoiser(images)
        first: dict[bytes, int] = {}
        rows = images.flatten(1).contiguous().numpy()
        marks = (blake2b(row.tobytes(), digest_size=16).digest() for row in rows)
        self.group = torch.tensor([first.setdefault(mark, len(first)) for mark in marks])
        self.shares = torch.bincount(self.group).double() / len(images)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def entropy(self) -> float:
        """Of the images, in nats: log N where no two coincide."""
        return float(-(self.shares * self.shares.log()).sum())

    @property
    def chance(self) -> float:
        """Recovery of what does not look at x: 1 / N where no two coincide."""
        return float(self.shares.square().sum())

    def weights(self, x: Tensor, sigma: float) -> Tensor:
        """The posterior of the images that differ at x (B, *S), float64 (B, G)."""
        return self.of_groups(self.ideal.weights(x, sigma))

    def of_groups(self, weights: Tensor) -> Tensor:
        """Weights of all images, (B, N), as those of the images that differ, (B, G)."""
        if len(self.shares) == len(self):
            return weights
        return weights.new_zeros(len(weights), len(self.shares)).index_add_(1, self.group, weights)

    def ends(self, x: Tensor, sigma: float) -> Tensor:
        """Where the flow of the ideal denoiser ends from x (B, *S): int64 (B,), of the images that differ.

        Steps are those of DPM-Solver++(2M) (Lu et al. 2022): of the second order, one evaluation each.
        """
        found = torch.empty(len(x), dtype=torch.int64)
        rows, x, before = torch.arange(len(x)), x.flatten(1).double(), None
        for _ in range(MOST):
            weights = self.ideal.weights(x, sigma)
            top = self.of_groups(weights).max(1)
            found[rows] = top.indices
            going = top.values < 1 - UNDECIDED
            if not going.any():
                break
            mean = self.ideal.mean(weights[going])
            ahead = mean if before is None else 1.5 * mean - 0.5 * before[going]
            rows, x, before = rows[going], RATIO * x[going] + (1 - RATIO) * ahead, mean
            sigma *= RATIO
        return found

    def latents(self, number: int, seed: int, *purpose: str) -> tuple[Tensor, Tensor]:
        """Sources int64 (n,), every image as often as any other or once more, and N(0, 1) noise float32 (n, *S)."""
        order = streams.generator(seed, "predict", "sources", *purpose).permutation(len(self))
        rows = streams.sample_seeds(seed, number)
        noise = streams.normal(rows, self.images.shape[1:], "predict", *purpose)
        return torch.from_numpy(np.resize(order, number)), noise


@ordinary(grad=False)
def recovery(
    stored: Stored, sigmas: Sequence[float], *, num_latents: int, seed: int, progress: bool = False
) -> list[Recovery]:
    """Recovery at each level, with the same latents' sources and noise at all.

    Args:
        stored: the images.
        sigmas: levels above 0, in the units of the images.
        num_latents: n, of which intervals are.
        seed: of sources and noise.
        progress: show a bar on standard error.
    """
    source, noise = stored.latents(num_latents, seed)
    found, hidden = [], None if progress else True
    with tqdm(total=len(sigmas) * num_latents, desc="recovery", unit="latent", disable=hidden) as bar:
        for sigma in sigmas:
            told = of_each(stored, source, noise, sigma, bar)
            found.append(Recovery(sigma, share(told.drawn), share(told.ended), mean_interval(told.known)))
    return found


class Told(NamedTuple):
    """Of each latent, float64 (n,): sum_j p_j^2, p_T, and log p_I / w_I. The first two are of x alone."""

    drawn: np.ndarray
    ended: np.ndarray
    known: np.ndarray


@ordinary(grad=False)
def of_each(stored: Stored, source: Tensor, noise: Tensor, sigma: float, bar: tqdm | None = None) -> Told:
    """What the posterior at each of the latents y_I + sigma eps says; see `Stored.latents`."""
    parts = []
    for few in torch.arange(len(source)).split(max(1, min(TOGETHER, WEIGHTS // len(stored)))):
        parts.append(_looks(stored, source[few], noise[few], sigma))
        if bar is not None:
            bar.update(len(few))
    return Told(*(torch.cat(columns).numpy() for columns in zip(*parts, strict=True)))


def _looks(stored: Stored, source: Tensor, noise: Tensor, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    """Of each latent: sum_j p_j^2, p_T and log p_I / w_I, float64 (B,)."""
    x = stored.images[source].double() + sigma * noise.double()
    weights = stored.weights(x, sigma)
    rows, own = torch.arange(len(x)), stored.group[source]
    ends = stored.ends(x, sigma)
    told = weights[rows, own].clamp_min(1e-300).log() - stored.shares[own].log()
    return weights.square().sum(1), weights[rows, ends], told


def share(values: np.ndarray) -> Estimate:
    """Mean of values in [0, 1] with its jackknife interval, and what so many values can have missed (`unseen`)."""
    return unseen(mean_interval(values), len(values))


def unseen(found: Estimate, n: int, *, least: float = 0.0) -> Estimate:
    """The mean of n values in [least, 1], its interval as wide at least as three more, all at one end, would move it.

    An image with a near twin, or far from all others, has another recovery than the rest and is rare: values that are
    all alike claim certainty. Of what befalls a share of 3 / n, n draws have none with a chance of 5 % (rule of three).
    """
    few = [(n * found.value + 3 * end) / (n + 3) for end in (least, 1.0)]
    return Estimate(found.value, max(least, min(found.low, few[0])), min(1.0, max(found.high, few[1])))


def enough(found: Estimate, n: int, most: float) -> float:
    """How many values of this mean have an upper end of at most ``most``, by n of them; infinite above it.

    By :func:`unseen` (n m + 3) / (n + 3) <= most, and where the jackknife's end is farther it nears as 1 / sqrt(n).
    """
    room = most - found.value
    if room <= 0:
        return math.inf
    farther = found.high > (n * found.value + 3) / (n + 3) + 1e-12  # rounding
    return max(3 * (1 - most) / room, n * ((found.high - found.value) / room) ** 2 if farther else 0.0)
