"""What a fit shows and keeps while it runs: a line of progress, and its state at intervals."""

import time
from collections.abc import Callable

from tqdm import tqdm

from dpmot.runtime.seals import Checkpoint
from dpmot.transport.ledger import Report

CHECKPOINT_SECONDS = 20


def watching(
    bar: tqdm,
    target: float,
    *,
    name: str = "",
    checkpoint: Checkpoint | None = None,
    callback: Callable[[Report], None] | None = None,
) -> Callable[[Report], None]:
    """A callback of `SemiDiscreteSolver`: show chi2 after every look, keep the state of a long fit, tell another one.

    Args:
        bar: where it is shown, at the bar's own pace.
        target: chi2 that the fit is to reach.
        name: of the problem.
        checkpoint: where the state is kept, every CHECKPOINT_SECONDS, if the fit can be resumed.
        callback: told first.
    """
    saved = time.monotonic()

    def watch(seen: Report) -> None:
        nonlocal saved
        if callback is not None:
            callback(seen)
        left = "" if seen["left"] is None else f", {seen['left']:.0f} s left"
        bar.set_postfix_str(f"{name}{': ' if name else ''}chi2 {seen['chi2']:.3g} of {target:g}{left}", refresh=False)
        bar.update(0)  # redraws at its own pace
        if checkpoint and seen["state"] is not None and time.monotonic() - saved > CHECKPOINT_SECONDS:
            checkpoint.save(seen["state"](), {"noises": seen["noises"]})
            saved = time.monotonic()

    return watch
