"""A GPU for each job of a machine, and for each process of a training by several: the lock on a file says whose it is.

Snakemake only counts GPUs, it does not say which one a job has, and CUDA puts all of them on the first. A job therefore
takes the first GPU whose file nobody holds; one that needs several takes none before there are enough. The system lets
go of the lock when the process ends, however it ends.
"""

import getpass
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

TORCHRUN = "TORCHELASTIC_RUN_ID"  # which torchrun sets
COUNT = "DPMOT_GPUS"  # how many GPUs the jobs of a run share, which the Snakefile sets
VISIBLE = "CUDA_VISIBLE_DEVICES"
EACH = 1.0  # seconds between two looks


@contextmanager
def claimed(device: str, number: int = 1) -> Iterator[None]:
    """So many GPUs for this job alone, until the end of the block.

    Nothing is taken by a job for the processor, nor by one process of those that torchrun started: each of them would
    wait for the GPUs of all.
    """
    locks = claim(shared(), number=number) if device != "cpu" and TORCHRUN not in os.environ else []
    try:
        yield
    finally:
        for lock in locks:
            lock.release()


def shared() -> list[str]:
    """The GPUs that jobs share, as CUDA numbers or names them; none where a job is not to choose.

    Raises:
        ValueError: fewer are visible than jobs are to run at once.
    """
    count = int(os.environ.get(COUNT) or 0)
    if not count or VISIBLE not in os.environ:
        return [str(number) for number in range(count)]
    visible = [name.strip() for name in os.environ[VISIBLE].split(",") if name.strip()]
    if visible and len(visible) < count:
        told = f"{VISIBLE}={os.environ[VISIBLE]} names {len(visible)} GPUs, --resources gpu={count} asks for {count}"
        raise ValueError(f"{told}; give the number that it names")
    return visible  # none where it is empty: GPUs are hidden on purpose


def claim(gpus: Sequence[str], folder: Path | None = None, *, number: int = 1) -> list[FileLock]:
    """Take free GPUs for this process and make them all that CUDA sees; to be called before CUDA starts.

    Args:
        gpus: to choose from; with none nothing is done.
        folder: of the files, one for all runs of a user on this machine.
        number: how many.

    Returns:
        The locks, which are held as long as these objects live; none where there was nothing to choose.

    Raises:
        ValueError: there are fewer.
    """
    if not gpus:
        return []
    if number > len(gpus):
        told = f"processes: {number} need a GPU each, and jobs share {len(gpus)}"
        raise ValueError(f"{told}; give --resources gpu={number} where there are as many, or processes={len(gpus)}")
    folder = folder or Path(tempfile.gettempdir()) / f"dpmot-gpus-{getpass.getuser()}"
    folder.mkdir(parents=True, exist_ok=True)
    for look in range(sys.maxsize):
        if locks := _free(gpus, folder, number):
            os.environ[VISIBLE] = ",".join(locks)
            return [*locks.values()]
        if look == 0:
            told = f"GPUs {', '.join(gpus)} are taken by other jobs"
            print(f"{told} (locks in {folder}): waiting for {number}", file=sys.stderr, flush=True)
        time.sleep(EACH)
    raise AssertionError("unreachable")


def _free(gpus: Sequence[str], folder: Path, number: int) -> dict[str, FileLock]:
    """GPU -> its lock, of so many; none where there are fewer, lest two jobs wait for each other."""
    locks: dict[str, FileLock] = {}
    for gpu in gpus:
        lock = FileLock(folder / f"{gpu.replace('/', '_')}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        locks[gpu] = lock
        if len(locks) == number:
            return locks
    for lock in locks.values():
        lock.release()
    return {}
