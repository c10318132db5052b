"""What is computed of real images alone, kept beyond this process.

Samples change from one question to the next; the images that they are compared with stay, and their own neighbours and
kernel sums cost far more than those of a few samples. A function that is :func:`kept` asks the features that it is
given: where each of them has a :class:`Keep`, the result is read, or computed and put there.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np

from dpmot.features import Features, remembered

Arrays = tuple[np.ndarray, ...]


class Keep(Protocol):
    """Keeps arrays that are computed of one set of images.

    Attributes:
        content: hash of everything that the features of these images depend on.
    """

    @property
    def content(self) -> str: ...

    def __call__(self, module: str, what: list[Any], compute: Callable[[], Arrays]) -> Arrays:
        """The arrays that code of a module computes, by what they are; as they were computed, to the bit."""


_KEEPS: WeakKeyDictionary[Features, Keep] = WeakKeyDictionary()


def keep_results(features: Features, keep: Keep) -> None:
    """From now on keep what is computed of these features, or of these and of others that have a Keep."""
    _KEEPS[features] = keep


def kept(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of features, numbers and None that gives one array, or several: remembered, and kept where it can be.

    It must depend on nothing else: not on the order of calls, nor on Features that are none of its arguments.
    """

    @remembered
    @wraps(function)
    def found(features: Features, *others: Any) -> Any:
        if any(isinstance(one, Features) and one not in _KEEPS for one in (features, *others)):
            return function(features, *others)
        told = [_KEEPS[one].content if isinstance(one, Features) else one for one in (features, *others)]

        def compute() -> Arrays:
            result = function(features, *others)
            return result if isinstance(result, tuple) else (result,)

        arrays = _KEEPS[features](function.__module__, [function.__qualname__, *told], compute)
        return arrays if len(arrays) > 1 else arrays[0]

    return found
