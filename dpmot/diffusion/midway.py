r"""A scheduler of diffusers that begins at a noise level sigma_M, midway on its chain, instead of at its own start.

A scheduler is told a number of steps and lays them over its whole chain. Here it is given a grid from sigma_M down,
sigma_M = sigma_0 > ... > sigma_n, and the state of its solver as after ``set_timesteps``. What it steps from level to
level is x = x0 + sigma eps in units of its own,

    vp      x / sqrt(1 + sigma^2)      DDPM, DDIM, DPM-Solver, DEIS, UniPC
    sigma   x                          Euler, Heun, LMS, EDM's, consistency models'
    flow    x / (1 + sigma)            flow matching, whose own level is t = sigma / (1 + sigma)

What its configuration says of its steps holds: equal steps in t over the levels of its chain, or Karras' or geometric
levels where ``use_karras_sigmas`` or ``use_exponential_sigmas`` asks for them.
"""

import inspect
from collections.abc import Mapping
from copy import deepcopy
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpmot.diffusion.schedulers import undisturbed
from dpmot.diffusion.sigmas import Grid, flow, geometric, polynomial, time_of, vp_steps

LOOKED_UP = ("DDIMScheduler", "DDIMParallelScheduler", "DDPMScheduler", "DDPMParallelScheduler")  # levels in a table
SOLVERS = (
    *("DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"),
    *("DEISMultistepScheduler", "UniPCMultistepScheduler"),
)
ODES = (
    *("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler", "LMSDiscreteScheduler"),
    *("EDMEulerScheduler", "EDMDPMSolverMultistepScheduler", "CMStochasticIterativeScheduler"),
)
FLOWS = ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler")
UNITS = dict.fromkeys(LOOKED_UP + SOLVERS, "vp") | dict.fromkeys(ODES, "sigma") | dict.fromkeys(FLOWS, "flow")
INSTEAD = {  # of those whose steps must be equal, or that evaluate between levels
    **{"PNDMScheduler": "DEISMultistepScheduler", "SASolverScheduler": "UniPCMultistepScheduler"},
    **{"KDPM2DiscreteScheduler": "HeunDiscreteScheduler", "DPMSolverSDEScheduler": "DPMSolverMultistepScheduler"},
    **{"KDPM2AncestralDiscreteScheduler": "EulerAncestralDiscreteScheduler", "LCMScheduler": "DDIMScheduler"},
}
NOT_FOLLOWED = (  # keys that lay the steps, or change the levels, in a way that is not followed from midway
    *("use_beta_sigmas", "use_lu_lambdas", "use_flow_sigmas", "use_dynamic_shifting", "invert_sigmas"),
)
CLOSE = 1e-3  # of a level of a chain, whose tables are float32


class Midway:
    """A copy of a scheduler whose first step is at ``sigma``.

    Args:
        scheduler: of diffusers; it is not changed.
        sigma: sigma_M, the noise level of the start, with images in [-1, 1].
        steps: n.

    Attributes:
        sigmas: the grid, (n + 1,), descending; its last entry is where the scheduler ends, 0 or its finest level.
        timesteps: what the network is told, one an evaluation.

    Raises:
        ValueError: a scheduler that cannot begin midway; the message names one that can. Or sigma is none of its
            levels, or there are fewer levels below it than steps.
    """

    def __init__(self, scheduler: Any, sigma: float, steps: int) -> None:
        self.units, self.name = units_of(scheduler), type(scheduler).__name__
        if isinstance(steps, bool) or not hasattr(steps, "__index__") or steps < 1:
            raise ValueError(f"num_inference_steps is {steps!r}; give a whole number of at least 1")
        self._scheduler, self._levels = deepcopy(scheduler), levels_of(scheduler)
        self._takes = inspect.signature(scheduler.step).parameters
        _check_level(scheduler, sigma)
        self.sigmas = self._grid(float(sigma), int(steps))
        with undisturbed():
            self.timesteps: Tensor = self._begun()

    def begin(self, x: Tensor) -> Tensor:
        """The state at sigma_M of x = x0 + sigma_M eps, (B, *S)."""
        sigma = float(self.sigmas[0])
        return x / {"vp": (1 + sigma**2) ** 0.5, "sigma": 1.0, "flow": 1 + sigma}[self.units]

    def scaled(self, state: Tensor, time: Tensor) -> Tensor:
        """What the network is shown of a state."""
        return state if self.units == "flow" else self._scheduler.scale_model_input(state, time)

    def step(self, output: Tensor, i: int, state: Tensor, options: Mapping[str, Any]) -> Tensor:
        """The state after the network's i-th answer.

        Args:
            options: of the scheduler's ``step``, such as eta; a generator goes to those that take one.

        Raises:
            ValueError: an option that the scheduler does not take.
        """
        taken = {key: value for key, value in options.items() if key != "generator" or key in self._takes}
        if unknown := [key for key in taken if key not in self._takes]:
            known = ", ".join([*self._takes][3:-1])  # between model_output, timestep, sample and return_dict
            raise ValueError(f"{self.name} takes no {unknown[0]}; its step takes {known or 'no options'}")
        if self.name.startswith("DDIM"):  # it knows where a step ends by T // num_inference_steps alone
            here, to = (int(time) for time in [*self.timesteps[i : i + 2], -1][:2])
            self._scheduler.num_inference_steps = Fraction(self._scheduler.config.num_train_timesteps, here - to)
        return self._scheduler.step(output, self.timesteps[i], state, **taken).prev_sample

    def _grid(self, sigma: float, steps: int) -> Grid:
        config, low = self._scheduler.config, finest(self._scheduler)
        if self.units == "flow":
            return flow(steps, sigma, low)
        if self.name.startswith("CM"):  # which ends at its finest level and is never evaluated there
            return polynomial(steps + 1, sigma, low, rho=config.rho)[:-1]
        karras = config.get("use_karras_sigmas") or config.get("sigma_schedule") == "karras"
        if self._levels is None or karras or config.get("use_exponential_sigmas"):
            return polynomial(steps, sigma, low, rho=config.get("rho", 7)) if karras else geometric(steps, sigma, low)
        return vp_steps(steps, sigma, self._levels)

    def _begun(self) -> Tensor:
        """Give the scheduler its grid, in the state of one that has just been told its steps; its timesteps."""
        scheduler, grid = self._scheduler, self.sigmas
        times = self._times(grid[:-1])
        if self.name.startswith("DDPM"):
            scheduler.set_timesteps(timesteps=[round(float(time)) for time in times])
            return scheduler.timesteps
        scheduler.set_timesteps(len(times))
        scheduler.timesteps = _as(times, scheduler.timesteps)
        if self.name in LOOKED_UP:
            return scheduler.timesteps
        grid[-1] = float(scheduler.sigmas[-1])
        levels = _as(grid / (1 + grid) if self.units == "flow" else grid, scheduler.sigmas)
        if "Heun" in self.name:  # every level but the first is evaluated twice
            levels = torch.cat([levels[:1], levels[1:-1].repeat_interleave(2), levels[-1:]])
            first, rest = scheduler.timesteps[:1], scheduler.timesteps[1:]
            scheduler.timesteps = torch.cat([first, rest.repeat_interleave(2)])
        scheduler.sigmas = levels
        scheduler.set_begin_index(0)
        return scheduler.timesteps

    def _times(self, sigmas: Grid) -> Any:
        """What the network is told at these levels."""
        scheduler, config = self._scheduler, self._scheduler.config
        if self.units == "flow":
            return sigmas / (1 + sigmas) * config.num_train_timesteps
        if self.name.startswith("CM"):
            return scheduler.sigma_to_t(sigmas)
        if self._levels is None:
            return scheduler.precondition_noise(torch.from_numpy(sigmas))
        if config.get("timestep_type") == "continuous" and config.prediction_type == "v_prediction":
            return np.log(sigmas) / 4
        return time_of(sigmas, self._levels) - 1


