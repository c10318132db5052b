"""The laws of `benchmarks.bound`, and one repetition of its measurement: all stages of a sampler, with the same draws.

Laws, of variance 0.25 along a coordinate: `one` Gaussian; four whose means lie `near` (R = 2 s, R half the largest
distance of two means) or `far` (R = 10 s) apart; in 2-D also the data set `gaussians`, 25 of them. Score errors: none;
a `bias`, the same everywhere; a `wave`, a smooth field (`dpmot.theory.flow.ScoreError`).
"""

import argparse
import math
from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

import dpmot
from dpmot import plugins, seeds
from dpmot.diffusion.sigmas import karras
from dpmot.theory import bound as theory
from dpmot.theory.distances import Judge, sliced_w2, squared_w2, unit_vectors
from dpmot.theory.flow import Law, ScoreError, ddim, invertible, log_volume
from dpmot.transport import BrenierPotential, SemiDiscreteProblem, certify

CASES = ("8:near", "2:near", "8:far", "2:gaussians", "2:one", "8:one", "64:near", "64:far", "64:one", "2:far")
APART = {"one": 0.0, "near": 2.0, "far": 10.0}  # R / s
DEVIATION = 0.5  # of a coordinate
SIGMA_MIN, SIGMA_MAX = 0.002, 80.0  # EDM's
ERRORS = ("none", "bias", "wave")
FRESH = 8  # draws of which the best pairing with the latents is averaged
STEPS = (("discretisation", "steps"), ("score", "score"))
LATENTS = (*STEPS, ("finite N", "copy"))
CHAINS = {  # method -> its terms and the stages after them
    "exact_start": STEPS,
    "copy": LATENTS,
    "dpm_ot": (*LATENTS, ("transport", "dpm_ot")),
    "zero_heights": (*LATENTS, ("transport", "zero_heights")),
    "prior": (("discretisation", "prior steps"), ("score", "prior score"), ("prior", "prior")),
}


class Key(NamedTuple):
    """What a value is of; error "none" and NFE 0 where it depends on neither."""

    method: str
    error: str
    nfe: int
    distance: str
    quantity: str
    sigma: float = math.nan


def law_of(case: str) -> Law:
    """The law of a case as "8:near"."""
    dim, name = int(case.partition(":")[0]), case.partition(":")[2]
    if name == "gaussians":
        mixture = plugins.find("data", "gaussians").load().mixture
        return Law(torch.from_numpy(mixture.means).double(), mixture.std)
    means = torch.from_numpy(seeds.generator(0, "bound", "means", dim).standard_normal((4, dim)))
    means -= means.mean(0)
    scale = 2 * APART[name] / float(torch.cdist(means, means).max())  # of the means, where s = 1
    std = DEVIATION / math.sqrt(1 + scale**2 * float(means.square().mean()))
    return Law(means * scale * std if scale else torch.zeros(1, dim).double(), std)


class Repetition:
    """The draws of one repetition: samples, noise, latents and their maps."""

    def __init__(self, law: Law, seed: int, options: argparse.Namespace) -> None:
        self.law, self.seed, self.options, self.number = law, seed, options, 2 * options.samples
        self.judge = Judge(law.draw(self.number, seed, "bound", "real"))
        self.sliced = partial(sliced_w2, directions=unit_vectors(law.dim, options.directions, seed, "bound", "slices"))
        self.clean, self.noise = law.draw(self.number, seed, "bound", "clean"), self.normal(self.number, "noise")

    def normal(self, number: int, *purpose: int | str) -> Tensor:
        """N(0, I), float64 (n, d)."""
        return Law(torch.zeros(1, self.law.dim).double(), 1.0).draw(number, self.seed, "bound", "normal", *purpose)

    @cached_property
    def way(self) -> dpmot.Expressway:
        """The map onto N latents."""
        images = self.law.draw(self.options.atoms, self.seed, "bound", "images").float()
        own = {"atom_seed": self.seed, "fit_seed": self.seed}
        return dpmot.expressway(images, self.options.sigma, **own, progress=False, pixels=False)

    @cached_property
    def latents(self) -> Tensor:
        """All of them, float32 (N, d)."""
        return self.way.atoms.block(0, len(self.way.atoms))

    @cached_property
    def heights(self) -> Tensor:
        """Those of no map: 0."""
        return torch.zeros(len(self.latents), dtype=torch.float64)

    @cached_property
    def cells(self) -> dict[str, Tensor]:
        """The latent of each draw, int64 (2 n,), by method."""
        drawn = seeds.generator(self.seed, "bound", "copy").integers(len(self.latents), size=self.number)
        z = self.normal(self.number, "z").float()
        flat = BrenierPotential(self.latents, self.heights)
        return {"copy": torch.from_numpy(drawn), "dpm_ot": self.way.source(z), "zero_heights": flat.cell(z)}

    def distances(self, x: Tensor, nfe: int) -> dict[str, float]:
        """Of samples (2 n, d) to the data, by name."""
        exact = nfe == self.options.exact_nfe and self.law.dim <= 8
        return {"sliced": self.judge(self.sliced, x)} | ({"w2": self.judge(squared_w2, x)} if exact else {})


