"""Files that appear whole or not at all, and locks that end with the process that holds them."""

import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

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


def locked(path: Path, *, wait: bool = False) -> FileLock:
    """The lock ``<path>.lock``, held by this process alone until it is released or the process ends, however it ends.

    Args:
        path: what the lock stands for; its folder is made.
        wait: wait for another holder instead of raising.

    Raises:
        ValueError: another process holds it, and ``wait`` is False.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f"{path.name}.lock"), is_singleton=True)  # this process may take it again
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if wait:
            print(f"waiting for another process, which makes {path}", file=sys.stderr, flush=True)
            lock.acquire()
            return lock
        raise ValueError(f"{path} is in use by another process: wait until it ends, or stop it") from None
    return lock


def remove(lock: FileLock) -> None:
    """Release a lock and remove its file, which goes first: whoever waits for it makes it anew."""
    Path(lock.lock_file).unlink(missing_ok=True)
    lock.release(force=True)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """One process at a time makes ``path``; the others wait, and find it made."""
    lock = locked(path, wait=True)
    try:
        yield
    finally:
        remove(lock)
