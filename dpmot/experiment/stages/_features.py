"""The features of every set of samples, by extractor; those of slow networks are kept by the hash of their images.

What is kept lies in ``results/<experiment>/.features/``, may be deleted at any time, and is found again only for the
same images, extractor, code, weights, packages, machine and thread count.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from dpmot import plugins, sealed
from dpmot.experiment.records import atomic, digest, environment, file_digest
from dpmot.experiment.sources import code_digest
from dpmot.experiment.stages._session import Fault
from dpmot.features import Features, NonFiniteFeatures

SLOW = ("inception", "clip", "dinov2")


class Extractors:
    """The feature extractors of the experiment, by name."""

    def __init__(self, job: Mapping, layout, mixture: Mapping) -> None:
        self.job, self.layout, self.mixture = job, layout, mixture

    def __call__(
        self,
        raw: torch.Tensor,
        *,
        source: np.ndarray | None = None,
        num_sources: int | None = None,
        labels: np.ndarray | None = None,
    ) -> dict[str, Features]:
        """Features of stored images (n, C, H, W) or points (n, d), by extractor."""
        found = {}
        for name in self.job["extractors"]:
            try:
                features = self._kept(name, raw) if name in SLOW else self._extracted(name, raw)
            except NonFiniteFeatures as error:
                rows = torch.from_numpy(error.rows)
                raise Fault(f"{name}: {error}", {"row": rows, "samples": raw[rows]}) from None
            found[name] = replace(features, source=source, num_sources=num_sources, labels=labels)
        return found

    def _extracted(self, name: str, raw: torch.Tensor) -> Features:
        return plugins.find("features", name).extract(raw, **self._options(name))

    def _kept(self, name: str, raw: torch.Tensor) -> Features:
        file = self.layout.features / f"{self._key(name, raw)}.safetensors"
        try:
            tensors, _ = sealed.load(file, name=file.name)
            return Features(extractor=name, **{key: one.numpy() for key, one in tensors.items()})
        except (FileNotFoundError, sealed.Damaged):
            features = self._extracted(name, raw)
        arrays = {"values": features.values, "probabilities": features.probabilities}
        kept = {key: torch.from_numpy(np.array(one)) for key, one in arrays.items() if one is not None}
        with atomic(file) as temporary:
            sealed.save(temporary, kept, {}, name=file.name)
        return features

    def _key(self, name: str, raw: torch.Tensor) -> str:
        images = hashlib.sha256(raw.contiguous().numpy().tobytes()).hexdigest()
        weights = self._options(name).get("weights")
        if name == "inception":
            weights = plugins.find("features", name).resolve_weights(**self._options(name))
        return digest(
            {
                "images": [images, list(raw.shape)],
                "extractor": name,
                "code": code_digest([plugins.module_name("features", name)]),
                "weights": file_digest(Path(weights)) if weights else None,
                "packages": environment(self.job["threads"]),
            }
        )

    def _options(self, name: str) -> dict:
        if name == "classifier":
            return {"weights": self.layout.classifier}
        if name == "inception":
            weights = self.job["inception"]["weights"]
            return {**self.job["inception"], "weights": Path(weights) if weights else None}
        if name in ("clip", "dinov2"):
            return {"download": self.job["inception"]["download"]}
        if name == "mixture":
            return {"means": self.mixture["means"].numpy(), "std": float(self.mixture["std"])}
        return {}
