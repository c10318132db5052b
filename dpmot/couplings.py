r"""Couplings of noise and images in training: which x0 goes with which eps (x = x0 + sigma eps at every level).

Independent pairs (eps, x0) make a network the posterior mean under independent noise. With pairs of a transport plan

    x0 = T(eps),    T(eps) = y_{i*},    i* = argmax_i <eps, y_i> + h_i    (heights h solved on the clean images y),

eps still has the law N(0, I) and x0 that of the images, but the paths x0 + sigma eps of the flow
dx / d sigma = (x - D(x, sigma)) / sigma, D(x, sigma) = E[x0 | x0 + sigma eps = x], are straighter, so few steps follow
them (Pooladian et al. 2023; Tong et al. 2024; semi-discrete: arXiv:2509.25519, arXiv:2510.15038). Such a D is no
posterior mean under independent noise: what relies on that, as stochastic samplers do, does not hold for it.

    minibatch      the best assignment inside a batch: max_pi sum_b <eps_b, x0_pi(b)>, by scipy;
    semidiscrete   T of all images; with ``tau`` the atom is drawn from softmax((<eps, y_i> + h_i) / tau) instead.

Images with labels are paired class by class: a label is independent of the noise, as in sampling. Where one map served
all classes, each would get the noise of some directions only (Cheng & Schwing, ICCV 2025).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from dpmot import seeds
from dpmot.diffusion.training import Paired
from dpmot.images import to_float
from dpmot.starts._maps import Map, Maps
from dpmot.transport import BrenierPotential, NoisyImages
from dpmot.transport.atoms import Atoms, by_rows
from dpmot.transport.noise import Plain
from dpmot.transport.potential import IN_MEMORY
from dpmot.transport.race import winners
from dpmot.transport.workers import Scratch, side_by_side

ROWS = 128  # of noise, whose scores of all atoms are in memory at once
LOOKS = 2048  # draws for the share of the prior that is off the coupling


@dataclass(frozen=True, eq=False)
class Minibatch:
    """The assignment of most correlation inside a batch, or among more pairs of which a batch is taken.

    Attributes:
        images: (N, *S), in [-1, 1] or as stored.
        labels: (N,), to pair class by class; None without classes.
        noises: pairs that are assigned together, at least as many as the batch has; None: those of the batch.
    """

    images: Tensor
    labels: Tensor | None = None
    noises: int | None = None

    def __call__(self, noise: Tensor, rows: Tensor, *key: int | str) -> tuple[Tensor, Tensor]:
        """See :class:`dpmot.diffusion.training.Pairing`; the noise stays as it is.

        Raises:
            ValueError: a batch of more than ``noises`` pairs.
        """
        size = len(noise)
        if (more := (self.noises or size) - size) < 0:
            told = f"of which no batch of {size} can be taken; give at least {size}, or None"
            raise ValueError(f"noises is {self.noises}, {told}")
        if more:
            stream = seeds.generator(*key, "coupling")
            rows = torch.cat([rows, torch.from_numpy(stream.integers(len(self.images), size=more)).to(rows)])
            drawn = torch.from_numpy(stream.standard_normal((more, *noise.shape[1:]), dtype="float32"))
            noise = torch.cat([noise, drawn.to(noise)])
        x0 = self.images[rows]
        x0 = to_float(x0) if x0.dtype == torch.uint8 else x0
        gain = (noise.flatten(1) @ x0.flatten(1).T).double().cpu().numpy()
        classes = rows.new_zeros(len(rows)) if self.labels is None else self.labels[rows]
        paired = rows.clone()
        for label in classes.unique():
            own = classes.eq(label).nonzero()[:, 0].cpu()
            paired[own] = rows[own[linear_sum_assignment(gain[own][:, own], maximize=True)[1]]]
        return noise[:size], paired[:size]


@dataclass(frozen=True, eq=False)
class SemiDiscrete:
    """The transport map of all images, one a class where they have labels.

    Attributes:
        maps: of the clean images.
        labels: (N,), for one map a class; None for one map.
        tau: width of the softmax from which the atom is drawn, in units of <eps, y>; None takes the best.
        mirrored: whether the second half of a batch has the first one's noises with the other sign, and its classes:
            each is N(0, I) as ever, they depend on each other in pairs, and one product serves both.
        rounded: whether products are taken in bfloat16, and the best two scores anew in float64.
    """

    maps: Maps
    labels: Tensor | None = None
    tau: float | None = None
    mirrored: bool = False
    rounded: bool = False

    @classmethod
    def of(
        cls,
        images: Tensor,
        heights: Tensor,
        labels: Tensor | None = None,
        *,
        tau: float | None = None,
        mirrored: bool = False,
        rounded: bool = False,
    ) -> "SemiDiscrete":
        """The coupling of heights (N,) that were solved on clean images (N, *S), each class by itself with labels."""
        atoms = NoisyImages(images.cpu(), 0.0, 0)
        own = None if labels is None else labels.cpu()
        return cls(Maps.of(atoms, heights, own, source_measure="normal"), own, tau, mirrored, rounded)

    def __call__(self, noise: Tensor, rows: Tensor, *key: int | str) -> tuple[Tensor, Tensor]:
        """See :class:`dpmot.diffusion.training.Pairing`; of the rows only their classes count."""
        size = len(noise)
        half = -(-size // 2) if self.mirrored else size
        z = noise[:half].cpu()
        labels = None if self.labels is None else self.labels[rows[:half].cpu()]
        noise = torch.cat([noise[:half], -noise[: size - half]])
        if self.tau is not None:
            whole = z if half == size else torch.cat([z, -z])
            softly = labels if labels is None or half == size else labels.repeat(2)
            return noise, self._softly(whole, softly, *key)[:size].to(rows)
        best = self.maps(lambda one, z: _best(one, z, mirror=self.mirrored, rounded=self.rounded), labels, z)
        return noise, best.T.flatten()[:size].to(rows)

    def _softly(self, z: Tensor, labels: Tensor | None, *key: int | str) -> Tensor:
        """Atoms drawn from the softmax: the argmax of (score / tau + Gumbel noise), of one stream a class."""

        def ask(one: Map, z: Tensor) -> Tensor:
            label = next(label for label, other in self.maps.by_class.items() if other is one)
            stream = seeds.generator(*key, "coupling", label or 0)
            cell = drawn(one.potential, z, float(self.tau or 0), stream)
            return cell if one.numbers is None else one.numbers[cell]

        return self.maps(ask, labels, z)

    def share_off(self, sigma: float, seed: int = 0, number: int = LOOKS) -> float:
        """The share of prior draws sigma z, z ~ N(0, I), that are no point T(eps) + sigma eps: see :func:`off`."""
        dim = next(iter(self.maps.by_class.values())).potential.atoms.dim
        z = torch.from_numpy(seeds.generator(seed, "off the coupling").standard_normal((number, dim), dtype="float32"))
        sizes = {label: len(one.potential.atoms) for label, one in self.maps.by_class.items()}
        found = {
            label: float(off(one.potential, z, sigma).double().mean()) for label, one in self.maps.by_class.items()
        }
        return sum(found[label] * size for label, size in sizes.items()) / sum(sizes.values())

    def chi2_of_tau(self, seed: int = 0, number: int = LOOKS) -> float:
        """chi2 of the shares that images are drawn with at tau, over all classes."""
        total = 0.0
        for label, one in self.maps.by_class.items():
            n, halves = len(one.potential.atoms), []
            for half in range(2):
                stream = seeds.generator(seed, "shares at tau", label or 0, half)
                z = torch.from_numpy(stream.standard_normal((number, one.potential.atoms.dim), dtype="float32"))
                halves.append(shares(one.potential, z, float(self.tau or 0)))
            copies = one.potential.copies  # of m copies each has 1 / m of their share
            many = torch.ones(n) if copies is None else copies.total(torch.ones(n, dtype=torch.float64))
            total += (n * float((halves[0] * halves[1] / many).sum()) - 1) * n
        return total / sum(len(one.potential.atoms) for one in self.maps.by_class.values())


@dataclass(frozen=True, eq=False)
class Rounded(Plain):
    """Rows of noise (R, d) whose products with atoms are taken in the atoms' type, heights added in float32."""

    def scores(self, y: Tensor, h: Tensor, scratch: Scratch) -> Iterator[Tensor]:
        yield (self.z.to(y.dtype) @ y.T).float().add_(h)

    def factors(self, y: Tensor, scratch: Scratch) -> tuple[None, Tensor]:
        return None, (self.z.to(y.dtype) @ y.T).float()


