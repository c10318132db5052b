r"""Noise levels: the one currency in which networks, samplers and starts meet.

x = x0 + sigma eps with images in [-1, 1]. A grid is a descending array (n + 1,) whose last entry is 0.
Variance-preserving chains x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps (Ho et al. 2020) appear with
sigma_t = sqrt((1 - abar_t) / abar_t) and x = x_t / sqrt(abar_t). numpy only: plans are made without torch.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Grid = NDArray[np.float64]


class UnattainableBudget(ValueError):
    """No number of steps of this sampler fits the budget; the message says which budget would do."""


def vp_linear_levels(num_levels: int = 1000, *, beta_min: float = 1e-4, beta_max: float = 0.02) -> Grid:
    """sigma_1 < ... < sigma_T of the linear-beta DDPM chain (Ho et al. 2020, section 4), shape (T,)."""
    abar = np.cumprod(1 - np.linspace(beta_min, beta_max, num_levels))
    return np.sqrt((1 - abar) / abar)


def karras(n: int, sigma_max: float, sigma_min: float, *, rho: float = 7.0) -> Grid:
    """n steps from sigma_max down to sigma_min, then 0 (Karras et al. 2022, eq. 5), shape (n + 1,)."""
    ramp = np.linspace(0, 1, n) if n > 1 else np.zeros(1)
    sigmas = (sigma_max ** (1 / rho) + ramp * (sigma_min ** (1 / rho) - sigma_max ** (1 / rho))) ** rho
    sigmas[0] = sigma_max
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
        family: grid family, "vp" (the chain's own levels, equal steps in t) or "karras".
        sigmas: its full chain, descending, last 0, shape (L + 1,).
        sigma_min: finest level.
        sigma_max: coarsest level.
        prior_std: standard deviation of the prior noise at sigma_max; sigma_max (EDM), or
            sqrt(1 + sigma_max^2) where the network's own prior is N(0, I) in x_t (DDPM).
        step_counts: the step counts a distilled student was made for; None where any number will do.
    """

    family: str
    sigmas: Grid
    sigma_min: float
    sigma_max: float
    prior_std: float
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
            return self._student_grid(n)
        if family == "vp":
            return vp_steps(n, sigma_start, vp_linear_levels() if self.family != "vp" else self.levels)
        if family == "karras":
            if n > 1 and sigma_start == self.sigma_min:
                raise UnattainableBudget(f"{n} steps do not fit below the finest level {sigma_start:g}; use 1 step")
            return karras(n, sigma_start, self.sigma_min)
        raise ValueError(f'Unknown grid family "{family}": allowed are karras, vp')

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
            return self._student_grid(n)
        length = len(self.sigmas) - 1
        if n > length:
            raise UnattainableBudget(f"the full chain has {length} steps, fewer than {n}")
        return self.sigmas[-n - 1 :]

    def _student_grid(self, n: int) -> Grid:
        # Students halve one grid, that of the first teacher, so that each has its levels in common with the one before.
        if n not in self.step_counts:
            counts = ", ".join(map(str, self.step_counts))
            raise UnattainableBudget(f"no student of {n} steps was distilled; use {counts}")
        finest = 2 * max(self.step_counts)
        return replace(self, step_counts=None).grid(finest, self.sigma_max)[:: finest // n]


def ddpm_chain(*, num_levels: int = 1000, beta_min: float = 1e-4, beta_max: float = 0.02) -> Chain:
    """The chain of a linear-beta DDPM: all T levels."""
    levels = vp_linear_levels(num_levels, beta_min=beta_min, beta_max=beta_max)
    return Chain("vp", np.append(levels[::-1], 0.0), levels[0], levels[-1], float(np.sqrt(1 + levels[-1] ** 2)))


def edm_chain(*, num_levels: int = 18, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> Chain:
    """The chain of EDM's preset: the Karras grid, 18 levels for small images (Karras et al. 2022, table 1)."""
    return Chain("karras", karras(num_levels, sigma_max, sigma_min, rho=rho), sigma_min, sigma_max, sigma_max)
