"""Threads that work side by side, one core each.

Libraries that split one small product over all cores wait for each other in busy loops. Here each core gets a whole
piece of work instead, whose products have the same bits however many cores there are.
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
from typing import Any, NamedTuple

import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor

Map = Callable[..., Iterator[Any]]  # map, or one that shares the calls among threads


class Scratch:
    """Named buffers, a thread's own, used again and again: fresh memory costs as much as the product in it."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._buffers: dict[tuple[int, str, torch.dtype], Tensor] = {}

    def __call__(self, name: str, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """An uninitialised tensor of that shape."""
        size, key = math.prod(shape), (get_ident(), name, dtype)
        if key not in self._buffers or self._buffers[key].numel() < size:
            self._buffers[key] = torch.empty(size, dtype=dtype, device=self.device)
        return self._buffers[key][:size].view(shape)


class Team(NamedTuple):
    """A map, the number of threads that work for it, and buffers for each of them."""

    over: Map
    threads: int
    scratch: Scratch


_controller = cache(ThreadpoolController)  # looking for libraries takes milliseconds
_at_work: ContextVar[Team | None] = ContextVar("_at_work", default=None)
os.register_at_fork(after_in_child=lambda: _at_work.set(None))  # no thread of a team lives on in a forked process


@contextmanager
def side_by_side(device: torch.device) -> Iterator[Team]:
    """A team of as many threads as torch has, whose `map` shares its calls among them.

    With one thread, and on a GPU, the team has Python's own `map`. Each thread draws its next arguments from the
    iterables by itself, so a generator's work is shared too. Inside the context numpy multiplies on one core, and an
    inner `side_by_side` yields the same team, because starting threads and allocating memory takes milliseconds. Only
    one thread of a program may open a team at a time: the libraries' settings apply to the whole process.
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


def _shared(
    pool: ThreadPoolExecutor, threads: int, function: Callable[..., Any], *iterables: Iterable[Any]
) -> Iterator[Any]:
    """The results in order. One call more than there are threads is always queued, so that no thread waits."""
    calls, lock = enumerate(zip(*iterables, strict=False)), Lock()

    def call() -> tuple[int, object] | None:
        with lock:
            taken = next(calls, None)
        if taken is None:
            return None
        place, arguments = taken
        return place, function(*arguments)

    asked, due = deque(pool.submit(call) for _ in range(threads + 1)), 0
    early: dict[int, object] = {}
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
