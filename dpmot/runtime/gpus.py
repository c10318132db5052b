"""One GPU for each job of a machine: the lock on a file says whose it is.

Snakemake only counts GPUs, it does not say which one a job has, and CUDA puts all of them on the first. A job therefore
takes the first GPU whose file nobody holds. The system lets go of the lock when the process ends, however it ends.
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

COUNT = "DPMOT_GPUS"  # how many GPUs the jobs of a run share, which the Snakefile sets
VISIBLE = "CUDA_VISIBLE_DEVICES"
EACH = 1.0  # seconds between two looks


@contextmanager
def claimed(device: str) -> Iterator[None]:
    """A GPU for this process alone, until the end of the block; of a job for the processor nothing is taken."""
    lock = claim(shared()) if device != "cpu" else None
    try:
        yield
    finally:
        if lock:
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


def claim(gpus: Sequence[str], folder: Path | None = None) -> FileLock | None:
    """Take a free GPU for this process and make it the only one that CUDA sees; to be called before CUDA starts.

    Args:
        gpus: to choose from; with none nothing is done.
        folder: of the files, one for all runs of a user on this machine.

    Returns:
        The lock, which is held as long as this object lives; None where there was nothing to choose.
    """
    if not gpus:
        return None
    folder = folder or Path(tempfile.gettempdir()) / f"dpmot-gpus-{getpass.getuser()}"
    folder.mkdir(parents=True, exist_ok=True)
    for look in range(sys.maxsize):
        for gpu in gpus:
            lock = FileLock(folder / f"{gpu.replace('/', '_')}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            os.environ[VISIBLE] = gpu
            return lock
        if look == 0:
            told = f"GPUs {', '.join(gpus)} are taken by other jobs"
            print(f"{told} (locks in {folder}): waiting for one", file=sys.stderr, flush=True)
        time.sleep(EACH)
    raise AssertionError("unreachable")
