"""A U-Net with noise-level conditioning (Ho et al. 2020; Dhariwal & Nichol 2021, scale-shift norm).

Width, multipliers, blocks, attention, dropout and class labels are options; parameters, for images of C channels:

    8x8, C = 1     channels 16, multipliers (1, 2)                                                     0.14 million
    28x28, C = 1   channels 64, multipliers (1, 2, 2), blocks 2, attention (1,)                        5 million
    28x28, C = 1   patch 2, channels 48, multipliers (1, 2)                                            0.9 million
    32x32, C = 3   channels 128, multipliers (1, 2, 2, 2), blocks 2, attention (1,), embedding 512,
                   dropout 0.1: the width, depth and attention of Ho et al. 2020, appendix B           32 million
"""

import math
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(8, channels), channels)


def _zero(layer: nn.Conv2d) -> nn.Conv2d:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class Block(nn.Module):
    """Residual block whose second norm is scaled and shifted by the noise-level embedding; attention may follow."""

    def __init__(
        self, inputs: int, outputs: int, embedding: int, *, attention: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.norm1, self.conv1 = _norm(inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.affine = nn.Linear(embedding, 2 * outputs)
        self.norm2, self.conv2 = _norm(outputs), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        _zero(self.conv2)
        self.dropout = nn.Dropout(dropout)
        self.attention = Attention(outputs) if attention else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """x (B, inputs, H, W), embedding (B, E) -> (B, outputs, H, W)."""
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.affine(embedding)[..., None, None].chunk(2, dim=1)
        h = self.conv2(self.dropout(F.silu(self.norm2(h) * (1 + scale) + shift)))
        return self.attention(self.skip(x) + h)


class Attention(nn.Module):
    """Single-head self-attention over pixels, residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.qkv = _norm(channels), nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        _zero(self.out)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C, H, W)."""
        q, k, v = self.qkv(self.norm(x)).flatten(2).transpose(1, 2).chunk(3, dim=-1)
        h = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(h.transpose(1, 2).reshape(x.shape))


def check_inputs(x: Tensor, labels: Tensor | None, *, channels: int, classes: int) -> None:
    """Raise ValueError for inputs that a network of so many channels and classes does not take."""
    if x.dim() != 4 or x.shape[1] != channels:
        raise ValueError(f"The network takes images (B, {channels}, H, W), got {tuple(x.shape)}")
    if (labels is not None) != bool(classes):
        raise ValueError(f"The network knows {classes} classes, labels {'missing' if labels is None else 'given'}")


class UNet(nn.Module):
    """F(x, c): the raw network that a parametrisation wraps.

    Args:
        image_channels: C of the images.
        channels: width at full resolution.
        multipliers: width factors, one per resolution, each half the one before.
        blocks: residual blocks per resolution, on the way down and again on the way up.
        embedding: width of the noise-level embedding; it buys capacity at no cost per pixel.
        attention: self-attention at the coarsest resolution (True), nowhere (False), or there and after every block of
            these resolutions, 0 the finest.
        dropout: share of features dropped in training.
        classes: K of a network that is given labels; 0 for none.
        no_class: whether it has one label more, K, that of no class.
        patch: side of the squares of pixels that are one position inside, the image's sides are multiples of it: 2 is
            about four times as fast as 1 at the same width (patches as in simple diffusion, Hoogeboom et al. 2023).
        conditions: numbers that it is told of each image: a noise level, or two times (its kind says so).
    """

    frequencies: Tensor

    def __init__(
        self,
        image_channels: int,
        *,
        channels: int = 16,
        multipliers: tuple[int, ...] = (1, 2),
        blocks: int = 1,
        embedding: int = 128,
        attention: bool | Sequence[int] = True,
        dropout: float = 0.0,
        classes: int = 0,
        no_class: bool = False,
        patch: int = 1,
        conditions: int = 1,
    ) -> None:
        super().__init__()
        self.image_channels, self.classes, self.patch = image_channels, classes, patch
        self.conditions = conditions
        pixels = image_channels * patch**2
        attended = () if isinstance(attention, bool) else tuple(attention)
        block = partial(Block, dropout=dropout)
        self.register_buffer("frequencies", torch.logspace(0, math.log10(256.0), 16), persistent=False)
        told = nn.Linear(32 * conditions, embedding)
        self.embed = nn.Sequential(told, nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU())
        if classes:
            self.label = nn.Embedding(classes + no_class, embedding)
            nn.init.zeros_(self.label.weight)
        self.inlet = nn.Conv2d(pixels, channels, 3, padding=1)
        widths, self.down, self.up = [], nn.ModuleList(), nn.ModuleList()
        width = channels
        for level, factor in enumerate(multipliers):
            if level:
                self.down.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
            for _ in range(blocks):
                self.down.append(block(width, channels * factor, embedding, attention=level in attended))
                width = channels * factor
                widths.append(width)
        self.middle = block(width, width, embedding)
        self.attention = Attention(width) if attention is not False else nn.Identity()
        for level, factor in reversed(list(enumerate(multipliers))):
            for _ in range(blocks):
                up = block(width + widths.pop(), channels * factor, embedding, attention=level in attended)
                self.up.append(up)
                width = channels * factor
            if level:
                self.up.append(nn.Upsample(scale_factor=2.0, mode="nearest"))
        self.outlet = nn.Sequential(_norm(width), nn.SiLU(), _zero(nn.Conv2d(width, pixels, 3, padding=1)))

    def forward(self, x: Tensor, condition: Tensor, labels: Tensor | None = None) -> Tensor:
        """x (B, C, H, W), condition (B,), the noise level on a scale of order 1, labels (B,) -> (B, C, H, W).

        A network of c > 1 conditions takes them as (B, c).

        Raises:
            ValueError: another number of channels, sides that are no multiples of the patch, or labels missing or not
                wanted.
        """
        check_inputs(x, labels, channels=self.image_channels, classes=self.classes)
        if x.shape[2] % self.patch or x.shape[3] % self.patch:
            raise ValueError(f"Patches of {self.patch} pixels do not fill images of {x.shape[2]}x{x.shape[3]}")
        angles = (condition.reshape(-1, self.conditions, 1) * self.frequencies).flatten(1)
        embedding = self.embed(torch.cat([angles.sin(), angles.cos()], dim=1))
        if self.classes:
            embedding = embedding + self.label(labels)
        h, skips = self.inlet(F.pixel_unshuffle(x, self.patch)), []
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
        return F.pixel_shuffle(self.outlet(h), self.patch)
