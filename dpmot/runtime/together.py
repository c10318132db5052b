"""Several processes that do one job together: started here, on one machine, or by torchrun, on several.

Each has a rank, 0 to N - 1, and a session of its own; the first one's is that of the job, those of the others are
thrown away. One that ends badly ends all: whoever waits for the job sees one line and no hang.
"""

import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from hashlib import blake2b
from multiprocessing import connection, get_context, parent_process
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed
from tqdm import tqdm

from dpmot.runtime.gpus import TORCHRUN

if TYPE_CHECKING:  # there are builds of torch without
    from torch.distributed import ProcessGroup

GRACE = 10.0  # seconds that the first one has to write down a fault that another one has told already
LEFT = 3  # exit status of a process that ends because another one has


class Left(ConnectionError):
    """Another process of the job has ended, or no longer answers."""


@dataclass(frozen=True)
class Place:
    """One of the processes.

    Attributes:
        rank: 0 to ``size`` - 1; the first one reads and writes the job's files.
        size: how many there are.
        local: its number on this machine, and of its GPU there.
        meeting: where they find each other, as ``torch.distributed`` takes it.
    """

    rank: int
    size: int
    local: int
    meeting: str

    @property
    def first(self) -> bool:
        """Whether it is the one that reads and writes the job's files."""
        return self.rank == 0


@dataclass(frozen=True)
class Aside:
    """A folder of results for a process that is not the first, to be thrown away."""

    root: Path

    def resume(self, job: str) -> Path:
        """The folder of its resume point."""
        return self.root / job


def of_torchrun(processes: int) -> Place | None:
    """The place that torchrun gave this process; None where it was not started by it.

    Raises:
        ValueError: torchrun started more or fewer than ``processes``.
    """
    if TORCHRUN not in os.environ:
        return None
    rank, size, local = (int(os.environ[key]) for key in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    if size != processes:
        told = f"{processes} do this job, but torchrun started {size}"
        raise ValueError(
            f"processes: {told}; give processes={size} for a network that is trained, or leave torchrun out"
        )
    return Place(rank, size, local, "env://")


@contextmanager
def joined(place: Place, device: torch.device) -> Iterator[None]:
    """Inside, the processes of a job speak to each other: by nccl on CUDA devices, one each, else by gloo.

    Raises:
        ValueError: fewer CUDA devices than processes on this machine, or torch cannot do it.
        Left: another process has ended before it came.
    """
    if not distributed.is_available():
        raise ValueError("processes: this torch is built without torch.distributed; give processes=1")
    backend = "gloo"
    if device.type == "cuda":
        if place.local >= (seen := torch.cuda.device_count()):
            told = f"processes: each has a CUDA device of its own, and torch sees {seen} here"
            raise ValueError(f"{told}; give processes={seen}, or device=cpu")
        torch.cuda.set_device(place.local)
        backend = "cpu:gloo,cuda:nccl"
    with speaking():
        distributed.init_process_group(backend, init_method=place.meeting, rank=place.rank, world_size=place.size)
    yield
    distributed.destroy_process_group()  # not after an error: nccl would wait for those that are gone


@contextmanager
def speaking() -> Iterator[None]:
    """Around what processes say to each other.

    Raises:
        Left: another one does not answer.
        torch.OutOfMemoryError: as it is, for that is of this one.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].partition(". ")[0]
        raise Left(f"another process of this job has ended or does not answer: {reason}") from None


@dataclass(frozen=True)
class Collective:
    """What processes of ``torch.distributed`` find together; all make the same calls, with tensors of the same shapes.

    Attributes:
        group: theirs; None is all processes.
    """

    group: "ProcessGroup | None" = None

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all of them, in place."""
        distributed.all_reduce(values, distributed.ReduceOp.SUM, self.group)
        return values

    def largest(self, values: Tensor) -> Tensor:
        """The largest of each entry, in place."""
        distributed.all_reduce(values, distributed.ReduceOp.MAX, self.group)
        return values

    def agree(self, values: Sequence[Tensor], *others: object) -> bool:
        """Whether all hold the same: tensors, equal to the bit, and what prints the same."""
        told = blake2b(repr(others).encode(), digest_size=7)
        for one in values:
            told.update(one.detach().cpu().contiguous().numpy().tobytes())
        own = int.from_bytes(told.digest(), "little")
        return self.largest(torch.tensor([own, -own], device=values[0].device)).tolist() == [own, -own]


@contextmanager
def quiet(place: Place | None) -> Iterator[Aside | None]:
    """Inside, one that is not the first prints nothing and has a folder of its own; None for the first, or alone."""
    if place is None or place.first:
        yield None
        return
    folder = tempfile.TemporaryDirectory(prefix="dpmot-")
    with folder as root, open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        yield Aside(Path(root))


def launch(run: Callable[..., None], given: Sequence[Any], processes: int) -> None:
    """Call ``run(*given, place)`` in so many new processes of this machine, and wait for all.

    Args:
        run: of a module, so that they find it by name.

    Raises:
        ChildProcessError: one of them was killed, has refused, or has failed; the message is a line. All have ended.
    """
    context = get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="dpmot-") as folder:
        places = [Place(k, processes, k, f"file://{folder}/meeting") for k in range(processes)]
        pipes = [context.Pipe(duplex=False) for _ in places]
        started = [
            context.Process(target=_one, args=(run, given, place, pipe[1]), daemon=True)
            for place, pipe in zip(places, pipes, strict=True)
        ]
        ended: dict[int, int] = {}
        try:
            for process in started:
                process.start()
            for _, said in pipes:
                said.close()
            ended = _ended(started)
        finally:
            for process in started:
                if process.pid is not None:  # it was started
                    process.kill()
                    process.join()
        if told := _told(ended, [_line(heard) for heard, _ in pipes]):
            raise ChildProcessError(told)


