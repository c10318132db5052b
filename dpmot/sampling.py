"""Draw samples with any denoiser D(x, sigma) = E[x0 | x0 + sigma eps = x], its evaluations counted.

    start at sigma_0 -> sampler along sigma_0 > ... > sigma_n = 0 -> x0

The start is an expressway's (DPM-OT), the prior's noise at sigma_max (what DPM-OT is compared with), or points of your
own. Sample k depends on its own seed alone: it is the same beside any others.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpmot import seeds as streams
from dpmot.callables import Checked, Plugged, plugged, try_out
from dpmot.device import ordinary
from dpmot.diffusion import metering
from dpmot.diffusion.budget import Budgeted, cost_of
from dpmot.diffusion.denoiser import TiledDenoiser
from dpmot.diffusion.guidance import Guided
from dpmot.diffusion.modes import evaluating
from dpmot.diffusion.network import Network
from dpmot.diffusion.protocols import Noise, is_posterior_mean
from dpmot.diffusion.sigmas import Chain, intervals
from dpmot.expressways import Expressway
from dpmot.images import to_uint8
from dpmot.mixing import Mixture
from dpmot.samplers import Sampler
from dpmot.starts import Points, prior_noise
from dpmot.tiles import in_blocks, rows_of
from dpmot.transport.given import between, real, whole

AT_ONCE = 2**28  # bytes of points in float64 on which a sampler works
USUAL = 16  # samples
TRIED = 2  # images that a caller's denoiser is tried on
COUPLED = "the network was trained with a coupling of noise and images; use start prior"


@dataclass(frozen=True, eq=False)
class Samples:
    """What :func:`sample` drew.

    Attributes:
        x0: (B, *S), nominally in [-1, 1].
        nfe: network evaluations that each sample cost, counted around the network.
        sigmas: the noise levels, float64 (n + 1,), descending, last 0.
        source: with an expressway, the index of the image behind each sample's start, int64 (B,); else None.
        labels: the class that the denoiser was told, or else that of the image behind, int64 (B,); None without any.
        seeds: of the samples.
    """

    x0: Tensor
    nfe: int
    sigmas: Tensor
    source: Tensor | None
    labels: Tensor | None
    seeds: tuple[int, ...]

    @property
    @ordinary(grad=False)
    def images(self) -> Tensor:
        """x0 as uint8, (B, *S): clamped to [-1, 1], rounded to the nearest level."""
        return to_uint8(self.x0)

    @property
    def sigma_start(self) -> float:
        """The noise level at which the sampler began."""
        return float(self.sigmas[0])

    def __len__(self) -> int:
        return len(self.x0)

    def __repr__(self) -> str:
        return f"Samples({len(self)} of shape {tuple(self.x0.shape[1:])}, NFE {self.nfe} from {self.sigma_start:g})"


@ordinary(grad=False)
def sample(
    denoiser: Callable[..., Tensor] | Network | Path | str,
    start: Expressway | Mixture | Tensor | str,
    sampler: str | Callable[..., Tensor] = "ddim",
    nfe: int | None = None,
    *,
    num_samples: int | None = None,
    seeds: int | Sequence[int] = 0,
    noise: Tensor | None = None,
    sigma: float | None = None,
    sigmas: Sequence[float] | np.ndarray | Tensor | None = None,
    labels: int | Sequence[int] | np.ndarray | Tensor | None = None,
    shape: Sequence[int] | None = None,
    levels: tuple[float, float] | None = None,
    grid: str | None = None,
    options: Mapping[str, Any] | None = None,
    num_steps: Callable[..., int] | None = None,
    guidance: float | None = None,
    tile: int | None = None,
) -> Samples:
    """Draw samples with a denoiser, from a start, by a sampler, for a number of network evaluations.

    Args:
        denoiser: any D(x, sigma) -> E[x0 | x], with x = x0 + sigma eps (B, *S), sigma (B,), images in [-1, 1]: a
            function or a module. One that takes classes is D(x, sigma, labels), labels int64 (B,). Or a network of this
            project, loaded or as its file. It is evaluated without gradients and in evaluation mode. A function or
            module is tried first on two images of the expressway, which ``Samples.nfe`` does not count.
        start: an :class:`Expressway` or a :class:`Mixture`; "prior", noise at the network's sigma_max; or points x
            (B, *S) at ``sigma``.
        sampler: ddim, edm (Heun), dpm_solver_pp, unipc, ...: a file of baselines/ (``dpmot list samplers``). Or a
            function of yours, ``sample(denoiser, x, sigmas, *, noise, ...)``: from x (B, *S) at sigmas[0] to (B, *S) at
            sigma 0. It asks ``denoiser(x, sigma)`` about all B samples at a time, sigma a number or (B,), and each
            such call is an evaluation of every sample; ``noise(i)``, (B, *S), is that of step i. It may leave out
            ``noise``, it must be the same for samples drawn alone, and its further keyword arguments are options.
        nfe: network evaluations a sample, 10 unless ``sigmas`` are given; ``Samples.nfe`` are those that were spent.
        num_samples: how many; None: as many as there are points, seeds, noises or labels, else 16.
        seeds: the number of the run, or one seed for each sample.
        noise: (B, *S), N(0, I), or U[0, 1]^d for such an expressway, in place of that of the seeds.
        sigma: noise level of a tensor ``start``.
        sigmas: noise levels of your own, descending from the start's to 0.
        labels: the class of each sample, or one for all. None: of a denoiser with a parameter ``labels``, and of a
            network with classes, that of the start, where the expressway or mixture has labels.
        shape: S, for start "prior"; not needed where the network or ``noise`` says it.
        levels: (sigma_min, sigma_max) of the denoiser; None: its attributes of these names, else sigma_min 0.002.
        grid: how steps are spaced: karras, uniform, aligned, ...; None: as the sampler or the network has it.
        options: of the sampler, such as {"eta": 1.0}; of pas and gs those that ``dpmot learn`` found.
        num_steps: of a sampler that is a function, nfe -> most steps within it; None: each costs one evaluation.
        guidance: w of classifier-free guidance, D_none + w (D_label - D_none), of a network of this project that was
            trained with ``label_dropout``; None: none. But for w = 0 and 1, each step's evaluations cost two, and both
            count: ``nfe`` = 10 buys five guided ones.
        tile: rows that the network sees at a time, the last ones filled up; samples are the same to the bit for one
            tile, and but for rounding for all. None: up to 128, fewer for large images.

    Returns:
        The samples, on the device and in the dtype of ``start`` or ``noise`` where these are tensors; else in float32
        where the denoiser's parameters are.

    Raises:
        ValueError: what does not fit together; one line says what was given and what is allowed.
        UnattainableBudget: the sampler has no step for so few evaluations.
        Uncounted: the sampler did what its contract does not offer, a ValueError too.
        NonFiniteOutput: the denoiser returned NaN or infinity.

    Warns:
        NoDenoiser: it does not clean those images.
    """
    options = dict(options or {})
    method = Sampler.of(sampler, num_steps, options, _cost(denoiser, guidance))
    network = plugged(denoiser, levels, guidance)
    rows = _seeds(seeds, num_samples, start, noise, labels)
    begun = _Begun.of(start, network, method.law, rows, noise=noise, sigma=sigma, shape=shape, labels=labels)
    nfe = nfe if sigmas is not None else whole(10 if nfe is None else nfe, "nfe", 1)
    steps = _sigmas(network.chain, method.budgeted, begun.sigma, nfe, sigmas, grid)
    classes = network.labels(labels, begun.points.labels, len(rows))
    x, like = begun.points.x, begun.like
    tile = rows_of(x[0].numel()) if tile is None else whole(tile, "tile", 1)
    if network.own and tile == x.shape[-1] > 1:
        tile -= 1  # or sigma (tile,) would fit the last axis of x, and nobody would notice
    of_network = network.of(len(steps) - 1, x[0].shape)
    coupled = not (is_posterior_mean(of_network) and is_posterior_mean(denoiser))
    at_prior = isinstance(start, str)
    if coupled and not (at_prior and guidance in (None, 0, 1)):
        told = f"guidance {guidance:g}" if at_prior else "A start at a level of its own"
        raise ValueError(f"{told} needs a posterior mean under independent noise: {COUPLED}")

    def drawn(some: Sequence[int]) -> tuple[Tensor, int]:
        given = None if classes is None else classes[list(some)].to(like.device)

        def step_noise(again: Sequence[int]) -> Noise:
            drawing = streams.trajectory([rows[some[k]] for k in again], x.shape[1:])
            return lambda step: drawing(step).to(here)

        here = x[list(some)].to(like.device, torch.float32 if like.device.type == "mps" else torch.float64)
        tiled = TiledDenoiser(of_network, labels=given, tile=tile)
        given_noise = None if coupled else step_noise
        try:
            return metering.run(
                method.run, tiled, here, steps.to(here), noise=given_noise, options=options, audited=False
            )
        except metering.NoiseDrawn:
            raise ValueError(f"The sampler draws noise on its way: {COUPLED}, with a deterministic sampler") from None

    with evaluating(denoiser):
        if isinstance(of_network, Checked) and begun.points.source is not None:
            few = begun.points.source[:TRIED].cpu()
            labels_of_few = None if classes is None else classes[:TRIED].cpu()
            try_out(of_network, network.chain.sigma_min, start.atoms.clean(few), labels_of_few)  # type: ignore
        parts = in_blocks(drawn, range(len(rows)), x[0].numel(), most=AT_ONCE)
    method.check_spent(nfe, spent := max(counted for _, counted in parts))
    x0 = torch.cat([end for end, _ in parts]).to(like)
    source = None if begun.points.source is None else begun.points.source.to(x0.device)
    classes = begun.points.labels if classes is None else classes
    classes = None if classes is None else classes.to(x0.device)
    return Samples(x0, spent, steps, source, classes, tuple(rows))


@dataclass(frozen=True, eq=False)
class _Begun:
    """Where samples start, at noise level ``sigma``; ``like`` is a tensor of the dtype and on the device of results."""

    points: Points
    sigma: float
    like: Tensor

    @classmethod
    def of(
        cls,
        start: Expressway | Mixture | Tensor | str,
        network: Plugged,
        law: str,
        rows: Sequence[int],
        *,
        noise: Tensor | None,
        sigma: float | None,
        shape: Sequence[int] | None,
        labels: Any,
    ) -> "_Begun":
        if sigma is not None and not isinstance(start, Tensor):
            raise ValueError(f"sigma = {sigma} is for a tensor of points; the start has a level of its own")
        if isinstance(start, Tensor):
            if sigma is None or not between(sigma, 0, float("inf")):
                raise ValueError(f"Points need their noise level: sample(..., sigma=...), above 0; got {sigma}")
            if noise is not None:
                raise ValueError("noise makes starts, and points were given; leave one of them out")
            if start.ndim < 2 or not start.is_floating_point() or not torch.isfinite(start).all():
                raise ValueError(f"Points are {start.dtype} {tuple(start.shape)}; give finite floats (B, *S)")
            return cls(Points(start.detach(), None), float(sigma), start.detach().flatten()[:1])
        if noise is not None and not (isinstance(noise, Tensor) and noise.is_floating_point() and noise.ndim > 1):
            raise ValueError("noise is a tensor of floats (B, *S), one for each sample")
        like = network.like if noise is None else noise.detach().flatten()[:1]
        if isinstance(start, Expressway | Mixture):
            if shape is not None and tuple(shape) != start.shape:
                raise ValueError(f"shape = {tuple(shape)}, but the start's images are {start.shape}")
            measure = start.source_measure if isinstance(start, Expressway) else "normal"
            drawn = prior_noise(rows, start.shape, source_measure=measure) if noise is None else noise
            if isinstance(start, Expressway):
                return cls(start.points(drawn), start.sigma, like)
            asked = None if labels is None or not start.fitted.classes else real(labels, "Labels")
            return cls(start.points(drawn, seeds=rows, labels=asked), start.sigma, like)
        if start != "prior":
            told = f'start = {start!r:.60}; give an Expressway, a Mixture, "prior", or a tensor of points with sigma='
            raise ValueError(told)
        if noise is None:
            noise = prior_noise(rows, network.shape_of(shape), source_measure=law)
        x = 2 * noise - 1 if law == "uniform" else network.prior_std * noise
        return cls(Points(x, None), network.chain.sigma_max, like)


def _cost(denoiser: Any, guidance: float | None) -> int:
    """Network evaluations for one of the denoiser's."""
    return cost_of(denoiser.w if isinstance(denoiser, Guided) else guidance)


