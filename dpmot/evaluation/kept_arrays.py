"""Arrays that were computed before, in sealed files: what depends on real images alone, and nothing of the samples.

A file appears whole or not at all; one that is damaged is computed anew. A long search is kept in pieces, so that one
that is interrupted goes on where it was.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dpmot.evaluation.answers import writing
from dpmot.runtime import seals
from dpmot.runtime.closure import code_digest
from dpmot.runtime.files import atomic
from dpmot.runtime.fingerprint import digest

Arrays = tuple[np.ndarray, ...]
TURNED = "T"  # ends the name of an array that is stored with its axes reversed


@dataclass(frozen=True, eq=False)
class OfImages:
    """Keeps what is computed of one set of images, or of several: a :class:`dpmot.features._kept.Keep`.

    Attributes:
        folder: of the files.
        content: hash of the images, and of what else they are seen through.
        packages: machine, packages and threads, on which last bits depend.
    """

    folder: Path
    content: str
    packages: Mapping[str, str]

    def __call__(self, module: str, what: list[Any], compute: Callable[[], Arrays]) -> Arrays:
        """The arrays that code of ``module`` computes, in their order and memory layout.

        Raises:
            OSError: the folder cannot be written; says what to set.
        """
        key = {"what": what, "of": self.content, "code": code_digest([module]), "packages": self.packages}
        file = self.folder / f"{digest(key)}.safetensors"
        try:
            return _read(file)
        except (FileNotFoundError, seals.Damaged):
            arrays = compute()
        with writing(self.folder), atomic(file) as temporary:
            seals.save(temporary, _named(arrays), {}, name=file.name)
        return arrays


def _named(arrays: Arrays) -> dict[str, torch.Tensor]:
    """By place; sums over an array depend on its layout, which is to be the same when it is read."""
    turned = [array.ndim > 1 and array.flags.f_contiguous and not array.flags.c_contiguous for array in arrays]
    if odd := [array.strides for array, turn in zip(arrays, turned, strict=True) if not (turn or array.flags.forc)]:
        raise ValueError(f"Arrays with strides {odd[0]} would be read in another layout: give contiguous ones")
    pairs = enumerate(zip(arrays, turned, strict=True))
    named = {f"{k}{TURNED * turn}": array.T if turn else array for k, (array, turn) in pairs}
    return {name: torch.from_numpy(np.array(array)) for name, array in named.items()}


def _read(file: Path) -> Arrays:
    tensors, _ = seals.load(file, name=file.name)
    ordered = sorted(tensors, key=lambda name: int(name.removesuffix(TURNED)))
    arrays = [(np.array(tensors[name].numpy()), name.endswith(TURNED)) for name in ordered]
    return tuple(array.T if turned else array for array, turned in arrays)