def starts(one: Repetition) -> Iterator[tuple[str, float, Law, Tensor]]:
    """Name of the stage, level, law and points of the starts that have a density."""
    law, sigma = one.law, one.options.sigma
    noise = Law(torch.zeros(1, law.dim).double(), 0.0)
    yield "", sigma, law, one.clean + sigma * one.noise
    yield "prior ", SIGMA_MAX, law, one.clean + SIGMA_MAX * one.noise
    yield "prior", SIGMA_MAX, noise, SIGMA_MAX * one.noise


def stages(one: Repetition, error: ScoreError, nfe: int) -> dict[str, dict[str, float]]:
    """Distances to the data after each stage: name of the distance -> stage -> value."""
    law, found = one.law, defaultdict[str, dict[str, float]](dict)
    for start, sigma, begun, x in starts(one):
        name = start if start == "prior" else start + ("steps" if error.kind == "none" else "score")
        grid = karras(nfe, sigma, SIGMA_MIN).tolist()
        dense = law.dim <= 8 and nfe == one.options.exact_nfe and invertible(law, grid, error)
        end, volume = log_volume(law, x, grid, error) if dense else (ddim(law, x, grid, error), None)
        for distance, value in one.distances(end, nfe).items():
            found[distance][name] = value
        if volume is not None:
            change = begun.log_density(x, sigma) - volume - law.log_density(end, 0.0)
            found["kl"][name] = float(change.mean())
    ends = ddim(law, one.latents.double(), karras(nfe, one.options.sigma, SIGMA_MIN).tolist(), error)
    for method, cells in one.cells.items():
        for distance, value in one.distances(ends[cells], nfe).items():
            found[distance][method] = value
    return found


def telescoped(values: dict[str, float]) -> Iterator[tuple[str, str, float]]:
    """Method, term and what it adds, and their sum, of the methods all of whose stages have a value."""
    for method, terms in CHAINS.items():
        if all(stage in values for _, stage in terms):
            before = 0.0
            for term, stage in terms:
                yield method, term, values[stage] - before
                before = values[stage]
            yield method, "sum", before


def chain(law: Law, seed: int, options: argparse.Namespace) -> dict[Key, float]:
    """Terms of all distances, bounds, steps and chi2 of one repetition."""
    one, found = Repetition(law, seed, options), dict[Key, float]()
    begun = distances_of_starts(one, found)
    for nfe in options.nfe:
        steps, single = dict[str, dict[str, float]](), steps_of(one, nfe)
        for start, (grid, errors) in single.items():
            for level, value in zip(grid[:-1], errors, strict=True):
                found[Key(start, "none", nfe, "step", "step", level)] = value
        for kind in ERRORS if nfe == options.exact_nfe else ("none",):
            error = ScoreError(law, kind, options.size, seed)
            values = stages(one, error, nfe)
            if kind == "none":
                steps = {distance: {k: v for k, v in own.items() if "steps" in k} for distance, own in values.items()}
                again = {
                    distance: {k.replace("steps", "score"): v for k, v in own.items()}
                    for distance, own in steps.items()
                }
            else:
                again = steps
            for distance, own in values.items():
                for method, term, value in telescoped(own | again.get(distance, {})):
                    found[Key(method, kind, nfe, distance, term)] = value
            for key, value in bounds(one, error, nfe, begun, single):
                found[key] = value
    return found


