r"""How much a noisy image tells of the image behind it: I(x0; x_sigma) of the *population*, not of N stored images.

    I(x0; x_sigma) = h(x_sigma) - h(sigma eps),    h(sigma eps) = d/2 log(2 pi e sigma^2).

With a density q that was fitted to some images and asked about others, the cross-entropy is at least h(x_sigma), so

    I(x0; x_sigma) <= E[log p(x | x0) - log q_sigma(x)],    x = x0 + sigma eps,

for every q: a bound from above. q is a mixture of K Gaussians (:mod:`dpmot.mixtures`) under noise, K chosen at each
level on images of its own. From below, I is at least the information over N stored images, which is at most log N
(:mod:`dpmot.theory.recovery`; the bound of contrastive learning, Oord et al. 2018).

The criterion of arXiv:2607.08041: where I itself exceeds log N, N images cannot cover what the latents tell apart, and
a denoiser that fits them exactly has to copy. A bound from above decides one side only: below log N, so is I, and
copying is not forced; above log N nothing follows.
"""

import math
from collections.abc import Sequence
from hashlib import blake2b

import torch
from torch import Tensor

from dpmot import seeds as streams
from dpmot.device import ordinary
from dpmot.images import to_float
from dpmot.mixtures import fitting
from dpmot.statistics.jackknife import Estimate, mean_interval

COMPONENTS = (1, 10, 100)  # K that are tried
FITTED, ASKED = 10_000, 500  # images that are fitted at most, and that choose K, and that are asked
LEAST = 40  # images: a jackknife of a quarter needs ten


@ordinary(grad=False)
def population(images: Tensor, sigmas: Sequence[float], *, seed: int) -> list[Estimate]:
    """The upper bound on I(x0; x_sigma) at each level, in nats, with 95 % intervals over the images that are asked.

    Args:
        images: a sample of the population, uint8 or floats (n, *S). Those that coincide count once, so that no image
            that is fitted is asked too. Of the different ones, at least LEAST, half is fitted (at most FITTED), a
            quarter chooses K and a quarter is asked (at most ASKED each).
        sigmas: levels above 0.
        seed: of the parts, of k-means and of noise.

    Raises:
        ValueError: there are too few images, or no mixture of them can be fitted.
    """
    images = distinct(images)
    if len(images) < LEAST:
        raise ValueError(
            f"{len(images)} different images are too few to fit a density to half of them; give at least {LEAST}"
        )
    order = torch.from_numpy(streams.generator(seed, "predict", "halves").permutation(len(images)))
    half, quarter = len(images) // 2, len(images) // 4
    fitted, chosen, asked = order[:half][:FITTED], order[half:][:quarter][:ASKED], order[half + quarter :][:ASKED]
    judged = _floats(images[torch.cat([chosen, asked])])
    noise = streams.normal(streams.sample_seeds(seed, len(judged)), (judged.shape[1],), "predict", "asked")
    models = [
        _excess(images[fitted], k, judged, noise, sigmas, seed) for k in COMPONENTS if k == 1 or k * 10 <= len(fitted)
    ]
    excess = torch.stack(models)  # (models, levels, rows)
    best = excess[:, :, : len(chosen)].mean(2).argmin(0)
    return [
        mean_interval(excess[int(k), i, len(chosen) :].numpy(), num_groups=min(20, len(asked)))
        for i, k in enumerate(best)
    ]


def distinct(images: Tensor) -> Tensor:
    """The first of all images (n, *S) that coincide byte for byte, in their order."""
    first: dict[bytes, int] = {}
    for i, row in enumerate(images.flatten(1).contiguous().numpy()):
        first.setdefault(blake2b(row.tobytes(), digest_size=16).digest(), i)
    return images if len(first) == len(images) else images[list(first.values())]


def _excess(fitted: Tensor, k: int, x: Tensor, eps: Tensor, sigmas: Sequence[float], seed: int) -> Tensor:
    """log p(x_sigma | x) - log q_sigma(x_sigma) of rows x (n, d), under a mixture of k Gaussians: (levels, n)."""
    if min(len(fitted) // k, x.shape[1]) > fitting.LARGEST:
        return torch.full((len(sigmas), len(x)), math.inf, dtype=torch.float64)  # too large to fit: never chosen
    density = fitting.fit(fitted, components=k, seed=seed)
    own = -0.5 * (eps.double().square().sum(1) + x.shape[1] * math.log(2 * math.pi))
    levels = torch.tensor(sigmas, dtype=torch.float64).log()[:, None] * x.shape[1]
    return own - levels - density.log_density(x, eps, sigmas)


def _floats(images: Tensor) -> Tensor:
    raw = images.flatten(1)
    return to_float(raw) if raw.dtype == torch.uint8 else raw.float()
