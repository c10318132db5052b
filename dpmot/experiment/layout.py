"""Where an experiment keeps its files."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast


def _below(*names: str) -> Path:
    return cast(Path, property(lambda layout: layout.root.joinpath(*names)))


@dataclass(frozen=True)
class Layout:
    """The files of one results folder: ``root`` is e.g. results/digits."""

    root: Path

    config = _below("experiment.json")
    """The resolved configuration of the last run."""
    code = _below("code.json")
    """Digests of the source files, of the last run that made all pages."""
    data = _below("data.safetensors")
    """The prepared data set with its three splits."""
    classifier = _below("networks", "classifier.safetensors")
    """The data set's classifier."""
    heights = _below("transport.safetensors")
    """Solved heights and certificates of every transport problem."""
    star = _below("star.json")
    """The selected sigma_M* and the audit it rests on."""
    ideal = _below("ideal.csv")
    """How often an exact denoiser hands back the image behind its start, at each level of the tables."""
    coupling = _below("coupling.csv")
    """Quantities of the coupling of noise and samples, tidy."""
    strips = _below("strips.safetensors")
    """Samples along arcs between two noises."""
    trainings = _below("trainings.csv")
    """What each network saw in training, and how its noise and images were coupled."""
    timings = _below("timings.csv")
    """Where the time of every job went."""
    features = _below(".features")
    """Side folder of features that are slow to extract, by content; no rule declares it."""

    @property
    def measured(self) -> tuple[Path, ...]:
        """What measuring writes: metrics, replicates, audit, identity test, copies, mixed samples, fingerprint."""
        names = ("metrics", "replicates", "audit", "identity", "copies", "mixed")
        return (*(self.root / f"{name}.csv" for name in names), self.root / "fingerprint.json")

    def network(self, name: str) -> Path:
        """The weights of one network."""
        return self.root / "networks" / f"{name}.safetensors"

    def pairing(self, name: str) -> Path:
        """Heights of clean images, by which trainings are coupled: see :mod:`dpmot.experiment.pairings`."""
        return self.root / "pairings" / f"{name}.safetensors"

    def snapshot(self, name: str, steps: int) -> Path:
        """The weights of a network after so many steps of its training, where ``snapshots`` asks for it; no rule's."""
        return self.root / "snapshots" / f"{name}_{steps}.safetensors"

    def fit(self, name: str) -> Path:
        """What a start is fitted to images: see :mod:`dpmot.experiment.fits`."""
        return self.root / "fits" / f"{name}.safetensors"

    def facts_of_fit(self, name: str) -> Path:
        """What is known of it: its bytes, seconds, and how likely images are."""
        return self.root / "fits" / f"{name}.json"

    def samples(self, method: str) -> Path:
        """All samples of one method."""
        return self.root / "samples" / f"{method}.safetensors"

    def shard(self, name: str) -> Path:
        """Some samples of a method, until they are put together: see :mod:`dpmot.experiment.shards`."""
        return self.root / "shards" / f"{name}.safetensors"

    def measured_shard(self, name: str) -> Path:
        """What was measured of some methods, until it is put together."""
        return self.root / "shards" / f"{name}.json"

    def learned(self, method: str) -> Path:
        """What one method has learned from runs of its network, per budget and level."""
        return self.root / "learned" / f"{method}.json"

    def timing(self, job: str) -> Path:
        """Where the time of one job went."""
        return self.root / "timings" / f"{job}.json"

    def resume(self, job: str) -> Path:
        """Side folder of finished pieces of an interrupted job; no rule declares it."""
        return self.root / ".resume" / job
