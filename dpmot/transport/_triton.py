"""Score, maximum and argmax in one kernel on a GPU: leader_r = argmax_i h_i +- s_ri, the scores never in memory.

With recycled noise the scores s = Q S of a turned bundle cost 2 BASE operations each, less than writing one down: the
kernel multiplies, adds the heights, and keeps the best of z and of its mirror image -z. Other noise has its product
from cuBLAS, where the many operations of a score hide its way through memory; the kernel reads it once for both signs.
Atoms are divided among several programs, whose winners meet at the end; ties go to the lowest index.

Needs triton, which torch for CUDA brings along. Without it, and on a processor, :mod:`dpmot.transport.race` does the
same by blocked torch products: the same cells, but for draws that round across a wall.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

ROWS, READ, ATOMS = 64, 16, 128  # rows of one tile that is multiplied, or only read, and its atoms
PROGRAMS = 1024  # asked for at least: several for each multiprocessor


@triton.jit
def _keep(scores, start, best, at):
    """The best scores so far (ROWS,) and their atoms, after one more tile (ROWS, ATOMS)."""
    value, place = tl.max(scores, axis=1, return_indices=True, return_indices_tie_break_left=True)
    better = value > best
    return tl.where(better, value, best), tl.where(better, start + place, at)


@triton.jit
def _lead(
    mixing, factor, heights, values, cells,
    rows, number, share,
    row_stride, bundle_stride, atom_stride,
    BASE: tl.constexpr, MIRROR: tl.constexpr, PRECISION: tl.constexpr, ROWS: tl.constexpr, ATOMS: tl.constexpr,
):  # fmt: skip
    """Leaders of ROWS rows of one bundle among `share` atoms.

    mixing (rows, BASE) and factor (BASE, bundles, number), or BASE = 0 and factor the scores (rows, bundles, number);
    values, cells (splits, signs, rows, bundles).
    """
    bundle, bundles, split = tl.program_id(1), tl.num_programs(1), tl.program_id(2)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    inside = row < rows
    best, least = tl.full((ROWS,), -float("inf"), tl.float32), tl.full((ROWS,), -float("inf"), tl.float32)
    best_at, least_at = tl.zeros((ROWS,), tl.int32), tl.zeros((ROWS,), tl.int32)
    factor += bundle.to(tl.int64) * bundle_stride
    if BASE > 0:
        inner = tl.arange(0, BASE)
        left = tl.load(mixing + row[:, None] * BASE + inner[None, :], mask=inside[:, None], other=0.0)
    for start in range(split * share, min((split + 1) * share, number), ATOMS):
        atom = start + tl.arange(0, ATOMS)
        there = atom < min((split + 1) * share, number)
        h = tl.load(heights + atom, mask=there, other=-float("inf"))
        column = factor + atom[None, :].to(tl.int64) * atom_stride
        if BASE > 0:
            right = tl.load(column + inner[:, None].to(tl.int64) * row_stride, mask=there[None, :], other=0.0)
            scores = tl.dot(left, right, input_precision=PRECISION)
        else:
            mask = inside[:, None] & there[None, :]
            scores = tl.load(column + row[:, None].to(tl.int64) * row_stride, mask=mask, other=0.0).to(tl.float32)
        best, best_at = _keep(h[None, :] + scores, start, best, best_at)
        if MIRROR:
            least, least_at = _keep(h[None, :] - scores, start, least, least_at)
    out = (split * (1 + MIRROR)).to(tl.int64) * rows * bundles + row * bundles + bundle
    tl.store(values + out, best, mask=inside)
    tl.store(cells + out, best_at, mask=inside)
    if MIRROR:
        out += rows * bundles
        tl.store(values + out, least, mask=inside)
        tl.store(cells + out, least_at, mask=inside)


def leaders(
    mixing: Tensor | None, factor: Tensor, heights: Tensor, *, mirror: bool, exact: bool
) -> list[tuple[Tensor, Tensor]]:
    """Best score and its atom for every row of noise, and for its mirror image.

    Args:
        mixing: Q (M, BASE), BASE a power of two of at least 16, or None.
        factor: S, float32 (BASE, G, n), the scores being Q S; or, without Q, the scores (R, n).
        heights: float32 (n,).
        mirror: also for -z.
        exact: multiply in float32; else in TF32.

    Returns:
        For z, and for -z if asked: values float32 (R,) and indices int64 (R,); R = M G, r G + g is row r of bundle g.
    """
    factor = factor if mixing is not None else factor[:, None]
    rows, bundles, number = len(factor if mixing is None else mixing), factor.shape[1], factor.shape[2]
    height = READ if mixing is None else ROWS
    tiles = triton.cdiv(rows, height)
    splits = min(triton.cdiv(PROGRAMS, tiles * bundles), triton.cdiv(number, ATOMS))
    share = triton.cdiv(triton.cdiv(number, splits), ATOMS) * ATOMS
    splits, signs = triton.cdiv(number, share), 1 + mirror
    values = torch.empty(splits, signs, rows * bundles, device=factor.device)
    cells = torch.empty(splits, signs, rows * bundles, dtype=torch.int32, device=factor.device)
    _lead[(tiles, bundles, splits)](
        factor if mixing is None else mixing.contiguous(), factor, heights.contiguous(), values, cells,
        rows, number, share, *factor.stride(),
        BASE=0 if mixing is None else mixing.shape[1], MIRROR=mirror, PRECISION="ieee" if exact else "tf32",
        ROWS=height, ATOMS=ATOMS,
    )  # fmt: skip
    value, split = values.max(0)  # the first of equal ones
    return list(zip(value, cells.gather(0, split[None])[0].long(), strict=True))
