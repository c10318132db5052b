r"""DPM-OT's start (Li et al. 2023): the semi-discrete OT map T(z) = y_{i*}, i* = argmax_i <z, y_i> + h_i.

z is the prior draw, y_i the noisy latents at sigma_M, one or K an image, h the solved heights. Options:
    per_class: one map per class instead of one for all. A sample's class c is drawn in the shares of the atoms' classes
        (stream "label"), and its noise, independent of it, goes through the map onto the atoms of that class: the noise
        of each class is whole, where a map that is blind to labels gives a class the noise of some directions only
        (C2OT, Cheng & Schwing, ICCV 2025). Every atom keeps its share 1 / N, so the samples' law is that of one map;
    source_measure: "normal" (as in the paper's text) or "uniform" (U[0,1]^d, as in the authors' code);
    heights: "solved", or "zero" (the control without optimal transport: plain maximum inner product);
    singular: what becomes of draws near the singular set, where the best plane makes more than ``angle`` radians with
        one of the next ``top_k`` - 1 (:mod:`dpmot.transport.singular`):
        "plain"    T, as everywhere;
        "discard"  the sample's noise is drawn anew, from its own stream, until it lies elsewhere: cells with sharp
                   creases lose mass, so the map no longer transports the noise onto the uniform measure;
        "treat"    the barycentre of the top_k planes, weights softmax((<z, y_j> + h_j) / tau);
        "smooth"   the barycentre of all planes, for every draw: the gradient of tau logsumexp;
        "as_code"  discard, with the angle min-max normalised over the samples drawn together (a cell, or a block of it
                   where images are large), as the authors' code has it: ``angle`` is no angle, and the same sample may
                   be kept in one batch and not in another.
A barycentre also averages the atoms' noises, to less than the sigma that the network is told. By the law of total
variance what is missing is how much they differ among themselves,
    sum_i p_i |eps_i|^2 = |sum_i p_i eps_i|^2 + d c^2,    and    x = sum_i p_i y_i + sigma c eps
has noise of variance sigma^2 a coordinate, eps from the sample's stream "top_up". Were the noises of the atoms that
share a draw independent, c^2 would be 1 - sum p^2; but atoms with close scores lean towards the same z. With that
formula the variance comes out up to 1.07 sigma^2 for digits (d = 64) and 1.57 sigma^2 in the plane. Barycentres hold
the noises of all atoms as floats.
"""

import math
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from dpmot import seeds as streams
from dpmot.device import ordinary
from dpmot.starts import Points, Setting, classes
from dpmot.starts._maps import Map, Maps
from dpmot.tiles import in_tiles
from dpmot.transport import BrenierPotential

LOOKS_AT_NOISE = True
HAS_LEVEL = True
STORES_IMAGES = True
NEEDS_HEIGHTS = True
TAKES_NOISES = True
OPTIONS = ("source_measure", "heights", "singular", "angle", "top_k", "tau", "per_class")
SINGULAR = {  # and the options that each takes
    "plain": (),
    "discard": ("angle", "top_k"),
    "treat": ("angle", "top_k", "tau"),
    "as_code": ("angle", "top_k"),
    "smooth": ("tau",),
}
MOST_REDRAWS = 1000  # where one draw in a hundred lies elsewhere, 4e-5 of the samples need more


def check(
    *,
    singular: str = "plain",
    angle: float | None = None,
    top_k: int | None = None,
    tau: float | None = None,
    per_class: bool = False,
) -> None:
    """Check the options of the singular set and of classes, as far as they are given.

    Raises:
        ValueError: an unknown treatment, an option that it does not take, or none that it needs; per_class is no bool.
    """
    if not isinstance(per_class, bool):
        raise ValueError(f"per_class: {per_class!r} is neither true, one map per class, nor false, one map for all")
    if singular not in SINGULAR:
        raise ValueError(f"singular: {singular!r} is not one of them; allowed: {', '.join(SINGULAR)}")
    for name, value in (("angle", angle), ("top_k", top_k), ("tau", tau)):
        if value is not None and name not in SINGULAR[singular]:
            takers = ", ".join(kind for kind, taken in SINGULAR.items() if name in taken)
            raise ValueError(f"{name}: singular {singular} takes none; only {takers} do")
    if angle is not None and not 0 <= angle <= (1 if singular == "as_code" else math.pi):
        share = "no share of the range of angles, which as_code takes: 0..1"
        raise ValueError(f"angle: {angle} is {share if singular == 'as_code' else 'no angle in radians: 0..3.1415'}")
    if top_k is not None and (isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 2):
        raise ValueError(f"top_k: {top_k!r} planes make no angle; give a whole number of at least 2")
    if tau is not None and not 0 < tau < math.inf:
        raise ValueError(f"tau: tau = {tau} smooths nothing; choose a positive number, in units of <x, y>")
    if "tau" in SINGULAR[singular] and tau is None:
        raise ValueError(f"tau: singular {singular} needs it: the width of the smoothing in units of <x, y>, e.g. 0.5")