def distances_of_starts(one: Repetition, found: dict[Key, float]) -> dict[str, float]:
    """At most W2 of each start and the law under its noise; chi2 of the maps is added to what was found."""
    law, sigma, latents = one.law, one.options.sigma, one.latents.double()
    pairings = []
    for k in range(FRESH):
        fresh = law.draw(len(latents), one.seed, "bound", "fresh", k) + sigma * one.normal(len(latents), "fresh", k)
        pairings.append(squared_w2(latents, fresh))
    finite = math.sqrt(np.mean(pairings))
    flat = certify(SemiDiscreteProblem(one.latents), one.heights, seed=one.seed)
    begun = {"exact_start": 0.0, "copy": finite, "prior": theory.prior_distance(law, SIGMA_MAX)}
    for method, certificate in (("dpm_ot", one.way.certificate), ("zero_heights", flat)):
        found[Key(method, "none", 0, "chi2", "chi2")] = certificate.chi2
        begun[method] = finite + theory.mass_distance(latents, certificate.high)
    return begun


def steps_of(one: Repetition, nfe: int) -> dict[str, tuple[list[float], list[float]]]:
    """Levels and errors of single steps, from either level."""
    found = {}
    for start, sigma in (("exact_start", one.options.sigma), ("prior", SIGMA_MAX)):
        grid = karras(nfe, sigma, SIGMA_MIN).tolist()
        found[start] = grid, theory.step_errors(one.law, one.clean, one.noise, grid)
    return found


def bounds(
    one: Repetition, error: ScoreError, nfe: int, begun: dict[str, float], single: dict[str, tuple]
) -> Iterator[tuple[Key, float]]:
    """The bound's terms and total by method."""
    for start, (grid, errors) in single.items():
        told = theory.bound(one.law, one.clean, one.noise, grid, error, errors)
        for method in (name for name in CHAINS if (name == "prior") == (start == "prior")):
            parts = {"discretisation": told.discretisation, "score": told.score, "growth": told.growth}
            parts |= {"start": told.growth * begun[method], "total": told.total(begun[method])}
            for quantity, value in parts.items():
                yield Key(method, error.kind, nfe, "bound", quantity), value


def told(law: Law, error: ScoreError, x: Tensor, sigma: Tensor) -> Tensor:
    """The denoiser with its error."""
    return law.denoise(x, sigma) + error(x, sigma)


def afresh(law: Law, seed: int, options: argparse.Namespace) -> dict[Key, float]:
    """Distances of what the package draws, from latents, maps, noise and fields of their own."""
    one, found = Repetition(law, seed, options), dict[Key, float]()
    points = {"exact_start": one.clean + options.sigma * one.noise, "prior": SIGMA_MAX * one.noise}
    points |= {method: one.latents[cells] for method, cells in one.cells.items()}
    for kind in ERRORS:
        error = ScoreError(law, kind, options.size, seed)
        for method, x in points.items():
            sigmas = karras(options.exact_nfe, SIGMA_MAX if method == "prior" else options.sigma, SIGMA_MIN)
            own: dict = {"start": x.float(), "sigma": float(sigmas[0])}
            if method == "dpm_ot":  # from noise of its own, as a user calls it
                own = {"start": one.way, "num_samples": one.number, "seeds": seed}
            drawn = dpmot.sample(partial(told, law, error), sigmas=sigmas, levels=(SIGMA_MIN, SIGMA_MAX), **own)
            for distance, value in one.distances(drawn.x0.double(), options.exact_nfe).items():
                found[Key(method, kind, options.exact_nfe, distance, "total")] = value
    return found
