"""Starts: where the sampler's trajectory begins. DPM-OT is one; the prior and the controls are the others.

A file exports ``Start``, built from a :class:`Setting` and its own options; called with one seed per sample it draws
the points at noise level ``sigma``, in units x = x0 + sigma eps. Sample k sees the same prior noise under every start.
For a class-conditional network it also names the class of each point: its image's, or one in the shares of the data.
Beside it the file says, as literals that are read without importing it:

    LOOKS_AT_NOISE   whether the points are a function of the prior noise;
    HAS_LEVEL        whether it begins at the level sigma_M of its setting, from its images; else at sigma_max;
    STORES_IMAGES    whether each point comes from one stored image, which ``Points.source`` names;
    NEEDS_HEIGHTS    whether it needs solved heights, unless its option ``heights`` is "zero";
    OPTIONS          the options of ``Start`` that a method of an experiment may give.

A start with maps of its own per class names the class of each point for a network without classes, too.

Optional are TAKES_NOISES = True, where a method may ask for K latents an image (``noises``); SHAPE, the image shape S
of a start that is made for one; and ``check``, which takes OPTIONS as keywords, as far as they are given, and raises a
ValueError "<option>: <what is wrong>".

A start that is fitted to images says FITS = True and has ``fit(images, labels, *, <options>, seed)``, which returns the
tensors that ``Setting.fitted`` hands to ``Start``, at whatever level and for whatever network; these OPTIONS are the
fit's, not ``Start``'s. The rule `fit` keeps them in a file. ``judge(fitted, images, held_out)`` may return facts of it
to be written beside, ``AT_MOST`` what a smoke run leaves of an option, as {"option": most}.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from dpmot import seeds as streams
from dpmot.diffusion.sigmas import Chain
from dpmot.transport import NoisyImages
from dpmot.transport.measures import measure_named


class Points(NamedTuple):
    """Where the samples start.

    Attributes:
        x: (B, *S).
        source: index of the stored image behind each point, (B,) int64; None where no image is stored.
        redraws: how often the noise of each point was drawn anew, (B,) int64; None where it never is.
        labels: the class of each point, (B,) int64; None where the setting has no labels.
    """

    x: Tensor
    source: Tensor | None
    redraws: Tensor | None = None
    labels: Tensor | None = None


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

    Raises:
        ValueError: an unknown source measure.
    """
    measure_named(source_measure)
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
        labels: classes of the data, int64 (m,), the first n the images' own; None for a network without classes.
        fitted: what a start with ``FITS`` has fitted to the images; None for others.

    Raises:
        ValueError: labels of another shape or type.
    """

    chain: Chain
    images: Tensor
    sigma: float
    atom_seed: int
    heights: Tensor | None = None
    noise: Callable[..., Tensor] = prior_noise
    noises: int = 1
    labels: Tensor | None = None
    fitted: Mapping[str, Tensor] | None = None

    def __post_init__(self) -> None:
        if self.labels is None:
            return
        shape, dtype = tuple(self.labels.shape), self.labels.dtype
        if dtype != torch.int64 or len(shape) != 1 or len(self.labels) < len(self.images):
            raise ValueError(f"Labels are {dtype} {shape}; give int64, one for each of the {len(self.images)} images")

    @cached_property
    def atoms(self) -> NoisyImages:
        """The noisy latents y_i = x0_i + sigma eps_i as a recipe, the same noise at every level."""
        return NoisyImages(self.images, self.sigma, self.atom_seed, noises_per_image=self.noises)

    def points(self, cell: Tensor) -> Points:
        """Latents by their number, int64 (B,)."""
        source = cell % len(self.images)
        return Points(self.atoms[cell], source, labels=None if self.labels is None else self.labels[source])


def classes(seeds: Sequence[int], labels: Tensor | None) -> Tensor | None:
    """A class for each sample in the shares of these labels (m,), int64 (B,), from the sample's stream "label"."""
    return None if labels is None else labels.sort().values[streams.integers(seeds, len(labels), "label")]
