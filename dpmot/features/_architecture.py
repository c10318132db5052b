"""What the file of a trained classifier says of itself, read without torch: a plan asks before anything runs."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open

from dpmot.runtime import seals

METADATA_KEY = "dpmot"


def architecture(texts: Mapping[str, str]) -> tuple[int, tuple[int, int, int]]:
    """Number of classes K and shape (C, H, W) of the images, from the texts of a file."""
    stated = json.loads(json.loads(texts[METADATA_KEY])["architecture"])
    channels, height, width = map(int, stated["shape"])
    return int(stated["num_classes"]), (channels, height, width)


def trained_on(path: Path) -> tuple[int, tuple[int, int, int]]:
    """Number of classes K and shape (C, H, W) of the images of a classifier's file.

    Raises:
        ValueError: another kind of file, or none.
    """
    try:
        with safe_open(path, framework="np") as file:
            return architecture(seals.texts_of(file.metadata()))
    except (SafetensorError, OSError, TypeError, KeyError, ValueError) as error:
        raise ValueError(f"{path} holds no classifier of this version ({error}): train the classifier again") from None