class Start:
    """Optimal-transport start; see :mod:`dpmot.starts`.

    Raises:
        ValueError: solved heights are asked for and none are given; an option that :func:`check` refuses.
    """

    nfe = 0

    @ordinary()
    def __init__(
        self,
        setting: Setting,
        *,
        source_measure: str = "normal",
        heights: str = "solved",
        singular: str = "plain",
        angle: float = 0.7,
        tau: float | None = None,
        top_k: int = 2,
        per_class: bool = False,
    ) -> None:
        used = SINGULAR.get(singular, ())
        check(
            singular=singular,
            tau=tau,
            angle=angle if "angle" in used else None,
            top_k=top_k if "top_k" in used else None,
            per_class=per_class,
        )
        if heights not in ("solved", "zero"):
            raise ValueError(f'heights: "{heights}" are none; allowed: solved, zero')
        self.sigma, self.setting, self.source_measure = setting.sigma, setting, source_measure
        self.singular, self.angle, self.top_k = singular, angle, top_k
        h = setting.heights if heights == "solved" else torch.zeros(len(setting.atoms))
        if h is None:
            raise ValueError(f"No heights were solved for sigma_M = {setting.sigma:g}: run `dpmot solve` first")
        if per_class and setting.labels is None:
            raise ValueError("per_class: the images have no labels, so there is one map; leave it out")
        self.labels = setting.labels[: len(setting.images)] if per_class and setting.labels is not None else None
        planes = top_k if singular == "treat" else None
        self.maps = Maps.of(setting.atoms, h, self.labels, source_measure=source_measure, tau=tau, planes=planes)

    @property
    def potential(self) -> BrenierPotential:
        """Of the one map for all."""
        return self.maps.by_class[None].potential

    @ordinary()
    def __call__(self, seeds: Sequence[int]) -> Points:
        labels = classes(seeds, self.labels)
        noise, redraws = self.draw(seeds, labels)
        points = self.setting.points(self.maps(Map.cell, labels, noise))
        if self.maps.smooth:
            near = self.near(noise, labels)
            if near.any():
                chosen = [seeds[k] for k in near.nonzero()[:, 0].tolist()]
                points.x[near] = self._barycentres(noise[near], None if labels is None else labels[near], chosen)
        return points._replace(redraws=redraws)

    def _barycentres(self, noise: Tensor, labels: Tensor | None, seeds: Sequence[int]) -> Tensor:
        """The smoothed map of noises (B, *S), topped up to the noise level sigma."""
        dim = noise[0].numel()
        averages = self.maps(lambda one, z: one.average(z, self.eps_and_squares), labels, noise).double()
        missing = in_tiles(lambda mean: mean[:, -1] - mean[:, :-1].square().sum(1), averages).clamp(min=0) / dim
        top_up = streams.normal(seeds, (dim,), "top_up")
        x = self.maps(Map.smoothly, labels, noise) + self.sigma * missing.sqrt().float()[:, None] * top_up
        return x.reshape(noise.shape)

    @ordinary()
    def clean(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """What is below the noise of the starts of noises (B, *S), of these classes (B,): sum_i p_i x0_i, (B, *S)."""
        x0 = self.setting.atoms.clean(self.maps(Map.cell, labels, noise))
        if self.maps.smooth:
            near = self.near(noise, labels)
            images = self.setting.atoms.clean(range(len(self.setting.atoms))).flatten(1)
            of_near = None if labels is None else labels[near]
            mean = self.maps(lambda one, z: one.average(z, images), of_near, noise[near])
            x0[near] = mean.reshape(-1, *x0.shape[1:])
        return x0

    @cached_property
    def eps_and_squares(self) -> Tensor:
        """The atoms' noises and the squares of their norms, (eps_i, |eps_i|^2): (N, d + 1)."""
        eps = self.setting.atoms.noise(range(len(self.setting.atoms))).flatten(1)
        return torch.cat([eps, eps.square().sum(1, keepdim=True)], 1)

    def near(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """Which noises (B, *S) lie near the singular set, (B,); all of them where singular is "smooth"."""
        if self.singular == "smooth":
            return noise.new_full((len(noise),), True, dtype=torch.bool)
        return self.sharpest(noise, labels) > self.angle

    def sharpest(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """The largest angle between the best and the next top_k - 1 planes at noises (B, *S), (B,)."""
        return self.maps(lambda one, z: one.sharpest(z, self.top_k), labels, noise)

    def draw(self, seeds: Sequence[int], labels: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """The prior noises that the map of each class is given, (B, *S), and how often each was drawn anew.

        Raises:
            ValueError: one was drawn anew too often.
        """
        shape = self.setting.images.shape[1:]
        noise = self.setting.noise(seeds, shape, source_measure=self.source_measure)
        if self.singular not in ("discard", "as_code"):
            return noise, None
        sharpest, angle = self.sharpest(noise, labels), self.angle
        if self.singular == "as_code" and len(sharpest):  # (angle - min) / (max - min) > threshold
            angle = float(sharpest.min() + self.angle * (sharpest.max() - sharpest.min()))
        redraws, waiting = torch.zeros(len(seeds), dtype=torch.int64), (sharpest > angle).nonzero()[:, 0]
        while len(waiting):
            redraws[waiting] += 1
            first = int(waiting[0])
            if int(redraws[first]) > MOST_REDRAWS:
                raise ValueError(
                    f"Sample seed {seeds[first]}: {MOST_REDRAWS} noises in a row lie near the singular set, where "
                    f"planes meet at more than {angle:.4g} radians; raise angle, or choose singular: treat or smooth"
                )
            again = [seeds[k] for k in waiting.tolist()]
            anew = self.setting.noise(again, shape, source_measure=self.source_measure, redraws=redraws[waiting])
            noise[waiting] = anew
            waiting = waiting[self.sharpest(anew, None if labels is None else labels[waiting]) > angle]
        return noise, redraws
