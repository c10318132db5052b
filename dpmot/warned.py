"""Warnings that point at the caller's line: what was given may be meant, but mostly is a mistake."""

import contextlib
import sys
import warnings
from pathlib import Path

OURS = (f"{Path(__file__).parent}/", contextlib.__file__)


class OddRange(UserWarning):
    """Numbers that look as if they were in other units."""


class NoDenoiser(UserWarning):
    """A function whose answers are no cleaned images."""


class NotConverged(UserWarning):
    """A transport problem that was solved to a larger error than was asked for."""


def warn(message: str, category: type[UserWarning]) -> None:
    """Warn at the first line outside this package, so that Python tells it once for each such line."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(OURS):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
