"""A fit by several processes of `torch.distributed`: each counts a share of the draws, and all get the counts of all.

Every process draws all noise, piece by piece from one stream (see `noise`), and scores each W-th piece of it: a row
costs d numbers to draw and 2 d N operations to score. Counts are whole numbers, whose sum knows no order. What has an
order, counts of bundles and races, is written to its place among zeros and summed byte by byte, of which all but one
are 0. So every process has the bits of one alone, and all take the same step, each by itself.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.distributed
from torch import Tensor

from dpmot.runtime.together import Collective
from dpmot.transport.noise import Rows

if TYPE_CHECKING:  # there are builds of torch without
    from torch.distributed import ProcessGroup


class Size(NamedTuple):
    """Of a piece of noise."""

    rows: int
    bundles: int


class Processes:
    """The processes that solve one problem together; every one of them makes the same calls with the same arguments.

    Give each the same kind of processor or GPU and the same number of threads: else sums of floats may differ, which
    ends the fit. The methods are for the solver.

    Args:
        group: of `torch.distributed`; None is all processes. Its backend must know the device of the atoms: gloo the
            CPU, nccl GPUs, one a process. Its timeout is how long a process that does nothing is waited for.

    Attributes:
        rank: which of them this one is, from 0 on.
        number: how many there are, W.

    Raises:
        ValueError: there is no group, or this process is not in it.
    """

    def __init__(self, group: "ProcessGroup | None" = None) -> None:
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            raise ValueError("There is no group of processes; call torch.distributed.init_process_group first")
        self.all = Collective(group)
        self.rank, self.number = torch.distributed.get_rank(group), torch.distributed.get_world_size(group)
        if self.rank < 0:
            raise ValueError("This process is not in the group of the fit; solve in those that are")

    def agree(self, values: Sequence[Tensor], *others: object) -> None:
        """Check that all processes are about to count the same.

        Args:
            values: tensors, equal to the bit.
            others: what prints the same.

        Raises:
            RuntimeError: they are not, or a process was lost.
            ValueError: the group's backend does not know the device of the tensors.
        """
        kind, known = values[0].device.type, torch.distributed.get_backend_config(self.all.group)
        if kind not in [one.partition(":")[0] for one in known.split(",")]:
            raise ValueError(
                f"The atoms are on {kind}, and the group of the fit speaks between {known} only; "
                "give init_process_group gloo for atoms on the cpu, nccl for those on CUDA devices"
            )
        with self._speaking():
            same = self.all.agree(values, *others)
        if not same:
            raise RuntimeError(
                "The processes of the fit would count different draws, or under different heights; "
                "give all the same atoms, options, seed and state, on one kind of processor, with as many threads"
            )

    def share(self, pieces: Iterable[Rows], sizes: list[Size]) -> Iterator[Rows]:
        """The pieces of this process, every W-th; the sizes of all are noted."""
        for k, piece in enumerate(pieces):
            sizes.append(Size(len(piece), piece.bundles))
            if k % self.number == self.rank:
                yield piece

    def total(self, counts: Tensor) -> Tensor:
        """The sum over all processes: whole numbers, so in any order."""
        with self._speaking():
            return self.all.sum(counts.clone())

    def in_order(self, own: Tensor, sizes: Sequence[int]) -> Tensor:
        """What is known of all pieces, in their order, to the bit.

        Args:
            own: of the pieces of this process, one behind the other, (n, ...).
            sizes: of all pieces, in entries of the first axis.
        """
        every = slice(self.rank, None, self.number)
        whole = own.new_zeros(sum(sizes), *own.shape[1:])
        for place, part in zip(whole.split(list(sizes))[every], own.split(list(sizes[every])), strict=True):
            place.copy_(part)
        with self._speaking():
            self.all.sum(whole.flatten().view(torch.uint8))
        return whole

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise RuntimeError(
                f"Process {self.rank + 1} of {self.number} waits for one that is gone or stands still; look for its "
                f"own error, and start all of them again, with resume= where they stopped: {error}"
            ) from error