def units_of(scheduler: Any) -> str:
    """The units of a scheduler's state: "vp", "sigma" or "flow".

    Raises:
        ValueError: it cannot begin midway.
    """
    name = type(scheduler).__name__
    if name not in UNITS:
        if name in INSTEAD:
            told = f"take another: pipeline.scheduler = {INSTEAD[name]}.from_config(pipeline.scheduler.config)"
        else:
            told = f"known are {', '.join(UNITS)}; dpmot.sample with dpmot.diffusers.denoiser(pipeline) needs none"
        raise ValueError(f"{name} cannot begin at a given noise level; {told}")
    for key in NOT_FOLLOWED:
        if scheduler.config.get(key):
            raise ValueError(
                f"{name}: {key} is {scheduler.config[key]}, which is not followed from midway; leave it out"
            )
    return UNITS[name]


def levels_of(scheduler: Any) -> Grid | None:
    """The finite levels of a discrete VP chain, ascending; None for a scheduler of continuous levels."""
    if not hasattr(scheduler, "alphas_cumprod"):
        return None
    with np.errstate(divide="ignore"):
        abar = np.array(scheduler.alphas_cumprod.tolist())
        levels = np.sqrt((1 - abar) / abar)
    return levels[np.isfinite(levels)]


def finest(scheduler: Any) -> float:
    """The lowest level above 0 of a scheduler's chain."""
    levels = levels_of(scheduler)
    if levels is not None:
        return float(levels[0])
    flows = type(scheduler).__name__ in FLOWS
    return 1 / (scheduler.config.num_train_timesteps - 1) if flows else scheduler.config.sigma_min


def nearest(scheduler: Any, sigma: float) -> float:
    """The level nearest to sigma at which a scheduler can begin: of its chain, or sigma itself where all will do.

    Raises:
        ValueError: sigma lies outside its levels, or it cannot begin midway.
    """
    levels = levels_of(scheduler)
    low = finest(scheduler)
    if levels is not None:
        high = float(levels[-1])
    else:
        high = 1 / low if units_of(scheduler) == "flow" else scheduler.config.sigma_max
    if not (isinstance(sigma, int | float) and low * (1 - CLOSE) <= sigma <= high * (1 + CLOSE)):
        name, inside = type(scheduler).__name__, f"[{low:.4g}, {high:.4g}]"
        raise ValueError(f"sigma_M = {sigma:.6g} lies outside the levels of {name}, {inside}")
    if levels is None or units_of(scheduler) != "vp":
        return float(np.clip(sigma, low, high))
    return float(levels[np.abs(np.log(levels / sigma)).argmin()])


def _check_level(scheduler: Any, sigma: float) -> None:
    if abs((closest := nearest(scheduler, sigma)) / sigma - 1) > CLOSE:
        raise ValueError(
            f"sigma_M = {sigma:.6g} is none of the levels of {type(scheduler).__name__}, whose times are whole; the "
            f"nearest is {closest:.6g}: solve for dpmot.diffusers.level(pipeline, {sigma:.6g}), or take "
            "EulerDiscreteScheduler or HeunDiscreteScheduler, which begin anywhere"
        )


def _as(values: Any, like: Tensor) -> Tensor:
    """Numbers in the dtype and on the device of others, rounded where these are whole."""
    given = torch.as_tensor(values).double().cpu()
    return (given if like.is_floating_point() else given.round()).to(like)
