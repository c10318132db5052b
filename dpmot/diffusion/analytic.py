r"""Denoisers of a data set in closed form, between its posterior mean and a network: the Wiener filter, the local one.

The ideal denoiser (:class:`dpmot.diffusion.denoiser.IdealDenoiser`) remembers every image. Told less of the images, a
denoiser cannot: of their mean and covariance alone it is the Wiener filter; of their patches at each place alone it
puts together images that never were (Kamb & Ganguli 2024; Niedoba et al. 2024).
"""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from dpmot.device import ordinary
from dpmot.diffusion.audit import evaluated
from dpmot.diffusion.denoiser import per_sample

AT_ONCE = 2**23  # squared differences, of all pairs of a block


class WienerDenoiser:
    """Posterior mean of N(m, C), m and C the mean and covariance of points: m + C (C + sigma^2 I)^-1 (x - m).

    Args:
        points: (N, *S).
    """

    sigma_min, sigma_max = 0.002, 80.0

    def __init__(self, points: Tensor) -> None:
        flat = points.flatten(1).double()
        self.mean = flat.mean(0)
        centred = flat - self.mean
        variances, self.axes = torch.linalg.eigh(centred.T @ centred / len(flat))
        self.variances = variances.clamp_min(0)

    @ordinary()
    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """x (B, *S), sigma () or (B,) -> (B, *S)."""
        evaluated(self, len(x))
        variance = per_sample(sigma, x).double().square()[:, None]
        along = (x.flatten(1).double() - self.mean) @ self.axes
        found = (along * self.variances / (self.variances + variance)) @ self.axes.T + self.mean
        return found.to(x.dtype).reshape(x.shape)


class LocalDenoiser:
    """Posterior mean of each pixel given the noisy patch around it, among the data's patches at the same place.

    D(x, sigma)_p = sum_i softmax_i(-|x_P - y_i,P|^2 / 2 sigma^2) y_i,p, with P the square of ``patch`` pixels a side
    around p, all channels, cut at the border. One that covers the image is the ideal denoiser.

    Args:
        points: images y_i, (N, C, H, W).
        patch: odd.
    """

    sigma_min, sigma_max = 0.002, 80.0

    def __init__(self, points: Tensor, patch: int) -> None:
        if points.dim() != 4:
            raise ValueError(f"The local denoiser is of images (N, C, H, W), got points {tuple(points.shape)}")
        self.points, self.patch = points, patch

    @ordinary()
    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """x (B, C, H, W), sigma () or (B,) -> (B, C, H, W)."""
        evaluated(self, len(x))
        exact, variance = x.double(), per_sample(sigma, x).double().square()[:, None, None, None]
        top = exact.new_full((len(x), 1, *x.shape[2:]), -torch.inf)  # of the logarithms of weights so far
        total, mean = torch.zeros_like(top), torch.zeros_like(exact)
        for block in self.points.split(max(1, AT_ONCE // exact.numel())):
            y = block.double()
            log = -self._squared(exact, y) / (2 * variance)  # (B, n, H, W)
            new = torch.maximum(top, log.amax(1, keepdim=True))
            weights, fades = (log - new).exp(), (top - new).exp()
            mean = mean * fades + torch.einsum("bnhw,nchw->bchw", weights, y)
            total, top = total * fades + weights.sum(1, keepdim=True), new
        return (mean / total).to(x.dtype)

    def _squared(self, x: Tensor, y: Tensor) -> Tensor:
        """Squared distances of all patches, (B, n, H, W)."""
        apart = (x[:, None] - y).square().sum(2)
        side = min(self.patch, 2 * max(x.shape[2:]) - 1)
        return avg_pool2d(apart, side, stride=1, padding=side // 2) * side**2
