"""The prepared data set: three parts as stored, and samples as they are stored."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dpmot import images as pixels
from dpmot.runtime import seals


def read(path: Path) -> tuple[dict[str, Tensor], dict]:
    """Tensors and facts of a file that a stage has written.

    Raises:
        FileNotFoundError, Damaged: see :func:`dpmot.runtime.seals.load`.
    """
    tensors, texts = seals.load(path, name=path.name)
    return tensors, json.loads(texts.get("facts", "{}"))


@dataclass(frozen=True)
class Part:
    """One split of the prepared data.

    Attributes:
        raw: as stored: uint8 (n, C, H, W), or float32 points (n, d).
        labels: (n,) int64.
    """

    raw: Tensor
    labels: Tensor

    def first(self, number: int | None) -> Tensor:
        """The first so many as stored, all for None.

        Raises:
            ValueError: there are fewer.
        """
        if number is not None and number > len(self.raw):
            raise ValueError(f"num_atoms = {number}, but the split holds {len(self.raw)} images; give at most that")
        return self.raw[:number]


def encode(x: Tensor, like: Tensor) -> Tensor:
    """Floats as they are stored: rounded to uint8 where the data are images."""
    return pixels.to_uint8(x) if like.dtype == torch.uint8 else x.to(like.dtype)


def read_data(path: Path) -> tuple[dict[str, Part], dict[str, Tensor], dict]:
    """The prepared data: parts A, B, C; the mixture's tensors where the data are one; facts."""
    tensors, facts = read(path)
    parts = {name: Part(tensors[f"{name}/images"], tensors[f"{name}/labels"]) for name in "ABC"}
    mixture = {name.removeprefix("mixture/"): t for name, t in tensors.items() if name.startswith("mixture/")}
    return parts, mixture, facts
