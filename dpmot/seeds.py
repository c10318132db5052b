"""One random generator per *sample* and purpose.

Every random number comes from a Philox counter whose key is a hash of (seed, purpose, ...), or, in the transport's fit,
from a generator of torch's that such a stream seeds. So sample k is the same whatever its batch, its order, its worker
or the moment a run was resumed, and training needs no generator state in its checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from operator import index
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # data sets draw their splits without paying for torch
    from torch import Tensor

MAX_SAMPLES = 1 << 32
Fill = Callable[[np.random.Generator, np.ndarray], object]  # writes a row from a stream


def generator(*key: int | str) -> np.random.Generator:
    """The generator of one stream, e.g. ``generator(seed, "step", 3)``; Philox, 128-bit key.

    An integer is its value, whichever type holds it: 3, numpy's int64 3 and a tensor's 3 name one stream.
    """
    return np.random.Generator(np.random.Philox(key=int.from_bytes(_digest(*key), "little")))


def _digest(*key: int | str) -> bytes:
    plain = tuple(str(part) if isinstance(part, str) else index(part) for part in key)
    return blake2b(repr(plain).encode(), digest_size=16).digest()


def _generators(seeds: Sequence[int], *purpose: int | str) -> Iterator[np.random.Generator]:
    """The generators of (seed, *purpose) in turn: one object, set anew in a sixth of the time of making another."""
    stream = np.random.Philox(key=0)
    state, drawing = stream.state, np.random.Generator(stream)
    for seed in seeds:
        state["state"]["key"] = np.frombuffer(_digest(seed, *purpose), dtype="<u8")
        stream.state = state
        yield drawing


def sample_seeds(sample_seed: int, num_samples: int) -> list[int]:
    """One integer per sample: number k of run ``sample_seed`` is ``sample_seed * 2**32 + k``."""
    return [sample_seed * MAX_SAMPLES + k for k in range(num_samples)]


def normal(seeds: Sequence[int], shape: Sequence[int], *purpose: int | str) -> Tensor:
    """N(0, 1) noise, float32 (B, *shape): row k from the stream (seeds[k], *purpose)."""
    return _filled(seeds, shape, purpose, lambda stream, row: stream.standard_normal(dtype=np.float32, out=row))


def uniform(seeds: Sequence[int], shape: Sequence[int], *purpose: int | str) -> Tensor:
    """U[0, 1) noise, float32 (B, *shape): row k from the stream (seeds[k], *purpose)."""
    return _filled(seeds, shape, purpose, lambda stream, row: stream.random(dtype=np.float32, out=row))


def integers(seeds: Sequence[int], high: int, *purpose: int | str) -> Tensor:
    """Uniform integers in 0..high-1, int64 (B,): entry k from the stream (seeds[k], *purpose)."""
    import torch

    drawn = [stream.integers(high) for stream in _generators(seeds, *purpose)]
    return torch.from_numpy(np.array(drawn, dtype=np.int64))


def trajectory(seeds: Sequence[int], shape: Sequence[int], *, expected: int | None = None) -> Callable[[int], Tensor]:
    """The noise of a trajectory's steps: step -> N(0, 1) noise, float32 (B, *shape), the same in whichever order asked.

    Steps of small images are drawn several at a time, because a stream costs as much as a hundred numbers: step i of
    sample k is row i mod m of the stream (seeds[k], "steps", i div m), m = max(1, 1024 div (numbers in an image)).

    Args:
        expected: how many steps will be asked for; no more are drawn, and the numbers are the same without it.
    """
    together = max(1, 1024 // max(1, math.prod(shape)))

    @lru_cache(maxsize=1)
    def drawn(block: int, count: int) -> Tensor:
        return normal(seeds, (count, *shape), "steps", block)

    def noise(step: int) -> Tensor:
        block, row = divmod(step, together)
        left = together if expected is None else expected - block * together
        return drawn(block, min(together, max(left, row + 1)))[:, row]

    return noise


def _filled(seeds: Sequence[int], shape: Sequence[int], purpose: tuple[int | str, ...], fill: Fill) -> Tensor:
    import torch

    rows = np.empty((len(seeds), math.prod(shape)), dtype=np.float32)
    for row, stream in zip(rows, _generators(seeds, *purpose), strict=True):
        fill(stream, row)
    return torch.from_numpy(rows).reshape(len(seeds), *shape)
