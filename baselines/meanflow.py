r"""MeanFlow's sampler (Geng et al. 2025): each step goes the whole way that the network gives of it.

    x_{i+1} = D + sigma_{i+1} / sigma_i (x_i - D),    D = D(x_i, sigma_i, sigma_{i+1}),

which is x_r = x_t - (t - r) u(x_t, r, t) in flow matching's time. It needs a network that knows spans, of kind
``meanflow``, and is refused on others, where its steps would be DDIM's. One evaluation a step.
"""

from typing import Any

from dpmot.diffusion.protocols import Callback, Noise, Tensor
from dpmot.diffusion.sigmas import intervals, one_a_step

GRID = "flow"
SPANS = True  # asks for D(x, sigma, to)
num_steps = one_a_step("MeanFlow")


def sample(
    denoiser: Any, x: Tensor, sigmas: Tensor, *, noise: Noise | None = None, callback: Callback | None = None
) -> Tensor:
    """Run MeanFlow from x at sigmas[0] to sigma 0; see :mod:`baselines`."""
    for i, sigma, to in intervals(sigmas):
        denoised = denoiser(x, sigma, to)
        if callback:
            callback(i, x, denoised)
        x = denoised + to / sigma * (x - denoised)
    return x