def _ended(started: Sequence[SpawnProcess]) -> dict[int, int]:
    """Rank -> exit status, once all have ended, or one has ended badly and the others have had time to follow."""
    ranks, statuses, end = {process.sentinel: rank for rank, process in enumerate(started)}, dict[int, int](), None
    while ranks:
        ready = connection.wait([*ranks], timeout=None if end is None else max(0.0, end - time.monotonic()))
        if not ready:
            break
        for rank in sorted(ranks.pop(sentinel) for sentinel in ready if isinstance(sentinel, int)):
            started[rank].join()
            statuses[rank] = started[rank].exitcode or 0
            if statuses[rank] and end is None:
                told = rank == 0 or statuses[rank] < 0  # nothing that the others could add or write
                end = time.monotonic() + (0.0 if told else GRACE)
    return statuses


def _told(ended: Mapping[int, int], lines: Sequence[str]) -> str:
    """What has gone wrong, the cause before what came of it, in one line; "" where nothing has."""
    again = "the others were stopped; run the same command again: it goes on where it was"
    for rank, status in ended.items():
        if status < 0:
            name = signal.Signals(-status).name
            why = ", as where memory runs out" if name == "SIGKILL" else ""
            return f"process {rank + 1} of {len(lines)} was killed by {name}{why}; {again}"
    bad = sorted(rank for rank, status in ended.items() if status not in (0, LEFT))
    if bad and not lines[bad[0]]:
        return f"process {bad[0] + 1} of {len(lines)} failed, as its traceback above says; {again}"
    if line := next((lines[rank] for rank in [*bad, *ended] if lines[rank]), ""):
        return line
    return f"a process of this job has ended without a word; {again}" if any(ended.values()) else ""


def _line(heard: connection.Connection) -> str:
    """What a process has said at its end; "" where it said nothing."""
    try:
        return heard.recv() if heard.poll() else ""
    except EOFError:
        return ""


def _one(run: Callable[..., None], given: Sequence[Any], place: Place, said: connection.Connection) -> None:
    """What a new process does: it follows when the one that started it is killed, and says its error in one line."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started it, who ends all
    threading.Thread(target=_follow, daemon=True).start()
    tqdm.set_lock(threading.RLock())  # its own is a semaphore, of which Python would tell that it was left behind
    try:
        run(*given, place)
    except (ValueError, OSError, ArithmeticError, MemoryError) as error:
        said.send(" ".join(str(error).split()) or type(error).__name__)
        _end(LEFT if isinstance(error, Left) else 1)
    except BaseException:
        traceback.print_exc()
        _end(1)


def _follow() -> None:
    starter = parent_process()
    connection.wait([starter.sentinel] if starter else [])
    os._exit(LEFT)


def _end(status: int) -> None:
    """At once: an interpreter that ends in order waits for nccl, which waits for those that are gone."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
