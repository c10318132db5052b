"""torch-fidelity's own published numbers, where its Inception weights and the original CIFAR-10 images are at hand.

First 5,000 training images against the first 5,000 test images (in their published order): FID 10.3233274, precision
0.6852, recall 0.6908.
"""

import numpy as np
import pytest
import torch

from dpmot.data import MissingData, cifar10
from dpmot.features import Features, inception
from dpmot.metrics import diversity, fidelity, frechet


@pytest.fixture(scope="module")
def sets():
    try:
        weights = inception.resolve_weights()
    except FileNotFoundError as error:
        pytest.skip(f"the canonical Inception weights are not here: {error}")
    try:
        images, _, exact, source = cifar10.read(cifar10.expected())
    except (MissingData, OSError) as error:
        pytest.skip(f"CIFAR-10 is not here: {error}")
    first = [np.s_[:5000], np.s_[50_000:55_000]]
    if exact is not None and not all(exact[rows].all() for rows in first):
        pytest.skip(f"these CIFAR-10 images are not all the original ones ({source}); their numbers would differ")
    train, test = (inception.extract(torch.from_numpy(images[rows]), weights=weights) for rows in first)
    return train, test


def test_fid_precision_and_recall_are_the_published_ones(sets):
    train, test = sets
    references = {"test": Features(values=test.values, extractor="inception")}
    assert frechet.evaluate(train, references)["fd_inception", "test"] == pytest.approx(10.3233274, abs=1e-4)
    found = fidelity.pointwise(train, references)["precision_inception", "test"].mean()
    assert found == pytest.approx(0.6852, abs=1e-4)
    assert diversity.evaluate(train, references)["recall_inception", "test"] == pytest.approx(0.6908, abs=1e-4)
