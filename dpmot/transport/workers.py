"""Threads that work side by side, one core each.

Several libraries that each split one small product over all cores wait for each other in busy loops; a whole piece of
work on each core does not, and its result does not depend on how many there are.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache

import torch
from threadpoolctl import ThreadpoolController

Map = Callable[..., Iterator]


@contextmanager
def side_by_side(device: torch.device) -> Iterator[tuple[Map, int]]:
    """A `map` that calls its function in so many threads, as torch has; on a GPU the plain one."""
    threads = torch.get_num_threads()
    if threads == 1 or device.type == "cuda":
        yield map, 1
        return
    alone = {"initializer": torch.set_num_threads, "initargs": (1,)}
    with _controller().limit(limits=1, user_api="blas"), ThreadPoolExecutor(threads, **alone) as pool:
        try:
            yield pool.map, threads
        finally:
            torch.set_num_threads(threads)  # some of its libraries have one setting for all threads


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # looking for libraries takes milliseconds
