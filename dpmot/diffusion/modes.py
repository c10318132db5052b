"""Networks in evaluation mode: whatever holds them, dropout is off and batch statistics are those of the training."""

import inspect
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import CellType, ModuleType
from typing import Any

from torch import Tensor
from torch.nn import Module

DEPTH = 3
LOCK = threading.Lock()
HELD: Counter[Module] = Counter()  # modules that were in training mode -> how many calls evaluate them


def for_evaluation(model: Any) -> Any:
    """The model itself, in evaluation mode; so are the modules that an object, a method or a function holds."""
    for module in list(modules_in(model)):
        module.eval()
    return model


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """The same, inside; afterwards modules are in the mode that they had, once no other thread is inside either."""
    with LOCK:
        found = {part for module in modules_in(model) for part in module.modules()}
        mine = [part for part in found if part.training or part in HELD]
        HELD.update(mine)
        for part in mine:
            part.training = False
    try:
        yield
    finally:
        with LOCK:
            HELD.subtract(mine)
            for part in [part for part in mine if not HELD[part]]:
                del HELD[part]
                part.training = True


def modules_in(owner: Any, depth: int = DEPTH) -> Iterator[Module]:
    """The modules that something is or holds."""
    if isinstance(owner, Module):
        yield owner
    for part in _held(owner) if depth else ():
        yield from modules_in(part, depth - 1)


def _held(owner: Any) -> Iterable[Any]:
    """The parts of a container, a partial call, a method, a function (its closure, its globals), or another object."""
    if isinstance(owner, Mapping):
        return owner.values()
    if isinstance(owner, list | tuple):
        return owner
    if isinstance(owner, partial):
        return owner.func, owner.args, owner.keywords
    if inspect.ismethod(owner):
        return (owner.__self__,)
    if inspect.isfunction(owner):
        cells = [cell.cell_contents for cell in owner.__closure__ or () if cell != CellType()]  # but an empty one
        return *cells, *(owner.__globals__.get(name) for name in owner.__code__.co_names)
    return () if isinstance(owner, Tensor | type | ModuleType) else getattr(owner, "__dict__", {}).values()
