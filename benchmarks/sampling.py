"""What does the harness cost beside the network? Every sampler, and our DDIM beside diffusers' scheduler loop.

The harness is all that a cell of an experiment does but reading and writing files: prior noise, the sampler in float64
around the counted, tiled network, its noise (one stream a sample), pixels. "overhead", of which at most 1.05 is asked,
is its time over the time that its own calls of the network took, because a look at the network alone differs by 5 %
from one minute to the next on a shared machine. "apart" is the same against such looks: (evaluations x network alone,
on the same tiles). All candidates take turns in one process on one untrained network; medians of the rounds.

example: python -m benchmarks.sampling --rounds 5
         python -m benchmarks.sampling --images 256 --size 28 --channels 64 --samplers ddim ddpm
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from tqdm import tqdm

from dpmot import images, plugins, seeds
from dpmot.diffusion import metering, network
from dpmot.diffusion.budget import Budgeted
from dpmot.diffusion.denoiser import TiledDenoiser
from dpmot.diffusion.sigmas import UnattainableBudget
from dpmot.experiment.plan import Method
from dpmot.tiles import TILE, in_tiles

STOCHASTIC = {"ddim": {"eta": 1.0}, "edm": {"churn": 30.0}, "dpm_solver_pp": {"sde": True}}


def harness(denoiser: network.NetworkDenoiser, sampler: str, options: dict, count: int, nfe: int):
    """A run of one cell, and the evaluations of one; the smallest budget of at least ``nfe`` that the sampler meets."""
    planned = Method(network="ddpm", sampler=sampler, options=options)
    method, module = Budgeted.of(planned.sampler, planned.options), plugins.find("baselines", sampler)
    steps = 0
    while not steps:
        try:
            steps = method.num_steps(nfe)
        except UnattainableBudget:
            nfe += 1
    chain, shape = denoiser.parametrisation.chain, denoiser.shape
    sigmas = torch.from_numpy(chain.grid(steps, chain.sigma_max, family=module.GRID).copy())
    rows = seeds.sample_seeds(0, count)

    def noise(some: Sequence[int]) -> Callable[[int], torch.Tensor]:
        drawn = seeds.trajectory([rows[k] for k in some], shape, expected=nfe)
        return lambda step: drawn(step).double()

    def run() -> int:
        x = chain.prior_std * seeds.normal(rows, shape, "prior").double()
        x, spent = metering.run(sampler, TiledDenoiser(denoiser), x, sigmas, noise=noise, options=options)
        images.to_uint8(x)
        return spent

    return run


class Timed:
    """A network that adds up the seconds of its calls."""

    def __init__(self, model: Callable) -> None:
        self.model, self.seconds = model, 0.0

    def __call__(self, *arguments: torch.Tensor) -> torch.Tensor:
        """The network's output."""
        begin = time.perf_counter()
        result = self.model(*arguments)
        self.seconds += time.perf_counter() - begin
        return result


def bare(denoiser: network.NetworkDenoiser, count: int) -> Callable[[], object]:
    """The network alone, once, on the tiles that the harness gives it."""
    x, condition = torch.randn(count, *denoiser.shape), torch.rand(count)
    return lambda: in_tiles(denoiser.model, x, condition)


def diffusers_loop(denoiser: network.NetworkDenoiser, count: int, steps: int) -> Callable[[], int]:
    """diffusers' DDIMScheduler around the same network, on the same tiles."""
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(1000, beta_start=1e-4, beta_end=0.02, clip_sample=False)
    scheduler.set_timesteps(steps)

    def run() -> int:
        sample = torch.randn(count, *denoiser.shape)
        for t in scheduler.timesteps:
            predicted = in_tiles(denoiser.model, sample, (t + 1).float().expand(count) / 1000)
            sample = scheduler.step(predicted, t, sample).prev_sample
        return steps

    return run


def seconds(run: Callable) -> tuple[float, object]:
    """Time of one call, and what it returned."""
    begin = time.perf_counter()
    result = run()
    return time.perf_counter() - begin, result


def main() -> None:
    """Print the table."""
    samplers = plugins.names("baselines")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=4 * TILE)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--nfe", type=int, default=10)
    parser.add_argument("--size", type=int, default=8, help="side of the images (default 8)")
    parser.add_argument("--channels", type=int, default=16, help="width of the U-Net (default 16)")
    parser.add_argument("--samplers", nargs="+", choices=samplers, default=samplers)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    shape = (1, options.size, options.size)
    card = {"kind": "ddpm", "options": {}, "shape": shape, "unet": {"channels": options.channels}}
    model = Timed(network.build(card))
    denoiser = network.NetworkDenoiser(network.parametrisation(card), model)
    denoiser.shape = shape
    candidates = {}
    for name in options.samplers:
        for given in ({}, STOCHASTIC.get(name)):
            if given is not None:
                label = " ".join([name, *(f"{key}={value}" for key, value in given.items())])
                candidates[label] = harness(denoiser, name, given, options.images, options.nfe)
    candidates["diffusers' DDIM"] = diffusers_loop(denoiser, options.images, options.nfe)
    alone = bare(denoiser, options.images)
    rows: dict[str, list[tuple[float, ...]]] = {name: [] for name in candidates}
    for run in (alone, *candidates.values()):
        run()
    for _ in range(options.rounds):
        for name, run in tqdm(candidates.items(), unit="sampler", leave=False):
            model.seconds = 0.0
            whole, nfe = seconds(run)
            inside = model.seconds
            apart = statistics.mean(seconds(alone)[0] for _ in range(nfe))
            rows[name].append((whole / inside, whole / (nfe * apart), options.images * nfe / whole))
    print(f"{options.images} images {shape}, {options.threads} threads, medians of {options.rounds} rounds")
    print(f"{'sampler':28s} {'overhead':>10s} {'apart':>8s} {'evaluations/s':>14s}")
    for name, found in rows.items():
        overhead, apart, rate = (statistics.median(column) for column in zip(*found, strict=True))
        print(f"{name:28s} {overhead:10.3f} {apart:8.3f} {rate:14.0f}")


if __name__ == "__main__":
    main()
