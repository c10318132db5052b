"""What does each seed move? The training, the atoms' noise, the fit of heights and mixtures, and the samples.

config/lottery.yaml has DPM-OT, its copy control and the mixture on one digits network, with one seed each of training,
atoms and fit. One factor at a time takes seeds 0, 1, ... while the other two stay 0. Each run draws samples of its own
several times. So the nested model of `dpmot/statistics/components.py` splits the variance of one draw, factor by
factor, into the factor and the samples. Factors are not crossed: each part holds what its factor does together with
the others at their seed 0.

Every run is the workflow's, in results/lottery_FACTOR_SEED/; the same command again continues where it stopped.

example: python -m benchmarks.lottery --csv results/reference/laws/lottery.csv
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import numpy as np
import pandas as pd

from dpmot.experiment.config import load
from dpmot.plugins import ROOT
from dpmot.results import COPY, FRESH, PLAIN, POOLED, SKIPPED
from dpmot.runtime.files import atomic
from dpmot.statistics.components import components
from dpmot.statistics.jackknife import Estimate

CONFIG, NETWORKS = "config/lottery.yaml", "config/training_lottery.yaml"
FACTORS = ("training", "atoms", "fit")
MOVED = {  # method -> the factors that change it
    "dpm_ot": ("training", "atoms", "fit"),
    "copy": ("training", "atoms"),
    "mixture_30": ("training", "fit"),
    "mixture_30_ipndm": ("training", "fit"),
}
KEY = ["method", "label", "nfe_budget", "metric", "reference"]


@dataclass(frozen=True)
class Group:
    """One run: a factor at one of its seeds, the others at 0.

    Attributes:
        number: of all groups of a factor, its seed.
        draws: sample seeds, which no other group has.
    """

    factor: str
    number: int
    draws: int

    @property
    def name(self) -> str:
        """Of its experiment. At seed 0 the factors have one run between them."""
        return f"lottery_{self.factor}_{self.number}" if self.number else "lottery_0"

    @property
    def overrides(self) -> list[str]:
        """What differs from the configuration, as ``--config`` has it."""
        first = 1000 * (FACTORS.index(self.factor) + 1) + 10 * self.draws * self.number if self.number else 0
        given = [f"experiment={self.name}", f"sample_seeds={[*range(first, first + self.draws)]}"]
        if not self.number:
            return given
        methods = ",".join(name for name, factors in MOVED.items() if self.factor in factors)
        return [*given, self._changed, f"only=[{methods}]"]

    @property
    def _changed(self) -> str:
        """The factor at its seed: a network that was trained with it, or a key of the configuration."""
        if self.factor != "training":
            return f"{'atom' if self.factor == 'atoms' else self.factor}_seed={self.number}"
        trained = load([ROOT / NETWORKS]).networks["edm"].of_seed(self.number)
        return f"networks={{edm: {{weights: {trained.weights}, sha256: {trained.sha256}}}}}"

    def run(self, cores: int) -> None:
        """By the workflow, which does what is not done yet.

        Raises:
            SystemExit: it failed; its log is on the screen.
        """
        command = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--configfile", CONFIG, "--config"]
        if subprocess.run([*command, *self.overrides], check=False).returncode:
            raise SystemExit(f"{self.name} failed; mend it and run the same command again, which continues")

    def table(self, results: Path) -> pd.DataFrame:
        """The values of its single draws: KEY, sample_seed, num_samples, value, fingerprint."""
        rows = pd.read_csv(results / self.name / "metrics.csv", dtype={"nfe_budget": str, "sample_seed": str})
        other = rows["metric"].str.startswith((COPY, FRESH, PLAIN)) | (rows["metric"] == SKIPPED)
        moved = rows["method"].map(lambda name: self.factor in MOVED.get(name, ()))
        own = rows[moved & ~other & (rows["sample_seed"] != POOLED) & rows["value"].notna()]
        labels = {name: method.label for name, method in load([ROOT / CONFIG]).drawn.items()}
        own = own.assign(label=own["method"].map(labels))
        return own[[*KEY, "sample_seed", "num_samples", "value", "fingerprint"]]


def groups(number: int, draws: int) -> list[Group]:
    """Those of all factors, by seed."""
    return [Group(factor, seed, draws) for factor in FACTORS for seed in range(number)]


def parted(factor: str, tables: Sequence[pd.DataFrame]) -> Iterator[dict[str, object]]:
    """One row a cell and metric: the standard deviations that the factor and the samples add to one draw.

    Args:
        factor: which of FACTORS.
        tables: the draws of each of its groups.

    Raises:
        ValueError: a cell has fewer draws in one group than in another.
    """
    whole = pd.concat([table.assign(group=number) for number, table in enumerate(tables)])
    for key, part in whole.groupby(KEY, sort=False):
        values = [own["value"].to_numpy(float) for _, own in part.groupby("group", sort=False)]
        if len(values) != len(tables) or len({len(own) for own in values}) != 1:
            counts = [len(own) for own in values]
            raise ValueError(f"{' '.join(map(str, key))}: draws of {factor} by group are {counts}; remove its folders")
        found = components(np.array(values))
        row: dict[str, object] = {"factor": factor, **dict(zip(KEY, key, strict=True))}  # type: ignore[call-overload]
        row |= {"groups": found.trainings, "draws": found.draws, "samples_a_draw": part["num_samples"].iloc[0]}
        row |= {"mean": found.mean, **_ends("sd_factor", _root(found.training))}
        row |= _ends("sd_samples", _root(found.sampling)) | _ends("share", found.share)
        yield row | {"fingerprint": part["fingerprint"].iloc[0]}


def _root(variance: Estimate) -> Estimate:
    return Estimate(*(sqrt(max(0.0, one)) for one in (variance.value, variance.low, variance.high)))


def _ends(name: str, estimate: Estimate) -> dict[str, float]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def main() -> None:
    """Run what is missing, then write the table and print FD."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="of each factor (default %(default)s)")
    parser.add_argument("--draws", type=int, default=5, help="of each run (default %(default)s)")
    parser.add_argument("--cores", type=int, default=1, help="of the workflow (default %(default)s)")
    parser.add_argument("--csv", type=Path, default=Path("results/lottery.csv"), help="default %(default)s")
    options = parser.parse_args()
    if not (2 <= options.seeds <= 10 and 2 <= options.draws <= 10):
        parser.error("--seeds is 2 to 10, as many as there are networks, and --draws 2 to 10")
    runs = groups(options.seeds, options.draws)
    different = {group.name: group for group in runs}
    for number, group in enumerate(different.values(), 1):
        print(f"run {number} of {len(different)}: {group.name}", flush=True)
        group.run(options.cores)
    rows = [
        row
        for factor in FACTORS
        for row in parted(factor, [one.table(Path("results")) for one in runs if one.factor == factor])
    ]
    table = pd.DataFrame(rows)
    with atomic(options.csv) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
    shown = table[(table["metric"] == "fd_classifier") & (table["reference"] == "test")]
    print(shown[["factor", "method", "nfe_budget", "mean", "sd_factor", "sd_samples", "share"]].to_string(index=False))


if __name__ == "__main__":
    main()
