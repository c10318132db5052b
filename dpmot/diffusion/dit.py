"""A transformer on patches with adaptive layer norms that begin as the identity (DiT, Peebles & Xie 2023, adaLN-Zero).

Parameters, for images of C channels: width 64, depth 4, classes 10: 0.4 million; DiT-S/2: width 384, depth 12, heads 6:
33 million. A position is a square of ``patch`` pixels a side, and costs grow with the square of their number.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dpmot.diffusion.unet import check_inputs


def _zero(layer: nn.Linear) -> nn.Linear:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def _modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale[:, None]) + shift[:, None]


class Block(nn.Module):
    """Self-attention and a perceptron, each normed, scaled, shifted and gated by the embedding."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width))
        self.adapt = _zero(nn.Linear(width, 6 * width))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """x (B, P, width), embedding (B, width) -> (B, P, width)."""
        shift, scale, gate, *rest = self.adapt(embedding).chunk(6, dim=1)
        qkv = self.qkv(_modulated(x, shift, scale)).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, P, width / heads)
        x = x + gate[:, None] * self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        shift, scale, gate = rest
        return x + gate[:, None] * self.perceptron(_modulated(x, shift, scale))


class DiT(nn.Module):
    """F(x, c): the raw network that a parametrisation wraps.

    Args:
        channels: C of the images.
        patch: side of the squares of pixels that are one position.
        width: numbers a position.
        depth: blocks.
        heads: of attention; they divide the width.
        classes: K of a network that is given labels; 0 for none. It has one label more, K, that of no class.
    """

    frequencies: Tensor

    def __init__(
        self,
        channels: int,
        *,
        patch: int = 2,
        width: int = 64,
        depth: int = 4,
        heads: int = 4,
        classes: int = 0,
    ) -> None:
        super().__init__()
        self.channels, self.patch, self.width, self.classes = channels, patch, width, classes
        self.register_buffer("frequencies", torch.logspace(0, math.log10(256.0), 16), persistent=False)
        self.embed = nn.Sequential(nn.Linear(32, width), nn.SiLU(), nn.Linear(width, width))
        if classes:
            self.label = nn.Embedding(classes + 1, width)
            nn.init.normal_(self.label.weight, std=0.02)
        self.inlet = nn.Linear(channels * patch**2, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.adapt, self.outlet = _zero(nn.Linear(width, 2 * width)), _zero(nn.Linear(width, channels * patch**2))

    def forward(self, x: Tensor, condition: Tensor, labels: Tensor | None = None) -> Tensor:
        """x (B, C, H, W), condition (B,), the noise level on a scale of order 1, labels (B,) -> (B, C, H, W).

        Raises:
            ValueError: another number of channels, sides that are no multiples of the patch, or labels missing or not
                wanted.
        """
        check_inputs(x, labels, channels=self.channels, classes=self.classes)
        if x.shape[2] % self.patch or x.shape[3] % self.patch:
            raise ValueError(f"Patches of {self.patch} pixels do not fill images of {x.shape[2]}x{x.shape[3]}")
        angles = condition[:, None] * self.frequencies
        embedding = self.embed(torch.cat([angles.sin(), angles.cos()], dim=1))
        embedding = F.silu(embedding if labels is None else embedding + self.label(labels))
        patches = F.pixel_unshuffle(x, self.patch)  # (B, C patch^2, H / patch, W / patch)
        h = self.inlet(patches.flatten(2).transpose(1, 2))
        h = h + _positions(patches.shape[2], patches.shape[3], self.width).to(h)
        for block in self.blocks:
            h = block(h, embedding)
        h = self.outlet(_modulated(h, *self.adapt(embedding).chunk(2, dim=1)))
        return F.pixel_shuffle(h.transpose(1, 2).reshape(patches.shape), self.patch)


def _positions(height: int, width: int, numbers: int) -> Tensor:
    """Sines and cosines of row and column, (height width, numbers); numbers is a multiple of 4."""
    rates = 10000.0 ** -(torch.arange(numbers // 4) / (numbers // 4))
    rows, columns = torch.arange(height)[:, None] * rates, torch.arange(width)[:, None] * rates
    of_row = torch.cat([rows.sin(), rows.cos()], 1)[:, None].expand(height, width, -1)
    of_column = torch.cat([columns.sin(), columns.cos()], 1)[None].expand(height, width, -1)
    return torch.cat([of_row, of_column], 2).flatten(0, 1)
