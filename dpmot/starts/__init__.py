"""Starts: where the sampler's trajectory begins. DPM-OT is one; the prior and the controls are the others.

A file exports ``Start``, built from a :class:`Setting` and its own options; called with one seed per sample it draws
the points at noise level ``sigma``, in units x = x0 + sigma eps. Sample k sees the same prior noise under every start.
Beside it the file says, as literals that are read without importing it:

    LOOKS_AT_NOISE   whether the points are a function of the prior noise;
    HAS_LEVEL        whether it begins at the level sigma_M of its setting, from its images; else at sigma_max;
    STORES_IMAGES    whether each point comes from one stored image, which ``Points.source`` names;
    NEEDS_HEIGHTS    whether it needs solved heights, unless its option ``heights`` is "zero";
    OPTIONS          the options of ``Start`` that a method of an experiment may give.

Optional are TAKES_NOISES = True, where a method may ask for K latents an image (``noises``); SHAPE, the image shape S
of a start that is made for one; and ``check``, which takes options of ``Start`` as keywords, as far as they are given,
and raises a ValueError "<option>: <what is wrong>".
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

from torch import Tensor

from dpmot import seeds as streams
from dpmot.diffusion.sigmas import Chain
from dpmot.transport import NoisyImages


class Points(NamedTuple):
    """Where the samples start.

    Attributes:
        x: (B, *S).
        source: index of the stored image behind each point, (B,) int64; None where no image is stored.
        redraws: how often the noise of each point was drawn anew, (B,) int64; None where it never is.
    """

    x: Tensor
    source: Tensor | None
    redraws: Tensor | None = None


class Start(Protocol):
    """One point per seed at noise level ``sigma``, for ``nfe`` network evaluations (0 for all so far)."""

    sigma: float
    nfe: int

    def __call__(self, seeds: Sequence[int]) -> Points: ...


def prior_noise(
    seeds: Sequence[int],
    shape: Sequence[int],
    *,
    source_measure: str = "normal",
    redraws: Tensor | None = None,
    stream: str = "prior",
) -> Tensor:
    """The prior draw of each sample, (B, *S): N(0, 1), or U[0, 1) for the authors' uniform source measure.

    Args:
        source_measure: "normal" or "uniform".
        redraws: how often each sample's noise was drawn anew, (B,); the r-th is from the stream (seed, stream, r).
        stream: name of the draws.
    """
    draw = streams.normal if source_measure == "normal" else streams.uniform
    noise = draw(seeds, shape, stream)
    for r in [] if redraws is None else redraws[redraws > 0].unique().tolist():
        rows = (redraws == r).nonzero()[:, 0]
        noise[rows] = draw([seeds[k] for k in rows], shape, stream, r)
    return noise


@dataclass(frozen=True, eq=False)
class Setting:
    """What a start may use.

    Attributes:
        chain: the network's noise levels and prior.
        images: the images behind the atoms, uint8 (n, *S), or points, float32 (n, *S).
        sigma: noise level sigma_M of the start.
        atom_seed: seed of the atoms' noise.
        heights: solved heights (N,) of the transport problem; None for starts that need none.
        noise: the prior draws, called as `prior_noise` is.
        noises: K = N / n, latents of each image.
    """

    chain: Chain
    images: Tensor
    sigma: float
    atom_seed: int
    heights: Tensor | None = None
    noise: Callable[..., Tensor] = prior_noise
    noises: int = 1

    @cached_property
    def atoms(self) -> NoisyImages:
        """The noisy latents y_i = x0_i + sigma eps_i as a recipe, the same noise at every level."""
        return NoisyImages(self.images, self.sigma, self.atom_seed, noises_per_image=self.noises)

    def points(self, cell: Tensor) -> Points:
        """Latents by their number, int64 (B,)."""
        return Points(self.atoms[cell], cell % len(self.images))
