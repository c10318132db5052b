r"""Classifier-free guidance (Ho & Salimans 2022), with w as diffusers counts it:

    D_w(x, sigma, label) = D(x, sigma, none) + w (D(x, sigma, label) - D(x, sigma, none)).

At one x, D is affine in what the network predicts, so noise, v, velocity or x0 guided by w is the same. w = 1 is
D(x, sigma, label) and w = 0 is D(x, sigma, none): each one evaluation of the network; any other w costs two, which are
counted (:func:`dpmot.diffusion.budget.cost_of`). It needs a network that was trained without labels too, on a share of
the images (``training: {label_dropout: 0.1}``), and so has a label of no class.
"""

from typing import Any

import torch
from torch import Tensor

from dpmot.diffusion.budget import cost_of
from dpmot.diffusion.protocols import Denoiser, is_posterior_mean


class Guided:
    """D_w of a denoiser D(x, sigma, labels).

    Args:
        denoiser: D, which knows the label ``none``.
        w: guidance, at least 0.
        none: the label of no class.

    Attributes:
        evaluations_each: of the network, for one of this denoiser.
    """

    def __init__(self, denoiser: Denoiser, w: float, none: int) -> None:
        self.denoiser, self.w, self.none, self.evaluations_each = denoiser, w, none, cost_of(w)
        self.sigma_min, self.sigma_max = denoiser.sigma_min, denoiser.sigma_max
        self.posterior_mean = is_posterior_mean(denoiser)

    @property
    def parametrisation(self) -> Any:
        """That of the network, with its noise levels."""
        return getattr(self.denoiser, "parametrisation", None)

    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor) -> Tensor:
        """D_w(x, sigma, label): x (B, *S), sigma () or (B,), labels (B,) -> (B, *S)."""
        ask: Any = self.denoiser
        if self.w == 1:
            return ask(x, sigma, labels)
        without = ask(x, sigma, torch.full_like(labels, self.none))
        return without if self.w == 0 else without + self.w * (ask(x, sigma, labels) - without)


def guided(denoiser: Denoiser, w: float | None, none: int | None) -> Denoiser:
    """The denoiser guided by w; itself for None and 1.

    Raises:
        ValueError: w is no number of at least 0, or the network knows no label of no class.
    """
    if w is None or w == 1:
        return denoiser
    if not 0 <= w < float("inf"):
        raise ValueError(f"guidance is {w}; give a number of at least 0 (1: none, 0: without the label)")
    if none is None:
        told = "train it with training: {label_dropout: 0.1}, or load one that was trained so"
        raise ValueError(f"guidance {w:g} needs a network with classes that has a label of no class: {told}")
    return Guided(denoiser, w, none)  # type: ignore[return-value]  # labels are given to it by the batch
