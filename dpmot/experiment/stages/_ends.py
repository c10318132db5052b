"""Where samplers end. Samples of one start are one sample, where no noise is drawn on the way: each is drawn once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice

import torch
from torch import Tensor

MOVED = "trajectory_variance"  # in a file of samples


@dataclass(frozen=True, eq=False)
class Ends:
    """Samples and what they cost.

    Attributes:
        x: (B, *S).
        nfe: network evaluations of each.
        variance: of D along the way, float32 (B,), NaN where it is not known (:mod:`dpmot.diffusion.trajectory`).
    """

    x: Tensor
    nfe: int
    variance: Tensor

    @classmethod
    def unmoved(cls, x: Tensor) -> "Ends":
        """Points that no sampler moves."""
        return cls(x, 0, torch.full((len(x),), torch.nan))

    @classmethod
    def joined(cls, parts: "Sequence[Ends]") -> "Ends":
        """One after the other, at the cost of the dearest."""
        x, variance = (torch.cat([getattr(part, name) for part in parts]) for name in ("x", "variance"))
        return cls(x, max(part.nfe for part in parts), variance)

    def one(self, k: int) -> "Ends":
        """Sample k alone."""
        return Ends(self.x[k : k + 1], self.nfe, self.variance[k : k + 1])


def each_once(
    sampled: Callable[[list[int]], Ends], keys: Sequence[bytes], known: dict[bytes, Ends], *, most: int
) -> Ends:
    """The sample of every key, those of one key drawn once.

    Args:
        sampled: draws these rows.
        keys: of the rows, see :func:`key`.
        known: samples drawn before, each alone; those drawn now are put there.
        most: how many it may hold.
    """
    first: dict[bytes, int] = {}
    for k, one in enumerate(keys):
        first.setdefault(one, k)
    new = [k for one, k in first.items() if one not in known]
    drawn = sampled(new) if new else None
    fresh = {keys[k]: drawn.one(j) for j, k in enumerate(new)} if drawn else {}
    found = known | fresh
    known.update(islice(fresh.items(), max(0, most - len(known))))
    return Ends.joined([found[one] for one in keys])


def key(*parts: Tensor) -> bytes:
    """Of what a sample without noise depends on."""
    return blake2b(b"".join(part.numpy().tobytes() for part in parts), digest_size=16).digest()