def _seeds(seeds: int | Sequence[int], num_samples: int | None, start: Any, noise: Any, labels: Any) -> list[int]:
    """One seed for each sample; every count that was given must be the same."""
    counts = {"num_samples": None if num_samples is None else whole(num_samples, "num_samples", 1)}
    counts["seeds"] = len(seeds) if hasattr(seeds, "__len__") else None
    for name, rows in (("points", start), ("noise", noise), ("labels", labels)):
        array = isinstance(rows, Tensor | np.ndarray) and rows.ndim > 0
        counts[name] = len(rows) if array or isinstance(rows, list | tuple) else None
    said = {name: count for name, count in counts.items() if count is not None}
    if len(set(said.values())) > 1:
        told = ", ".join(f"{count} {name}" for name, count in said.items()).replace("num_samples", "samples")
        raise ValueError(f"{told}: how many samples? give the same number of each")
    number = next(iter(said.values()), USUAL)
    if number < 1:
        raise ValueError(f"{number} samples were asked for; give at least one")
    if counts["seeds"] is not None:
        return [whole(seed, "seeds", 0) for seed in seeds]  # type: ignore[union-attr]
    return streams.sample_seeds(whole(seeds, "seeds", 0), number)


def _sigmas(
    chain: Chain,
    budgeted: Budgeted,
    sigma: float,
    nfe: int | None,
    sigmas: Any,
    grid: str | None,
) -> Tensor:
    """The sampler's noise levels, float64 (n + 1,)."""
    if sigmas is not None:
        if nfe is not None or grid is not None:
            raise ValueError("sigmas say all steps; leave out nfe and grid, or sigmas")
        own = real(sigmas, "sigmas").to("cpu", torch.float64)
        list(intervals(own))
        if own.ndim != 1 or float(own[-1]) or abs(float(own[0]) - sigma) > 1e-6 * sigma:
            raise ValueError(f"sigmas go from {float(own[0]):.6g} to {float(own[-1]):g}; give them from {sigma:g} to 0")
        return own
    assert nfe is not None
    steps = budgeted.num_steps(nfe)
    family = grid or budgeted.family or chain.family
    whole_chain = steps == len(chain.sigmas) - 1 and family == chain.family and sigma == chain.sigma_max
    own_levels = chain.tail(steps) if whole_chain else chain.grid(steps, sigma, family=family)
    return torch.from_numpy(np.array(own_levels, dtype=np.float64))
