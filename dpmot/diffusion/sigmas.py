r"""Noise levels: the one currency in which networks, samplers and starts meet.

x = x0 + sigma eps with images in [-1, 1]. A grid is a descending array (n + 1,) whose last entry is 0.
Variance-preserving chains x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps (Ho et al. 2020) appear with
sigma_t = sqrt((1 - abar_t) / abar_t) and x = x_t / sqrt(abar_t). numpy only: plans are made without torch.
"""

from collections.abc import Callable, Collection, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import SupportsFloat, TypeVar

import numpy as np
from numpy.typing import NDArray

Grid = NDArray[np.float64]
Level = TypeVar("Level", bound=SupportsFloat)
VP_BETA_MIN, VP_BETA_MAX = 0.1, 20.0  # of the continuous diffusion
_CURRENT: ContextVar[int] = ContextVar("step", default=0)


class UnattainableBudget(ValueError):
    """No number of steps of this sampler fits the budget; the message says which budget would do."""


def check_budget(nfe: int, least: int, method: str) -> None:
    """Raise UnattainableBudget below the ``least`` evaluations that a method can spend."""
    if nfe < least:
        plural = "s" if least > 1 else ""
        raise UnattainableBudget(f"{method} needs at least {least} evaluation{plural}, NFE {nfe} was given")


def one_a_step(method: str) -> Callable[[int], int]:
    """The ``num_steps`` of a sampler that spends one evaluation a step; ``method`` is its name in messages."""

    def num_steps(nfe: int) -> int:
        """Most steps within ``nfe`` evaluations: one a step, at least one."""
        check_budget(nfe, 1, method)
        return nfe

    return num_steps


class BadGrid(ValueError):
    """A noise grid that no sampler can follow; the message names the step and the sigmas."""


def intervals(sigmas: Collection[Level]) -> Iterator[tuple[int, Level, Level]]:
    """The steps of a grid, (i, sigma_i, sigma_{i+1}) for i = 0, ..., n-1, with the entries as ``sigmas`` has them.

    Args:
        sigmas: array or tensor (n + 1,), strictly descending; 0 is allowed at the end only.

    Raises:
        BadGrid: anything else, before the first step.
    """
    values = [float(sigma) for sigma in sigmas]
    if len(values) < 2:
        raise BadGrid(f"A grid needs a start and an end, descending to 0; got {values}")
    for i, (sigma, to) in enumerate(pairwise(values)):
        if not 0 <= to < sigma < float("inf"):
            fault = "sigma is 0 before the end" if sigma == 0 else f"sigma goes from {sigma:g} to {to:g}"
            raise BadGrid(
                f"At step {i} of {len(values) - 1} {fault}; a grid descends strictly, and only its last entry is 0"
            )
    return _steps(sigmas)


def _steps(sigmas: Collection[Level]) -> Iterator[tuple[int, Level, Level]]:
    for i, (sigma, to) in enumerate(pairwise(sigmas)):
        _CURRENT.set(i)
        yield i, sigma, to


def current_step() -> int:
    """The step that a sampler walking :func:`intervals` is in, for messages."""
    return _CURRENT.get()


def vp_levels(num_levels: int, *, beta_min: float, beta_max: float, schedule: str = "linear") -> Grid:
    """sigma_1 < ... < sigma_T of a discrete VP chain, shape (T,).

    Args:
        schedule: of the betas, by diffusers' names: "linear" (Ho et al. 2020), "scaled_linear" (linear in sqrt beta:
            Rombach et al. 2022), "sigmoid" (Xu et al. 2022, at 12 t / T - 6), or "squaredcos_cap_v2" (Nichol &
            Dhariwal 2021, eq. 17), which has no ends.
    """
    if schedule == "linear":
        return vp_linear_levels(num_levels, beta_min=beta_min, beta_max=beta_max)
    if schedule == "scaled_linear":
        betas = np.linspace(beta_min**0.5, beta_max**0.5, num_levels) ** 2
    elif schedule == "sigmoid":
        betas = beta_min + (beta_max - beta_min) / (1 + np.exp(-np.linspace(-6, 6, num_levels)))
    else:
        bar = np.cos((np.arange(num_levels + 1) / num_levels + 0.008) / 1.008 * np.pi / 2) ** 2
        betas = np.minimum(1 - bar[1:] / bar[:-1], 0.999)
    abar = np.cumprod(1 - betas)
    return np.sqrt((1 - abar) / abar)


def vp_linear_levels(num_levels: int = 1000, *, beta_min: float = 1e-4, beta_max: float = 0.02) -> Grid:
    """sigma_1 < ... < sigma_T of the linear-beta DDPM chain (Ho et al. 2020, section 4), shape (T,)."""
    abar = np.cumprod(1 - np.linspace(beta_min, beta_max, num_levels))
    return np.sqrt((1 - abar) / abar)


