r"""How far the denoiser's answer still moves along a sampler's way: a score of mode interpolation without a classifier.

    V = 1/d sum_j 1/m sum_i (D_ij - mean_i D_ij)^2,     D_i = D(x_i, sigma_i) in R^d, i = 1..m

over the m evaluations of the second half of the sampler's n steps (of two steps at least): those at levels above 0 and
up to sigmas[min(n // 2, n - 2)]. A network that has settled on a mode keeps its answer; between modes it does not
(Aithal, Maini, Lipton and Kolter 2024, "Understanding Hallucinations in Diffusion Models through Mode Interpolation",
arXiv:2406.09358: "high variance in the trajectory of the generated sample towards the final few backward sampling
steps").

The normalisation is that of their published code (locuslab/diffusion-model-hallucination, train_toy_filter.py): the
variance of the predicted x0 divides by m, and not by m - 1, and the d coordinates are averaged. Which steps it is taken
over is chosen for each data set there, by default the last 10 of 1000. A budget of 5 to 50 evaluations has no such
steps: the second half is this project's choice, the same for all samplers. The units are those of images in [-1, 1],
squared.
"""

import numpy as np
import torch
from torch import Tensor

ROUNDING = 1e-9  # of a level


class Spread:
    """Watches the answers that a run of a sampler is given, and asks for none.

    Args:
        number: B, samples of the run.
        sigmas: its grid, (n + 1,), descending.
    """

    def __init__(self, number: int, sigmas: Tensor) -> None:
        steps = len(sigmas) - 1
        self.number, self.level = number, float(sigmas[max(0, min(steps // 2, steps - 2))]) * (1 + ROUNDING)
        self._count: Tensor | None = None  # (B, 1); the sums are (B, d)
        self._known = True

    def add(self, sigma: Tensor | float, answer: Tensor, *, span: bool = False) -> None:
        """One evaluation: D (B, *S) at sigma, (), (1,) or (B,).

        Of a span it is no estimate of x0, and several rows of a sample have no order on its way: then V is not known.
        """
        self._known = self._known and not span and len(answer) == self.number
        if not self._known:
            return
        levels = torch.as_tensor(sigma, dtype=answer.dtype, device=answer.device).expand(self.number)[:, None]
        within = ((levels > 0) & (levels <= self.level)).to(answer.dtype)
        if not within.any():
            return
        flat = answer.flatten(1)
        if self._count is None:
            self._count, self._mean, self._squares = (
                torch.zeros_like(within),
                torch.zeros_like(flat),
                torch.zeros_like(flat),
            )
        self._count += within
        moved = within * (flat - self._mean)  # Welford's sums: one pass, whatever the mean
        self._mean += moved / self._count.clamp(min=1)
        self._squares += moved * (flat - self._mean)

    def variance(self) -> Tensor:
        """V, float32 (B,) on the CPU: NaN of fewer than two evaluations that count, and where it is not known."""
        if self._count is None or not self._known:
            return torch.full((self.number,), torch.nan)
        each = (self._squares / self._count).cpu().numpy()
        mean = torch.from_numpy(np.mean(each, axis=1))  # numpy adds up a row in one order, however many there are
        return mean.where(self._count[:, 0].cpu() > 1, torch.nan).float()
