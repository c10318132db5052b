"""What a piece of work takes: seconds, of the clock and of the processor, and memory above what was held before."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

LOOK = 0.005  # seconds between two looks at the memory


@dataclass(frozen=True)
class Spent:
    """What was spent, and what came of it.

    Attributes:
        seconds: of the clock.
        processor: seconds of all threads together.
        memory: bytes, the most of several looks, above those before.
        result: what the work returned.
    """

    seconds: float
    processor: float
    memory: int
    result: object


def spend(work: Callable[[], object]) -> Spent:
    """Do the work once."""
    process, peak, done = psutil.Process(), [0], threading.Event()
    before = process.memory_info().rss

    def watch() -> None:
        while not done.wait(LOOK):
            peak[0] = max(peak[0], process.memory_info().rss - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    began, clock = time.process_time(), time.perf_counter()
    try:
        result = work()
        processor, seconds = time.process_time() - began, time.perf_counter() - clock
    finally:
        done.set()
        watcher.join()
    return Spent(seconds, processor, peak[0], result)
