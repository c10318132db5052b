"""Threads that work side by side, one core each.

Several libraries that each split one small product over all cores wait for each other in busy loops; a whole piece of
work on each core does not, and its products have the same bits however many there are.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial

import torch
from threadpoolctl import ThreadpoolController

Map = Callable[..., Iterator]


@contextmanager
def side_by_side(device: torch.device) -> Iterator[tuple[Map, int]]:
    """A `map` that calls its function in so many threads, as torch has; with one, and on a GPU, the plain one.

    It takes its arguments a few calls ahead, while the threads work. Inside, numpy multiplies on one core. For one
    thread of a program at a time: settings of libraries are of all.
    """
    if device.type == "cuda":
        yield map, 1
        return
    threads = torch.get_num_threads()
    with _controller().limit(limits=1, user_api="blas"):
        if threads == 1:
            yield map, 1
            return
        try:
            with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                yield _same_mode(partial(_ahead, pool, threads)), threads
        finally:
            torch.set_num_threads(threads)  # a worker's setting may be that of all


def _ahead(pool: ThreadPoolExecutor, threads: int, function: Callable, *iterables: Iterable) -> Iterator:
    """Results in order; one call more than there are threads has been asked for whenever one is waited for."""
    asked: deque[Future] = deque()
    for arguments in zip(*iterables, strict=False):
        asked.append(pool.submit(function, *arguments))
        if len(asked) > threads:
            yield asked.popleft().result()
    while asked:
        yield asked.popleft().result()


def _same_mode(over: Map) -> Map:
    """The map in torch's inference mode or out of it, as here: the mode is a thread's own."""
    inference = torch.is_inference_mode_enabled()

    def call(function: Callable, *arguments):
        with torch.inference_mode(inference):
            return function(*arguments)

    return lambda function, *iterables: over(lambda *arguments: call(function, *arguments), *iterables)


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # looking for libraries takes milliseconds
