"""Networks tell what they evaluate: the count that no sampler is handed.

While an :class:`Audit` runs, every call of a network is paid for, inside :meth:`Audit.paid` of the thread that pays, or
it is refused. Denoisers report to it by :func:`evaluated`; every ``torch.nn.Module`` is seen by a hook of torch's own,
so copies of a network and networks from elsewhere are seen too.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from torch.nn import Module
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils.hooks import RemovableHandle

_RUNNING: list["Audit"] = []


class Uncounted(ValueError):
    """A sampler evaluated a network, or used its denoiser, in a way that its contract does not offer."""


def evaluated(denoiser: object, rows: int) -> None:
    """A denoiser's report that it evaluates so many rows."""
    for audit in _RUNNING:
        audit.told(type(denoiser).__name__, rows)


class Audit:
    """What networks evaluate while a sampler runs.

    Attributes:
        rows: kind of denoiser -> rows that it was paid for.
        fault: the first evaluation that was not paid for, in words; None where all were.
    """

    def __init__(self) -> None:
        self.rows: Counter[str] = Counter()
        self.fault: str | None = None
        self._payer: int | None = None
        self._hook: RemovableHandle | None = None

    @contextmanager
    def running(self) -> Iterator["Audit"]:
        """Watch every network of this process."""
        _RUNNING.append(self)
        self._watch()
        try:
            yield self
        finally:
            self._look_away()
            _RUNNING.remove(self)

    @contextmanager
    def paid(self) -> Iterator[None]:
        """What this thread evaluates inside is paid for."""
        self._payer = threading.get_ident()
        self._look_away()  # a hook on every layer would cost a paid evaluation some percent
        try:
            yield
        finally:
            self._payer = None
            self._watch()

    def told(self, what: str, rows: int) -> None:
        """A network evaluates.

        Raises:
            Uncounted: nobody paid.
        """
        if self._payer == threading.get_ident():
            self.rows[what] += rows
            return
        self.fault = self.fault or f"{what} was evaluated, on {rows} rows, beside D(x, sigma)"
        raise Uncounted(self.fault)

    def _watch(self) -> None:
        if self in _RUNNING and self._hook is None:
            self._hook = register_module_forward_pre_hook(self._seen)

    def _look_away(self) -> None:
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def _seen(self, module: Module, given: tuple) -> None:
        rows = len(given[0]) if given and hasattr(given[0], "shape") and given[0].dim() else 0
        self.told(type(module).__name__, rows)