def vp_time(sigma: float | NDArray) -> NDArray:
    """Time in [0, 1] of a noise level on the continuous linear-beta diffusion (Song et al. 2021, app. C)."""
    slope = VP_BETA_MAX - VP_BETA_MIN
    return (np.sqrt(VP_BETA_MIN**2 + 2 * slope * np.log1p(np.square(sigma))) - VP_BETA_MIN) / slope


def vp_sigma(time: float | NDArray) -> NDArray:
    """The noise level at a time in [0, 1], the inverse of :func:`vp_time`."""
    return np.sqrt(np.expm1((VP_BETA_MAX - VP_BETA_MIN) * np.square(time) / 2 + VP_BETA_MIN * np.asarray(time)))


def polynomial(n: int, sigma_max: float, sigma_min: float, *, rho: float) -> Grid:
    """n levels equally spaced in sigma^(1 / rho), then 0, shape (n + 1,); rho = 1 is uniform in sigma."""
    return _between(n, sigma_max, sigma_min, lambda sigma: sigma ** (1 / rho), lambda v: v**rho)


def karras(n: int, sigma_max: float, sigma_min: float) -> Grid:
    """n steps from sigma_max down to sigma_min, then 0 (Karras et al. 2022, eq. 5, rho = 7), shape (n + 1,)."""
    return polynomial(n, sigma_max, sigma_min, rho=7)


def geometric(n: int, sigma_max: float, sigma_min: float) -> Grid:
    """n levels at equal ratios, which is uniform in the log-SNR -2 ln sigma, then 0, shape (n + 1,).

    NCSN's levels (Song & Ermon 2019), and the steps of DPM-Solver (Lu et al. 2022a, section 3.4).
    """
    return _between(n, sigma_max, sigma_min, np.log, np.exp)


def quadratic(n: int, sigma_max: float, sigma_min: float) -> Grid:
    """n levels equally spaced in the square root of the VP time, then 0 (DDIM's and DEIS's), shape (n + 1,)."""
    return _between(n, sigma_max, sigma_min, lambda sigma: np.sqrt(vp_time(sigma)), lambda v: vp_sigma(v**2))


def cosine(n: int, sigma_max: float, sigma_min: float) -> Grid:
    """n equal steps in arctan sigma, (n + 1,): those of the cosine chain (Nichol & Dhariwal 2021, abar = cos^2)."""
    return aligned(n, sigma_max, sigma_min, data_std=1.0)


def aligned(n: int, sigma_max: float, sigma_min: float, *, data_std: float) -> Grid:
    r"""The grid on which DDIM keeps the law of isotropic Gaussian data best, shape (n + 1,); nothing is searched.

    For data of variance c^2 put theta = arctan(sigma / c). A DDIM step multiplies the standard deviation by
    cos(theta_i - theta_{i+1}) times what the exact flow does, so that c prod_i cos is left of it: most for n equal
    steps in theta down to 0. Where the last of these levels would lie below sigma_min it is sigma_min, and the steps
    before it are equal. (Sabour et al. 2024, Align Your Steps, optimise grids numerically for a network.)

    Args:
        data_std: c > 0, in the units of sigma.

    Raises:
        ValueError: data_std is not above 0.
    """
    if not 0 < data_std < np.inf:
        raise ValueError(f"The aligned grid needs data_std > 0, got {data_std}")
    return _to_zero(n, sigma_max, sigma_min, lambda v: np.arctan(v / data_std), lambda v: data_std * np.tan(v))


def flow(n: int, sigma_max: float, sigma_min: float) -> Grid:
    """n equal steps in the time of flow matching, t = sigma / (1 + sigma), shape (n + 1,); its end as :func:`aligned`.

    (Lipman et al. 2023; Liu et al. 2023: x_t = (1 - t) x0 + t eps.)
    """
    return _to_zero(n, sigma_max, sigma_min, lambda v: v / (1 + v), lambda t: t / (1 - t))


def dmn(n: int, sigma_max: float, sigma_min: float) -> Grid:
    """n levels that minimise a bound of a multistep solver's error, then 0, (n + 1,); see :mod:`dpmot.diffusion.dmn`.

    Raises:
        UnattainableBudget: more levels than it is made for.
    """
    from dpmot.diffusion import dmn as search  # imports scipy's optimisers, which most plans do without

    if n > search.MOST:
        raise UnattainableBudget(f"the dmn grid is made for few steps, {search.MOST} at most; {n} were asked for")
    return np.append(search.levels(n, float(sigma_max), float(sigma_min)), 0.0)


