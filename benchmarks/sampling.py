"""How fast do samplers run? Images per second by tile size, and our DDIM beside diffusers' scheduler loop.

All candidates take turns in one process on the same untrained network; the median of the rounds is printed.
example: python -m benchmarks.sampling --rounds 5
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from baselines import ddim
from dpmot.diffusion import network
from dpmot.diffusion.denoiser import TiledDenoiser

CARD = {"kind": "ddpm", "options": {}, "shape": [1, 8, 8], "unet": {}}
STEPS = 10


def ours(denoiser: network.NetworkDenoiser, x: torch.Tensor, tile: int) -> Callable[[], object]:
    """Our DDIM over the network's own levels, with fixed tiles."""
    chain = network.chain_of(CARD)
    sigmas = torch.from_numpy(chain.grid(STEPS, chain.sigma_max))
    start, tiled = chain.prior_std * x.double(), TiledDenoiser(denoiser, tile=tile)
    return lambda: ddim.sample(tiled, start, sigmas)


def peer(denoiser: network.NetworkDenoiser, x: torch.Tensor) -> Callable[[], object]:
    """diffusers' DDIMScheduler around the same network, the whole batch at once."""
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(1000, beta_start=1e-4, beta_end=0.02, clip_sample=False)
    scheduler.set_timesteps(STEPS)

    @torch.inference_mode()
    def run() -> torch.Tensor:
        sample = x
        for t in scheduler.timesteps:
            predicted = denoiser.model(sample, (t + 1).float().expand(len(sample)) / 1000)
            sample = scheduler.step(predicted, t, sample).prev_sample
        return sample

    return run


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    denoiser = network.NetworkDenoiser(network.parametrisation(CARD), network.build(CARD))
    x = torch.randn(options.images, *CARD["shape"], generator=torch.Generator().manual_seed(0))
    candidates = {f"ours, tile {tile}": ours(denoiser, x, tile) for tile in (32, 64, 128, 256)}
    candidates["diffusers, one batch"] = peer(denoiser, x)
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(options.rounds):
        for name, run in candidates.items():
            begin = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begin)
    for name, times in seconds.items():
        rate = options.images * STEPS / statistics.median(times)
        print(f"{name:24s} {rate:8.0f} evaluations/s (median of {options.rounds}, {options.threads} thread)")


if __name__ == "__main__":
    main()
