"""The features of every set of samples, by extractor; those of slow networks are kept by the hash of their images.

Their files (of an experiment in ``results/<experiment>/.features/``) may be deleted at any time, and are found again
only for the same images, extractor, options, code, weights, packages, machine and thread count. An image that a start
hands back exactly was a reference already: an extractor that says ``DISTINCT`` is asked once for each distinct image of
a job.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dpmot import plugins
from dpmot.device import chosen
from dpmot.features import Extractor, Features, NonFiniteFeatures
from dpmot.runtime import seals
from dpmot.runtime.closure import code_digest
from dpmot.runtime.files import atomic, exclusive
from dpmot.runtime.fingerprint import digest, environment, file_digest
from dpmot.runtime.session import Fault

Row = tuple[np.ndarray, np.ndarray | None]  # values and probabilities of one image


class Extractors:
    """The feature extractors of an experiment.

    Args:
        extractors: in the order of the tables.
        folder: where the features of slow ones are kept.
        threads: of the job; the last bits depend on it.
        device: where slow ones run, a name of :func:`dpmot.device.chosen`.
    """

    def __init__(self, extractors: Sequence[Extractor], folder: Path, *, threads: int, device: str) -> None:
        self.extractors, self.folder, self.threads, self.device = extractors, folder, threads, device
        self._memory: dict[str, dict[bytes, Row]] = {one.name: {} for one in extractors if one.distinct}
        self._called: dict[str, str] = {}  # extractor -> the name that its features bear

    def __call__(
        self,
        raw: torch.Tensor,
        *,
        source: np.ndarray | None = None,
        num_sources: int | None = None,
        labels: np.ndarray | None = None,
        drawn_for: np.ndarray | None = None,
        trajectory_variance: np.ndarray | None = None,
    ) -> dict[str, Features]:
        """Features of stored images (n, C, H, W) or points (n, d), by extractor.

        Args:
            raw: uint8 images or float points.
            source, num_sources, labels, drawn_for, trajectory_variance: see :class:`~dpmot.features.Features`.

        Raises:
            Fault: features are NaN or infinite; with the samples that have them.
        """
        facts: dict[str, Any] = {"source": source, "num_sources": num_sources, "labels": labels, "drawn_for": drawn_for}
        by_name = {}
        for extractor in self.extractors:
            try:
                features = self._stored(extractor, raw) if extractor.slow else self._extracted(extractor, raw)
            except NonFiniteFeatures as error:
                rows = torch.from_numpy(error.rows)
                raise Fault(f"{extractor.name}: {error}", {"row": rows, "samples": raw[rows]}) from None
            by_name[extractor.name] = replace(features, **facts, trajectory_variance=trajectory_variance)
        return by_name

    def _stored(self, extractor: Extractor, raw: torch.Tensor) -> Features:
        """Features from disk, or extracted and put there; where several processes want the same, by one of them."""
        file = self.folder / f"{self._key(extractor, raw)}.safetensors"
        if found := self._found(extractor, raw, file):
            return found
        with exclusive(file):
            if found := self._found(extractor, raw, file):
                return found
            features = self._extracted(extractor, raw)
            arrays = {"values": features.values, "probabilities": features.probabilities}
            tensors = {key: torch.from_numpy(np.array(array)) for key, array in arrays.items() if array is not None}
            with atomic(file) as temporary:
                seals.save(temporary, tensors, {"extractor": features.extractor}, name=file.name)
        return features

    def _found(self, extractor: Extractor, raw: torch.Tensor, file: Path) -> Features | None:
        """Features from disk, if they are there and whole."""
        try:
            tensors, texts = seals.load(file, name=file.name)
            probabilities = tensors["probabilities"].numpy() if "probabilities" in tensors else None
            named = texts["extractor"]
        except (FileNotFoundError, seals.Damaged):
            return None
        features = Features(values=tensors["values"].numpy(), probabilities=probabilities, extractor=named)
        self._remember(extractor, raw, features)
        return features

    def _extracted(self, extractor: Extractor, raw: torch.Tensor) -> Features:
        """Features of every image; where the extractor wants distinct ones, of those that memory has not."""
        if not extractor.distinct:
            return self._asked(extractor, raw)
        memory, keys = self._memory[extractor.name], _keys(raw)
        new = {key: row for row, key in enumerate(keys) if key not in memory}
        if new:
            images = raw[list(new.values())]
            self._remember(extractor, images, self._asked(extractor, images))
        values, probabilities = zip(*(memory[key] for key in keys), strict=True)
        probable = None if probabilities[0] is None else np.stack(probabilities)
        return Features(values=np.stack(values), probabilities=probable, extractor=self._called[extractor.name])

    def _remember(self, extractor: Extractor, raw: torch.Tensor, features: Features) -> None:
        if extractor.distinct:
            self._called[extractor.name] = features.extractor
            probabilities = features.probabilities if features.probabilities is not None else [None] * len(features)
            rows = zip(features.values, probabilities, strict=True)
            self._memory[extractor.name] |= zip(_keys(raw), rows, strict=True)

    def _asked(self, extractor: Extractor, raw: torch.Tensor) -> Features:
        return extractor.extract(raw.to(chosen(self.device)) if extractor.slow else raw)

    def _key(self, extractor: Extractor, raw: torch.Tensor) -> str:
        images = hashlib.sha256(raw.contiguous().numpy().tobytes()).hexdigest()
        return digest({"images": [images, list(raw.shape)], **self.identity(extractor)})

    def identity(self, extractor: Extractor) -> dict[str, Any]:
        """What features depend on beside the images."""
        options = {name: value for name, value in extractor.options().items() if not isinstance(value, Path)}
        return {
            "extractor": extractor.name,
            "options": options,
            "code": code_digest([plugins.module_name("features", extractor.name)]),
            "weights": [file_digest(file) for file in extractor.files()],
            "packages": self.environment,
        }

    @cached_property
    def environment(self) -> dict[str, str]:
        """Machine, packages, threads and device."""
        return environment(self.threads, self.device)


def _keys(raw: torch.Tensor) -> list[bytes]:
    """A hash of each image."""
    return [hashlib.sha256(image.tobytes()).digest() for image in raw.contiguous().numpy()]