def _best(one: Map, z: Tensor, *, mirror: bool, rounded: bool) -> Tensor:
    """Numbers of the atoms with the best scores at z (B, *S), and at -z: int64 (B, 1 or 2)."""
    if not (mirror or rounded):
        return one.cell(z)[:, None]
    potential, z = one.potential, z.flatten(1).float()
    points = _rounded(potential) if rounded else potential.points
    heights = [potential._centred_heights.float()]
    with side_by_side(z.device) as team:
        pieces = [Rounded(part) for part in z.split(-(-len(z) // team.threads))]
        seconds = {"runners_up": rounded, "over": team.over, "scratch": team.scratch, "fused": False}
        races = winners(pieces, points, heights, mirror=mirror, **seconds)  # type: ignore[arg-type]
    sides = []
    for side, sign in enumerate((1, -1)[: 1 + mirror]):
        x = sign * z
        cells = potential._atoms(torch.cat([race[side].cell for [race] in races]), x)
        if rounded and len(potential.points) > 1:
            second = potential._atoms(torch.cat([race[side].second for [race] in races]), x)
            planes = potential.planes(x, torch.stack([cells, second], 1))
            cells = torch.where(planes[:, 1] > planes[:, 0], second, cells)
        sides.append(cells if one.numbers is None else one.numbers[cells])
    return torch.stack(sides, 1)


@lru_cache(maxsize=64)
def _rounded(potential: BrenierPotential) -> Atoms:
    """The centred points that differ, in bfloat16."""
    return replace(potential.problem.different.centred, dtype=torch.bfloat16).in_memory(IN_MEMORY)


def drawn(potential: BrenierPotential, z: Tensor, tau: float, stream: np.random.Generator) -> Tensor:
    """Numbers of atoms drawn from softmax((<z, y_i> + h_i) / tau), z (B, *S) -> int64 (B,), by the Gumbel-max trick."""
    z, copies = z.flatten(1).float(), potential.copies
    best = z.new_full((len(z),), -torch.inf, dtype=torch.float64)
    chosen = torch.zeros(len(z), dtype=torch.int64)
    unit = potential.problem.different.unit
    many = None if copies is None else copies.total(torch.ones(len(potential.atoms), dtype=torch.float64)).log()
    for i, j, _, scores in potential.scores(z):
        value = scores.double() * unit / tau + torch.from_numpy(stream.gumbel(size=tuple(scores.shape)))
        value = value if many is None else value + many[i:j]
        top = value.max(1)
        chosen = torch.where(top.values > best, top.indices + i, chosen)
        best = torch.maximum(best, top.values)
    return potential._atoms(chosen, z)


def shares(potential: BrenierPotential, z: Tensor, tau: float) -> Tensor:
    """The mean over z (B, d) of softmax((<z, y_i> + h_i) / tau), of the points that differ: float64 (N,)."""
    total, copies = torch.zeros(len(potential.points), dtype=torch.float64), potential.copies
    unit = potential.problem.different.unit
    many = None if copies is None else copies.total(torch.ones(len(potential.atoms), dtype=torch.float64)).log()
    for rows in z.split(ROWS):
        scores = torch.cat([part.double() for _, _, _, part in potential.scores(rows)], 1) * unit / tau
        total += torch.softmax(scores if many is None else scores + many, 1).sum(0)
    return total / len(z)


def off(potential: BrenierPotential, z: Tensor, sigma: float) -> Tensor:
    """Which draws sigma z are no point x = T(eps) + sigma eps: z (B, d) -> bool (B,).

    eps -> eps + T(eps) / sigma is the gradient of |eps|^2 / 2 + u(eps) / sigma, so that z has at most one eps, and if
    it lies in cell i then eps = z - y_i / sigma, where i has the largest <z, y_i> + h_i - |y_i|^2 / (2 sigma): the dual
    of the proximal map of u / sigma is concave over the simplex, and its value there is largest at a corner. Else z
    lies in a gap that the displacement of the cells has opened at their walls.
    """
    atoms, z = potential.atoms, z.flatten(1).float()
    squares = by_rows(atoms, lambda y: y.double().square().sum(1))
    moved = BrenierPotential(atoms, potential.heights - squares / (2 * sigma))
    candidate = moved.cell(z)
    there = potential.rows(candidate)
    back = potential.cell(z - there / sigma)
    return ~(potential.rows(back) == there).all(1)  # of atoms that are one point either will do


def paired(images: Tensor, labels: Tensor | None, options: Mapping, heights: Tensor | None = None) -> Paired:
    """Images (N, *S) with the coupling that options name: kind, tau, noises, mirrored, and ``rounded`` where that pays.

    Raises:
        ValueError: semidiscrete without heights.
    """
    if options["kind"] == "minibatch":
        return Paired(images, Minibatch(images, labels, options.get("noises")))
    if heights is None:
        raise ValueError("A semi-discrete coupling needs the heights of the clean images: run `dpmot pair` first")
    soft = {key: options[key] for key in ("tau", "mirrored") if options.get(key) is not None}
    able: Mapping[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    if options.get("rounded") and "tau" not in soft and able.get("amx_bf16"):
        soft["rounded"] = True  # with avx512_bf16 alone so few rows took .15 s where float32 took .11
    return Paired(images, SemiDiscrete.of(images, heights, labels, **soft))


def facts_of(paired: Paired, sigma_max: float) -> dict[str, float | bool]:
    """What only a semi-discrete coupling itself knows: ``rounded``, where its products are; ``off``, the share of prior
    draws at sigma_max that are no point of it; and with tau ``chi2_of_tau``, how far from equal the shares of the
    images are then (the heights are solved for the best atom; an unbiased estimate from two independent halves, so it
    may be below 0)."""
    coupling = paired.pairing
    assert isinstance(coupling, SemiDiscrete)
    found: dict[str, float | bool] = {"rounded": True} if coupling.rounded else {}
    found["off"] = coupling.share_off(sigma_max)
    if coupling.tau is not None:
        found["chi2_of_tau"] = coupling.chi2_of_tau()
    return found
