"""Files that appear whole or not at all, and locks that end with the process that holds them."""

import errno
import fcntl
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

UMASK = os.umask(0)  # to be read only by being set, which is no thread's business
os.umask(UMASK)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``; on success it is synced to disk and renamed onto ``path``."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_native_id()}.tmp")
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~UMASK)  # some writers make files that only their owner may read
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict:
    """Read a JSON object.

    Raises:
        ValueError: the file holds none; the message names it.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}; delete it and run again") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged: it holds no JSON object; delete it and run again")
    return found


def locked(path: Path, *, wait: bool = False) -> IO:
    """The lock ``<path>.lock``, held by this process alone until it is closed or the process ends, however it ends.

    Args:
        path: what the lock stands for; its folder is made.
        wait: wait for another holder instead of raising.

    Raises:
        ValueError: another process holds it, and ``wait`` is False.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.with_name(f"{path.name}.lock")
    while True:
        lock = open(file, "w")  # noqa: SIM115 - held as long as the process lives
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if file.exists() and os.path.samestat(os.fstat(lock.fileno()), file.stat()):
                return lock  # and not a file that its last holder has just removed
        except OSError as error:
            lock.close()
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            raise ValueError(f"{path} is in use by another process: wait until it ends, or stop it") from None
        lock.close()


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """One process at a time makes ``path``; the others wait, and find it made."""
    lock = locked(path, wait=True)
    try:
        yield
    finally:
        path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
        lock.close()