def _to_zero(n: int, sigma_max: float, sigma_min: float, forth: Callable, back: Callable) -> Grid:
    """n equal steps in ``forth(sigma)`` down to 0; where the last level would lie below sigma_min, it is sigma_min."""
    first = forth(np.float64(sigma_max))
    if n > 1 and first / n < forth(np.float64(sigma_min)):
        return _between(n, sigma_max, sigma_min, forth, back)
    sigmas = back(first * np.linspace(1, 0, n + 1))
    sigmas[0] = sigma_max
    return sigmas


def _between(n: int, sigma_max: float, sigma_min: float, forth: Callable, back: Callable) -> Grid:
    """n levels equally spaced in ``forth(sigma)``, both ends exact, then 0."""
    first, last = forth(np.float64(sigma_max)), forth(np.float64(sigma_min))
    sigmas = back(first + (np.linspace(0, 1, n) if n > 1 else np.zeros(1)) * (last - first))
    sigmas[-1], sigmas[0] = sigma_min, sigma_max
    return np.append(sigmas, 0.0)


def vp_steps(n: int, sigma_start: float, levels: Grid) -> Grid:
    """n steps of equal length in t over a chain's own levels, from sigma_start to 0, shape (n + 1,).

    The first entry is sigma_start itself; its (real) time t is found by interpolating log sigma, and step i
    starts at the level nearest t (1 - i / n).

    Raises:
        UnattainableBudget: sigma_start and the levels below it are fewer than n.
    """
    start = time_of(sigma_start, levels)
    times = np.round(start * (1 - np.arange(1, n) / n)).astype(int)
    path = np.concatenate([[sigma_start], levels[np.maximum(times, 1) - 1], [0.0]])
    if np.any(np.diff(path) >= 0):
        raise UnattainableBudget(
            f"{n} steps do not fit between sigma {sigma_start:.4g} and 0 on this chain: only "
            f"{int(start)} of its levels lie there; use fewer steps or a larger sigma"
        )
    return path


def time_of(sigma: float | NDArray, levels: Grid) -> NDArray:
    """Real time t in [1, T] of a noise level on a discrete chain, by linear interpolation of log sigma."""
    return np.interp(np.log(sigma), np.log(levels), np.arange(1, len(levels) + 1))


