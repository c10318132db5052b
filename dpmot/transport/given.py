"""What a caller hands in: real numbers of any type, whole numbers of any type, and one line for what is neither."""

from numbers import Real
from operator import index
from typing import Any

import numpy as np
import torch
from torch import Tensor


def real(values: Any, what: str) -> Tensor:
    """Real numbers as a tensor without gradient, of any type; a tensor shares its memory with the one that was given.

    Raises:
        ValueError: complex or truth values, a sparse or quantised tensor, an array of something else.
    """
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError(f"{what} are a masked array; fill or leave out what is masked: numpy.ma.compressed")
    if not isinstance(values, Tensor):
        kind = type(values).__name__
        try:
            values = np.array(values)
            values = torch.from_numpy(values.astype(values.dtype.newbyteorder("="), copy=False))
        except (TypeError, ValueError):
            raise ValueError(
                f"{what} are a {kind} that holds no real numbers; give a tensor or array of them"
            ) from None
    if values.is_complex() or values.dtype == torch.bool or values.layout != torch.strided or values.is_quantized:
        layout = "" if values.layout == torch.strided else f" in layout {values.layout}"
        raise ValueError(f"{what} are {values.dtype}{layout}; give a dense tensor or array of real numbers")
    return values.detach()


def whole(value: Any, what: str, least: int | None = None) -> int:
    """A whole number as int, of whichever type it is; a ValueError for others, and for less than the least."""
    try:
        number = None if isinstance(value, bool) else index(value)
    except TypeError:
        number = None
    if number is None or (least is not None and number < least):
        allowed = "" if least is None else f" of at least {least}"
        raise ValueError(f"{what} = {value}; give a whole number{allowed}")
    return number


def between(value: Any, low: float, high: float) -> bool:
    """Whether it is a real number above one and below the other."""
    return isinstance(value, Real) and low < float(value) < high
