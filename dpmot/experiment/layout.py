"""Where an experiment keeps its files."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """The files of one results folder: ``root`` is e.g. results/digits."""

    root: Path

    @property
    def config(self) -> Path:
        """The resolved configuration of the last run."""
        return self.root / "experiment.json"

    @property
    def data(self) -> Path:
        """The prepared data set with its three splits."""
        return self.root / "data.safetensors"

    @property
    def classifier(self) -> Path:
        """The data set's classifier."""
        return self.root / "networks" / "classifier.safetensors"

    @property
    def heights(self) -> Path:
        """Solved heights and certificates of every transport problem."""
        return self.root / "transport.safetensors"

    @property
    def star(self) -> Path:
        """The selected sigma_M* and the audit it rests on."""
        return self.root / "star.json"

    @property
    def coupling(self) -> Path:
        """Quantities of the coupling of noise and samples, tidy."""
        return self.root / "coupling.csv"

    @property
    def strips(self) -> Path:
        """Samples along arcs between two noises."""
        return self.root / "strips.safetensors"

    @property
    def measured(self) -> tuple[Path, ...]:
        """What measuring writes: metrics, replicates, audit, identity test, fingerprint."""
        tables = (self.root / f"{name}.csv" for name in ("metrics", "replicates", "audit", "identity"))
        return (*tables, self.root / "fingerprint.json")

    @property
    def timings(self) -> Path:
        """Where the time of every job went."""
        return self.root / "timings.csv"

    @property
    def features(self) -> Path:
        """Side folder of features that are slow to extract, by content; no rule declares it."""
        return self.root / ".features"

    def network(self, name: str) -> Path:
        """The weights of one network."""
        return self.root / "networks" / f"{name}.safetensors"

    def snapshot(self, name: str, steps: int) -> Path:
        """The weights of a network after so many steps of its training, where ``snapshots`` asks for it; no rule's."""
        return self.root / "snapshots" / f"{name}_{steps}.safetensors"

    def samples(self, method: str) -> Path:
        """All samples of one method."""
        return self.root / "samples" / f"{method}.safetensors"

    def timing(self, job: str) -> Path:
        """Where the time of one job went."""
        return self.root / "timings" / f"{job}.json"

    def resume(self, job: str) -> Path:
        """Side folder of finished pieces of an interrupted job; no rule declares it."""
        return self.root / ".resume" / job
