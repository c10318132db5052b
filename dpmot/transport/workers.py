"""Threads that work side by side, one core each.

Several libraries that each split one small product over all cores wait for each other in busy loops; a whole piece of
work on each core does not, and its products have the same bits however many there are.
"""

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import cache, partial
from threading import Lock, get_ident
from typing import NamedTuple

import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor

Map = Callable[..., Iterator]


class Scratch:
    """Named buffers, a thread's own, used again and again: fresh memory costs as much as the product in it."""

    def __init__(self, device: torch.device) -> None:
        self.device, self._buffers = device, {}

    def __call__(self, name: str, *shape: int) -> Tensor:
        """An uninitialised float32 tensor of that shape."""
        size, key = math.prod(shape), (get_ident(), name)
        if key not in self._buffers or self._buffers[key].numel() < size:
            with torch.inference_mode(False):  # it will be written to outside that mode too
                self._buffers[key] = torch.empty(size, device=self.device)
        return self._buffers[key][:size].view(shape)


class Team(NamedTuple):
    """A map, the number of threads that work for it, and buffers for each of them."""

    over: Map
    threads: int
    scratch: Scratch


_at_work: ContextVar[Team | None] = ContextVar("_at_work", default=None)
os.register_at_fork(after_in_child=lambda: _at_work.set(None))  # no thread of a team lives on in a forked process


@contextmanager
def side_by_side(device: torch.device) -> Iterator[Team]:
    """So many threads as torch has, and a `map` that calls its function in them; with one, and on a GPU, the plain one.

    The threads take the arguments themselves, one after another: a generator of them runs on their time. Inside, numpy
    multiplies on one core, and the same again gives the same team: threads and fresh memory take milliseconds. For one
    thread of a program at a time: settings of libraries are of all.
    """
    team = _at_work.get()
    if team and team.scratch.device == device:
        yield team
        return
    threads, scratch = 1 if device.type == "cuda" else torch.get_num_threads(), Scratch(device)
    with ExitStack() as stack:
        team = Team(map, threads, scratch)
        if device.type != "cuda":
            stack.enter_context(_controller().limit(limits=1, user_api="blas"))
        if threads > 1:
            stack.callback(torch.set_num_threads, threads)  # a worker's setting may be that of all
            pool = stack.enter_context(ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)))
            team = Team(partial(_shared, pool, threads), threads, scratch)
        token = _at_work.set(team)
        try:
            yield team
        finally:
            _at_work.reset(token)


def _shared(pool: ThreadPoolExecutor, threads: int, function: Callable, *iterables: Iterable) -> Iterator:
    """Results in order; one call more than there are threads has been asked for whenever one is waited for."""
    calls, lock = enumerate(zip(*iterables, strict=False)), Lock()
    inference = torch.is_inference_mode_enabled()  # a mode is a thread's own

    def call() -> tuple[int, object] | None:
        with torch.inference_mode(inference):
            with lock:
                taken = next(calls, None)
            if taken is None:
                return None
            place, arguments = taken
            return place, function(*arguments)

    asked, early, due = deque(pool.submit(call) for _ in range(threads + 1)), {}, 0
    while asked:
        done = asked.popleft().result()
        if done is None:  # all are taken
            continue
        asked.append(pool.submit(call))
        place, result = done
        early[place] = result
        while due in early:
            yield early.pop(due)
            due += 1


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # looking for libraries takes milliseconds
