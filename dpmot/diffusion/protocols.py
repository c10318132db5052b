"""What networks, samplers and starts are to one another, importable where torch is not: plans are made without it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any


class Denoiser(Protocol):
    """D(x, sigma): x (B, *S), sigma () or (B,) -> E[x0 | x], (B, *S), for sigma_min <= sigma <= sigma_max.

    One whose ``posterior_mean`` is False is E[x0 | x] of noise that was coupled with the image in training: see
    :func:`is_posterior_mean`.
    """

    sigma_min: float
    sigma_max: float

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor: ...


def is_posterior_mean(denoiser: object) -> bool:
    """Whether D is the posterior mean under independent noise, as all are that do not say ``posterior_mean = False``.

    Of one that is not only the flow dx / d sigma = (x - D) / sigma from the prior is valid: no noise on the way, no
    start at a level that was reached otherwise, no sum of scores (guidance).
    """
    return bool(getattr(denoiser, "posterior_mean", True))


OfBatch = Callable[[Tensor, Tensor], Tensor]  # D(x, sigma) of one batch, its labels already given
Noise = Callable[[int], Tensor]  # step i of a sampler -> N(0, 1) noise, (B, *S)
Callback = Callable[[int, Tensor, Tensor], object]  # told i, x_i and D_i before each step
RawNetwork = Callable[..., Tensor]  # F: x (B, *S), condition (B,), of one with classes labels= (B,) -> (B, *S)
