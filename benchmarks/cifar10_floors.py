"""What real CIFAR-10 images get: FD of test against training images with its floor, mode mixture, P/R/D/C.

In the features and probabilities of the ResNet-56 whose weights are given, which was trained on the training images.
Images that are no exact copies of the published ones (``exact`` of the data set) are left out and counted. The floor is
a second sample of training images of the size of the test set, against the other training images.

example: DPMOT_DATA=data python -m benchmarks.cifar10_floors --weights resnet56-4bfd9763.th
"""

import argparse
import resource
import time
from pathlib import Path

import numpy as np
import torch

from dpmot import seeds
from dpmot.data import MissingData, cifar10
from dpmot.features import Features, resnet56
from dpmot.features._calibration import calibration
from dpmot.metrics import diversity, fidelity, frechet, mode_mixture
from dpmot.statistics import jackknife
from dpmot.statistics.jackknife import Estimate


def fd(generated: Features, reference: Features) -> Estimate:
    """Debiased FD with its interval."""
    groups, references = jackknife.groups(len(generated)), {"train": reference}
    (full,) = frechet.evaluate(generated, references).values()
    (parts,) = frechet.leave_out(generated, references, groups).values()
    return jackknife.interval(full, parts)


def shown(estimate: Estimate) -> str:
    """value [low, high]."""
    return f"{estimate.value:.4f} [{estimate.low:.4f}, {estimate.high:.4f}]"


def main() -> None:
    """Print the floors, the time and the peak memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    begin = time.perf_counter()
    try:
        data = cifar10.load()
    except (MissingData, ValueError) as error:
        raise SystemExit(f"cifar10_floors: {error}") from None
    exact = np.ones(len(data.images), dtype=bool) if data.exact is None else data.exact
    test, train = np.flatnonzero((data.split == "C") & exact), np.flatnonzero((data.split != "C") & exact)
    print(f"{data.note}; {(~exact).sum()} images that are not exact are left out: {len(train)} train, {len(test)} test")
    train = seeds.generator(0, "floor").permutation(train)
    second, rest = train[: len(test)], train[len(test) :]

    def features(rows: np.ndarray) -> Features:
        found = resnet56.extract(torch.from_numpy(data.images[rows]), weights=options.weights)
        return Features(
            values=found.values, probabilities=found.probabilities, labels=data.labels[rows], extractor="resnet56"
        )

    sets = {"test": features(test), "second sample of train": features(second)}
    reference = features(rest)
    print(f"features: {time.perf_counter() - begin:.0f} s")
    for name, one in sets.items():
        found = calibration(one.probabilities, one.labels)
        print(f"{name}: n = {len(one)}, FD against {len(reference)} train {shown(fd(one, reference))}")
        print(f"  accuracy {found.accuracy:.4f}, expected calibration error {found.ece:.4f}")
        for (metric, _), values in mode_mixture.pointwise(one, {}).items():
            print(f"  {metric} {shown(jackknife.mean_interval(values))}")
    pair = {"train": sets["second sample of train"]}
    for (metric, _), values in fidelity.pointwise(sets["test"], pair).items():
        print(f"{metric}, test among the second sample: {values.mean():.4f}")
    for (metric, _), value in diversity.evaluate(sets["test"], pair).items():
        print(f"{metric}, test among the second sample: {value:.4f}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{time.perf_counter() - begin:.0f} s in all, {options.threads} threads, peak memory {peak:.2f} GiB")


if __name__ == "__main__":
    main()
