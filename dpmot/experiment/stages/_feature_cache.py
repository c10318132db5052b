"""The features of every set of samples, by extractor; those of slow networks are kept by the hash of their images.

What is kept lies in ``results/<experiment>/.features/``, may be deleted at any time, and is found again only for the
same images, extractor, code, weights, packages, machine and thread count. An image that a start hands back exactly was
a reference already: ResNet-56, at 4 ms an image, is asked once for each distinct image of a job.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from dpmot import plugins
from dpmot.device import chosen
from dpmot.features import Features, NonFiniteFeatures
from dpmot.runtime import seals
from dpmot.runtime.closure import code_digest
from dpmot.runtime.files import atomic
from dpmot.runtime.fingerprint import digest, environment, file_digest
from dpmot.runtime.session import Fault

SLOW = ("inception", "clip", "dinov2", "resnet56", "vit")
REPEATED = ("resnet56",)  # small vectors: those of every image fit into memory


class Extractors:
    """The feature extractors of the experiment, by name."""

    def __init__(self, job: Mapping, layout, mixture: Mapping) -> None:
        self.job, self.layout, self.mixture = job, layout, mixture
        self.seen: dict[str, dict[bytes, tuple[np.ndarray, ...]]] = {name: {} for name in REPEATED}

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
        return self._distinct(name, raw) if name in REPEATED else self._of(name, raw)

    def _of(self, name: str, raw: torch.Tensor) -> Features:
        raw = raw.to(chosen(self.job["device"])) if name in SLOW else raw
        return plugins.find("features", name).extract(raw, **self._options(name))

    def _distinct(self, name: str, raw: torch.Tensor) -> Features:
        """Features of the distinct images not seen before, and of the others from memory: in fixed tiles the same."""
        keys = _keys(raw)
        new = {key: row for row, key in enumerate(keys) if key not in self.seen[name]}
        if new:
            asked = raw[list(new.values())]
            self._remember(name, asked, self._of(name, asked))
        columns = zip(*(self.seen[name][key] for key in keys), strict=True)
        values, probabilities = (np.stack(column) for column in columns)
        return Features(values=values, probabilities=probabilities, extractor=name)

    def _remember(self, name: str, raw: torch.Tensor, found: Features) -> None:
        if name in REPEATED:
            self.seen[name] |= zip(_keys(raw), zip(found.values, found.probabilities, strict=True), strict=True)

    def _kept(self, name: str, raw: torch.Tensor) -> Features:
        file = self.layout.features / f"{self._key(name, raw)}.safetensors"
        try:
            tensors, _ = seals.load(file, name=file.name)
            features = Features(extractor=name, **{key: one.numpy() for key, one in tensors.items()})
            self._remember(name, raw, features)
            return features
        except (FileNotFoundError, seals.Damaged):
            features = self._extracted(name, raw)
        arrays = {"values": features.values, "probabilities": features.probabilities}
        kept = {key: torch.from_numpy(np.array(one)) for key, one in arrays.items() if one is not None}
        with atomic(file) as temporary:
            seals.save(temporary, kept, {}, name=file.name)
        return features

    def _key(self, name: str, raw: torch.Tensor) -> str:
        images = hashlib.sha256(raw.contiguous().numpy().tobytes()).hexdigest()
        module, options = plugins.find("features", name), self._options(name)
        weights = module.resolve_weights(**options) if name == "inception" else options.get("weights")
        files = module.files(weights) if name == "vit" else [Path(weights)] if weights else []
        return digest(
            {
                "images": [images, list(raw.shape)],
                "extractor": name,
                "code": code_digest([plugins.module_name("features", name)]),
                "weights": [file_digest(file) for file in files],
                "packages": environment(self.job["threads"], self.job["device"]),
            }
        )

    def _options(self, name: str) -> dict:
        if name == "resnet56":
            return {"weights": plugins.find("features", name).published(self.job["root"])}
        if name == "vit":
            return self.job["vit"]
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


def _keys(raw: torch.Tensor) -> list[bytes]:
    """A hash of each image."""
    return [hashlib.sha256(image.tobytes()).digest() for image in raw.contiguous().numpy()]