@dataclass(frozen=True, eq=False)
class Chain:
    """The noise levels a network was made for.

    Attributes:
        family: grid family, "vp" (the chain's own levels, equal steps in t) or a key of ``FAMILIES``.
        sigmas: its full chain, descending, last 0, shape (L + 1,).
        sigma_min: finest level.
        sigma_max: coarsest level.
        prior_std: standard deviation of the prior noise at sigma_max; sigma_max (EDM), or
            sqrt(1 + sigma_max^2) where the network's own prior is N(0, I) in x_t (DDPM).
        data_std: standard deviation of the data per pixel, for the aligned grid; 0.5 is EDM's.
        step_counts: the step counts a distilled student was made for; None where any number will do.
    """

    family: str
    sigmas: Grid
    sigma_min: float
    sigma_max: float
    prior_std: float
    data_std: float = 0.5
    step_counts: tuple[int, ...] | None = None

    def grid(self, n: int, sigma_start: float, *, family: str | None = None) -> Grid:
        """n steps from sigma_start to 0 in the chain's own family or the one named, shape (n + 1,).

        Raises:
            ValueError: sigma_start lies outside [sigma_min, sigma_max], or the family is unknown.
            UnattainableBudget: n levels do not fit there, or a student was not distilled for this grid.
        """
        if not self.sigma_min <= sigma_start <= self.sigma_max * (1 + 1e-9):
            raise ValueError(
                f"sigma_M = {sigma_start:g} lies outside the network's levels [{self.sigma_min:g}, {self.sigma_max:g}]"
            )
        family = family or self.family
        if self.step_counts is not None:
            if family != self.family or sigma_start < self.sigma_max:
                raise UnattainableBudget(
                    f"a student runs on the {self.family} grid it was distilled for, from sigma {self.sigma_max:g}; "
                    f"the {family} grid from sigma {sigma_start:g} needs a network that is no student"
                )
            return self.tail(n)
        if family == "vp":
            return vp_steps(n, sigma_start, vp_linear_levels() if self.family != "vp" else self.levels)
        if family not in FAMILIES:
            raise ValueError(f'Unknown grid family "{family}": allowed are vp, {", ".join(FAMILIES)}')
        if n > 1 and sigma_start == self.sigma_min:
            raise UnattainableBudget(f"{n} steps do not fit below the finest level {sigma_start:g}; use 1 step")
        return FAMILIES[family](self, n, sigma_start)

    @property
    def levels(self) -> Grid:
        """The full chain's levels in ascending order, without the 0, shape (L,)."""
        return self.sigmas[-2::-1].copy()

    def tail(self, n: int) -> Grid:
        """The last n steps of the full chain, shape (n + 1,); a student of n steps has no other chain than its own.

        Raises:
            UnattainableBudget: the chain is shorter than n steps, or no student has n steps.
        """
        if self.step_counts is not None:
            # Students halve one grid, the first teacher's, so that each has its levels in common with the one before.
            if n not in self.step_counts:
                counts = ", ".join(map(str, self.step_counts))
                raise UnattainableBudget(f"no student of {n} steps was distilled; use {counts}")
            finest = 2 * max(self.step_counts)
            return replace(self, step_counts=None).grid(finest, self.sigma_max)[:: finest // n]
        length = len(self.sigmas) - 1
        if n > length:
            raise UnattainableBudget(f"the full chain has {length} steps, fewer than {n}")
        return self.sigmas[-n - 1 :]


def check_levels(num_levels: int, sigma_min: float, sigma_max: float) -> None:
    """Raise ValueError for levels that no chain has."""
    if num_levels < 2 or not 0 < sigma_min < sigma_max < float("inf"):
        raise ValueError(
            f"A chain needs num_levels >= 2 and 0 < sigma_min < sigma_max, got num_levels {num_levels}, sigma_min "
            f"{sigma_min}, sigma_max {sigma_max}"
        )


FAMILIES: dict[str, Callable[[Chain, int, float], Grid]] = {
    "karras": lambda chain, n, start: karras(n, start, chain.sigma_min),
    "geometric": lambda chain, n, start: geometric(n, start, chain.sigma_min),
    "log_snr": lambda chain, n, start: geometric(n, start, chain.sigma_min),  # the same grid, as DPM-Solver calls it
    "quadratic": lambda chain, n, start: quadratic(n, start, chain.sigma_min),
    "cosine": lambda chain, n, start: cosine(n, start, chain.sigma_min),
    "uniform": lambda chain, n, start: polynomial(n, start, chain.sigma_min, rho=1),
    "aligned": lambda chain, n, start: aligned(n, start, chain.sigma_min, data_std=chain.data_std),
    "flow": lambda chain, n, start: flow(n, start, chain.sigma_min),
    "dmn": lambda chain, n, start: dmn(n, start, chain.sigma_min),
}


def ddpm_chain(
    *, num_levels: int = 1000, beta_min: float = 1e-4, beta_max: float = 0.02, schedule: str = "linear"
) -> Chain:
    """The chain of a DDPM, with linear betas by default: all T levels."""
    levels = vp_levels(num_levels, beta_min=beta_min, beta_max=beta_max, schedule=schedule)
    return Chain("vp", np.append(levels[::-1], 0.0), levels[0], levels[-1], float(np.sqrt(1 + levels[-1] ** 2)))


def edm_chain(
    *, num_levels: int = 18, sigma_min: float = 0.002, sigma_max: float = 80.0, data_std: float = 0.5
) -> Chain:
    """The chain of EDM's preset: the Karras grid, 18 levels for small images (Karras et al. 2022, table 1)."""
    return Chain("karras", karras(num_levels, sigma_max, sigma_min), sigma_min, sigma_max, sigma_max, data_std)


def flow_chain(*, num_levels: int = 1000, sigma_max: float | None = None) -> Chain:
    """The chain of flow matching: t = (T - 1) / T, ..., 1 / T; at t = 1 sigma would be infinite.

    Args:
        num_levels: T.
        sigma_max: a coarser level above these, t = sigma_max / (1 + sigma_max); None: T - 1, the coarsest of them.

    Raises:
        ValueError: sigma_max is not finite, or below T - 1.
    """
    most = num_levels - 1.0
    sigmas = flow(num_levels - 1, most, 1 / most)
    sigmas[-2] = 1 / most
    top = most if sigma_max is None else float(sigma_max)
    if not most <= top < np.inf:
        raise ValueError(f"sigma_max must be finite and at least num_levels - 1 = {most:g}, got {top:g}")
    return Chain("flow", sigmas if top == most else np.append(top, sigmas), 1 / most, top, top)


def ncsnv2_chain(*, num_levels: int = 232, sigma_min: float = 0.02, sigma_max: float = 100.0) -> Chain:
    """The chain of NCSNv2: geometric levels (Song & Ermon 2020); default CIFAR-10's, doubled for images in [-1, 1]."""
    return Chain("geometric", geometric(num_levels, sigma_max, sigma_min), sigma_min, sigma_max, sigma_max)
