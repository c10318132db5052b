r"""The mixture start: the prior mapped onto K Gaussians at noise level sigma, x ~ sum_k w_k N(m_k, C_k + sigma^2 I).

No image is stored but by K = N: then this is the images' exact marginal x0 + sigma eps, and with K = 1 it is the
Gaussian start. Each sample draws its component from a stream of its own, in the shares of the fitted images; for a
network with classes it draws its class first, and then one of the components of that class. Options, all of the fit
(:mod:`dpmot.mixtures.fitting`), whose file is as small as the images that it replaces:
    components   K, or K of each class;
    by           "kmeans" or "labels": k-means over all images, or within each class;
    rank         of each covariance below which all directions are equal; as large as fits, if none is given;
    shrinkage    towards a scaled identity, 0..1; that of Ledoit & Wolf (2004), if none is given;
    covariance   "own" of each component, or one "shared" by all.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dpmot import seeds as streams
from dpmot.device import ordinary
from dpmot.images import to_float
from dpmot.mixtures import fitting
from dpmot.mixtures.gaussians import Gaussians
from dpmot.starts import Points, Setting, classes

LOOKS_AT_NOISE = True
HAS_LEVEL = True
STORES_IMAGES = False
NEEDS_HEIGHTS = False
FITS = True
OPTIONS = ("components", "by", "rank", "shrinkage", "covariance")
AT_MOST = {"components": 3, "rank": 2}
JUDGED, LEVELS = 1000, (0.1, 1.0, 3.0)  # images, and noise levels at which they are judged


def check(
    *,
    components: int = 10,
    by: str = "kmeans",
    rank: int | None = None,
    shrinkage: float | None = None,
    covariance: str = "own",
) -> None:
    """Check the options of a fit, as far as they are given: :func:`dpmot.mixtures.fitting.check`."""
    fitting.check(components=components, by=by, rank=rank, shrinkage=shrinkage, covariance=covariance)


def fit(
    images: Tensor,
    labels: Tensor,
    *,
    components: int = 10,
    by: str = "kmeans",
    rank: int | None = None,
    shrinkage: float | None = None,
    covariance: str = "own",
    seed: int,
) -> dict[str, Tensor]:
    """Fit it: tensors, as :attr:`dpmot.mixtures.gaussians.Gaussians.tensors`."""
    options = {"components": components, "by": by, "rank": rank, "shrinkage": shrinkage, "covariance": covariance}
    return fitting.fit(images, labels, **options, seed=seed).tensors  # type: ignore[arg-type]  # checked there


def judge(fitted: Mapping[str, Tensor], images: Tensor, held_out: Tensor) -> dict[str, object]:
    """K, ranks, and the mean log-likelihood in nats a dimension of images under noise, fitted ones and others."""
    gaussians = Gaussians.of(fitted)
    ranks = gaussians.ranks.tolist() or [0]
    facts: dict[str, object] = {"components": len(gaussians), "ranks": [min(ranks), max(ranks)], "levels": LEVELS}
    for name, some in (("fitted", images[:JUDGED]), ("held_out", held_out[:JUDGED])):
        x = to_float(some) if some.dtype == torch.uint8 else some.float()
        eps = streams.normal(range(len(x)), (gaussians.dim,), "judge", name)
        facts[f"log_likelihood_{name}"] = gaussians.log_likelihood(x.flatten(1), eps, LEVELS) if len(x) else None
    return facts


class Start:
    """Gaussian mixture at noise level sigma; see :mod:`dpmot.starts`.

    Raises:
        ValueError: no mixture was fitted, or one to images of another size.
    """

    nfe = 0

    @ordinary()
    def __init__(self, setting: Setting) -> None:
        if setting.fitted is None:
            raise ValueError("No mixture was fitted to these images: run `dpmot fit` first")
        self.sigma, self.shape, self.noise = setting.sigma, setting.images.shape[1:], setting.noise
        self.gaussians = Gaussians.of(setting.fitted)
        if self.gaussians.dim != self.shape.numel():
            told = f"{self.gaussians.dim} numbers, these images have {self.shape.numel()}"
            raise ValueError(f"The mixture was fitted to images of {told}: run `dpmot fit` again")
        self.labels = None if setting.labels is None else self.gaussians.labels

    @ordinary()
    def __call__(self, seeds: Sequence[int]) -> Points:
        z, labels = self.noise(seeds, self.shape).flatten(1), classes(seeds, self.labels)
        x = self.gaussians.points(z, self.gaussians.choose(seeds, labels), self.sigma)
        return Points(x.reshape(len(z), *self.shape), None, labels=labels)
