"""A small U-Net with noise-level conditioning (Ho et al. 2020; Dhariwal & Nichol 2021, scale-shift norm).

Sizes run from about 100k parameters (8x8) upwards: width, multipliers, blocks and attention are options.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(8, channels), channels)


class Block(nn.Module):
    """Residual block whose second norm is scaled and shifted by the noise-level embedding."""

    def __init__(self, inputs: int, outputs: int, embedding: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = _norm(inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.affine = nn.Linear(embedding, 2 * outputs)
        self.norm2, self.conv2 = _norm(outputs), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """x (B, inputs, H, W), embedding (B, E) -> (B, outputs, H, W)."""
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.affine(embedding)[..., None, None].chunk(2, dim=1)
        return self.skip(x) + self.conv2(F.silu(self.norm2(h) * (1 + scale) + shift))


class Attention(nn.Module):
    """Single-head self-attention over pixels, residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.qkv = _norm(channels), nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C, H, W)."""
        q, k, v = self.qkv(self.norm(x)).flatten(2).transpose(1, 2).chunk(3, dim=-1)
        h = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(h.transpose(1, 2).reshape(x.shape))


class UNet(nn.Module):
    """F(x, c): the raw network that a parametrisation wraps.

    Args:
        image_channels: C of the images.
        channels: width at full resolution.
        multipliers: width factors, one per resolution, each half the one before.
        blocks: residual blocks per resolution, on the way down and again on the way up.
        embedding: width of the noise-level embedding; it buys capacity at no cost per pixel.
        attention: self-attention at the coarsest resolution.
    """

    def __init__(
        self,
        image_channels: int,
        *,
        channels: int = 16,
        multipliers: tuple[int, ...] = (1, 2),
        blocks: int = 1,
        embedding: int = 128,
        attention: bool = True,
    ) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.logspace(0, math.log10(256.0), 16), persistent=False)
        self.embed = nn.Sequential(nn.Linear(32, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU())
        self.inlet = nn.Conv2d(image_channels, channels, 3, padding=1)
        widths, self.down, self.up = [], nn.ModuleList(), nn.ModuleList()
        width = channels
        for level, factor in enumerate(multipliers):
            if level:
                self.down.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
            for _ in range(blocks):
                self.down.append(Block(width, channels * factor, embedding))
                width = channels * factor
                widths.append(width)
        self.middle = Block(width, width, embedding)
        self.attention = Attention(width) if attention else nn.Identity()
        for level, factor in reversed(list(enumerate(multipliers))):
            for _ in range(blocks):
                self.up.append(Block(width + widths.pop(), channels * factor, embedding))
                width = channels * factor
            if level:
                self.up.append(nn.Upsample(scale_factor=2.0, mode="nearest"))
        self.outlet = nn.Sequential(_norm(width), nn.SiLU(), nn.Conv2d(width, image_channels, 3, padding=1))
        nn.init.zeros_(self.outlet[-1].weight)
        nn.init.zeros_(self.outlet[-1].bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x (B, C, H, W), condition (B,), the noise level on a scale of order 1 -> (B, C, H, W)."""
        angles = condition[:, None] * self.frequencies
        embedding = self.embed(torch.cat([angles.sin(), angles.cos()], dim=1))
        h, skips = self.inlet(x), []
        for layer in self.down:
            h = layer(h, embedding) if isinstance(layer, Block) else layer(h)
            if isinstance(layer, Block):
                skips.append(h)
        h = self.attention(self.middle(h, embedding))
        for layer in self.up:
            if isinstance(layer, Block):
                h = layer(torch.cat([h, skips.pop()], dim=1), embedding)
            else:
                h = layer(h)[..., : skips[-1].shape[2], : skips[-1].shape[3]]  # an odd size was rounded up
        return self.outlet(h)
