"""Rows of noise, and their products with all atoms at less than 2 d operations a score (multiply, add: 2).

plain       z ~ N(0, I) (or the centred uniform law), independent rows: 2 d operations.
mirrored    z and -z: the products of -z are those of z negated, so each serves twice. The source is symmetric.
recycled    Q Z with Z of BASE independent N(0, I) rows and Q orthogonal, independent of Z: given Q every row is exactly
            N(0, I), and products are Q (Z Y^T). R matrices Q serve one Z, all rows mirrored: d / R + BASE operations.
            Masses stay unbiased; rows of one Z, a bundle, depend on each other a little. POOL bundles share one product
            with the atoms; for a fit in bfloat16 where the processor has it and no atoms are near duplicates: rounding
            moves a score by .001 of its deviation, while the leads of winners are some .2 of it.
structured  D = m^2 >= d rows at once, r_k e_k^T V_3 V_2 V_1 with V = (signs, m random orthogonal m x m blocks,
            transpose) and r_k ~ chi_D, mirrored: 3 m operations. The directions are not exactly
            uniform: a bias that falls with d (chi2 .0013 at d = 64).

Only a rotation-invariant source can be recycled or structured. Where a row serves many atoms, heights are one more
coordinate in the last product: to add them to scores would take longer.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dpmot import device
from dpmot.transport.measures import NORMAL, Measure
from dpmot.transport.workers import Scratch

KINDS = ("plain", "mirrored", "recycled", "structured")
BASE, POOL = 32, 8  # recycled: rows of Z, bundles a product
AT_ONCE = 64  # rows of Q: POOL times so many rows of products stay in the cache of a processor until they are counted
FEW, MOST = 6, 32  # turns of a bundle that cost little, and the most
SOON = 50_000  # one turn for so many N sqrt(d) up to FEW,
A_TURN = 100_000  # and for so many from there on: masses vary more with each
RECYCLE_FROM = 256  # dimensions from which recycling is faster than mirrored rows at equal variance
LAYERS = 3
WHOLE = 16  # on a processor torch makes normal numbers out of so many at once: rows are drawn by this many


@dataclass(frozen=True, eq=False)
class Plain:
    """z (R, d); see `Rows`."""

    z: Tensor

    @property
    def bundles(self) -> int:
        return len(self.z)

    @property
    def nbytes(self) -> int:
        return self.z.nbytes

    def __len__(self) -> int:
        return len(self.z)

    def scores(self, y: Tensor, h: Tensor, scratch: Scratch) -> Iterator[Tensor]:
        number, wide = len(self.z), y.shape[1] + 1
        if y.dtype == torch.float64:
            yield torch.addmm(h, self.z.double(), y.T)
            return
        if 2 * wide > number:  # to copy the atoms would take longer than to add the heights
            yield self.factors(y, scratch)[1].add_(h)
            return
        atoms = torch.cat([y, h[:, None]], 1, out=scratch("atoms", len(y), wide))
        rows = torch.cat([self.z, torch.ones_like(self.z[:, :1])], 1, out=scratch("rows", number, wide))
        yield torch.mm(rows, atoms.T, out=scratch("scores", number, len(y)))

    def factors(self, y: Tensor, scratch: Scratch) -> tuple[None, Tensor]:
        return None, torch.mm(self.z, y.T, out=scratch("scores", len(self.z), len(y)))


@dataclass(frozen=True, eq=False)
class Recycled:
    """mixing (R, BASE) times each of the bundles of z (BASE, G, d); the rows of `mixing` have norm 1."""

    z: Tensor
    mixing: Tensor

    @property
    def bundles(self) -> int:
        return self.z.shape[1]

    @property
    def nbytes(self) -> int:
        return self.z.nbytes

    def __len__(self) -> int:
        return len(self.mixing) * self.bundles

    def scores(self, y: Tensor, h: Tensor, scratch: Scratch) -> Iterator[Tensor]:
        base = self._base(y, scratch)
        base[BASE] = h
        base = base.flatten(1)
        for part in torch.nn.functional.pad(self.mixing, (0, 1), value=1.0).split(AT_ONCE):
            out = scratch("scores", len(part), base.shape[1])
            # On processors without bfloat16 numpy's BLAS was twice as fast as torch's where the inner dimension is so
            # small; on one with it torch's is 1.3 times as fast (measured on two cores of each).
            if out.device.type == "cpu" and not device.cpu_multiplies_bfloat16():
                np.matmul(part.numpy(), base.numpy(), out=out.numpy())
            else:
                torch.mm(part, base, out=out)
            yield out.view(-1, len(y))

    def factors(self, y: Tensor, scratch: Scratch) -> tuple[Tensor, Tensor]:
        return self.mixing, self._base(y, scratch)[:BASE]

    def _base(self, y: Tensor, scratch: Scratch) -> Tensor:
        """Z Y^T (BASE, G, n), and room for one more row of heights."""
        base = scratch("base", BASE + 1, self.bundles, len(y))
        base[:BASE] = (self.z.flatten(0, 1).to(y.dtype) @ y.T).view(BASE, self.bundles, len(y))
        return base


@dataclass(frozen=True, eq=False)
class Structured:
    """signs (LAYERS, m, m), rotations (LAYERS, m, m, m), radii (m^2,)."""

    signs: Tensor
    rotations: Tensor
    radii: Tensor
    bundles: int = 1

    @property
    def nbytes(self) -> int:
        return self.rotations.nbytes

    def __len__(self) -> int:
        return len(self.radii)

    def scores(self, y: Tensor, h: Tensor, scratch: Scratch) -> Iterator[Tensor]:
        yield self.factors(y, scratch)[1].add_(h)

    def factors(self, y: Tensor, scratch: Scratch) -> tuple[None, Tensor]:
        side = self.signs.shape[-1]
        x = torch.nn.functional.pad(y, (0, side * side - y.shape[1])).view(-1, side, side)
        for signs, rotations in zip(self.signs, self.rotations, strict=True):
            x = torch.bmm((x * signs).transpose(0, 1), rotations).permute(1, 2, 0)  # (m, n, m) -> (n, m, m) transposed
        return None, x.reshape(len(y), -1).T * self.radii[:, None]


# A few rows of noise z_1, ..., z_R, `len` of them in G `bundles`: rows r and s depend on each other iff r = s (mod G).
# `scores` are <z_r, y_i> + h_i of atoms (n, d) and heights (n,), float32 (R, n), a few rows at a time in a scratch;
# `factors` are the <z_r, y_i> before the last product, Q (M, BASE) and S (BASE, G, n), or None and the products.
Rows = Plain | Recycled | Structured


def kind_for(kind: str, measure: Measure, dim: int) -> str:
    """The kind itself, or for "auto" the fastest unbiased one; a ValueError if the source measure does not allow it."""
    if kind == "auto":
        return "recycled" if measure is NORMAL and dim >= RECYCLE_FROM else "mirrored"
    if kind not in KINDS:
        raise ValueError(f'Noise "{kind}" is unknown; choose "auto", {", ".join(map(repr, KINDS))}')
    if kind in ("recycled", "structured") and measure is not NORMAL:
        raise ValueError(f'Noise "{kind}" needs the normal source measure; else choose "auto", "plain" or "mirrored"')
    return kind


def turns(number: int, dim: int) -> int:
    """How often Z is turned, R, for so many atoms: the more dimensions, the more a turn saves."""
    saved = number * math.sqrt(dim)
    return min(MOST, max(1, min(FEW, round(saved / SOON)), round(saved / A_TURN)))


def bundle_size(kind: str, dim: int, number: int, most: int = MOST) -> int:
    """Draws of one bundle for N = number atoms: the rows that depend on each other, and their mirror images."""
    side, turned = math.isqrt(dim - 1) + 1, min(most, turns(number, dim))
    return {"plain": 1, "mirrored": 2, "recycled": 2 * BASE * turned, "structured": 2 * side * side}[kind]


def draw(
    kind: str,
    measure: Measure,
    shape: tuple[int, int],
    rows: int,
    generator: np.random.Generator,
    *,
    tile: int,
    device: torch.device,
    most: int = MOST,
) -> Iterator[Rows]:
    """At least `rows` rows for atoms of that shape (N, d); "recycled" and "structured" come in whole bundles.

    A recycled Z is turned as often as suits the shape, and at most `most` times.

    The device draws them by a generator of its own that the stream seeds: torch's is four times as fast as numpy's. (On
    a processor it takes 32 bits of the seed, so two looks in 2^32 would be the same, and no normal number lies beyond
    5.8.) A processor's draws do not depend on `tile`; a GPU's are others, of the same law.
    """
    number, dim = shape
    own = torch.Generator(device).manual_seed(int(generator.integers(1 << 63)))

    def drawn(rows: int, dim: int) -> Tensor:
        return measure.draw((-(-rows // WHOLE) * WHOLE, dim), own)[:rows]

    def rotations(number: int, side: int) -> Tensor:
        """Random orthogonal matrices (number, side, side), Haar up to signs."""
        gaussian = torch.randn(number, side, side, dtype=torch.float64, generator=own, device=device)
        return torch.linalg.qr(gaussian)[0].float()

    if kind in ("plain", "mirrored"):
        tile = -(-tile // WHOLE) * WHOLE
        for start in range(0, rows, tile):
            yield Plain(drawn(min(tile, rows - start), dim))
    elif kind == "recycled":
        mixing = rotations(min(most, turns(number, dim)), BASE).reshape(-1, BASE)
        left = -(-rows // len(mixing))
        while left > 0:
            yield Recycled(drawn(BASE * min(POOL, left), dim).view(BASE, -1, dim), mixing)
            left -= POOL
    else:
        side = math.isqrt(dim - 1) + 1
        for _ in range(0, rows, side * side):
            signs = generator.integers(0, 2, (LAYERS, side, side)).astype(np.float32) * 2 - 1
            layers = rotations(LAYERS * side, side).view(LAYERS, side, side, side)
            radii = np.sqrt(generator.chisquare(side * side, side * side)).astype(np.float32)
            yield Structured(torch.from_numpy(signs).to(device), layers, torch.from_numpy(radii).to(device))
