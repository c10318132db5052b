"""Every metric that torch-fidelity or prdc has too, on the same features, through the libraries' own front doors."""

import numpy as np
import pytest
import torch

from dpmot._torchvision import make_importable
from dpmot.features import Features
from dpmot.metrics import _neighbours, diversity, fidelity, frechet, inception_score, kernel_distance

make_importable()
torch_fidelity = pytest.importorskip("torch_fidelity")
prdc = pytest.importorskip("prdc")
from torch_fidelity.feature_extractor_base import FeatureExtractorBase  # noqa: E402 - torchvision comes first

LAYERS, WIDTH, CLASSES = ["features", "logits"], 48, 7
RANDOM = torch.Generator().manual_seed(0)
MIX = torch.randn(3 * 8 * 8, WIDTH + CLASSES, generator=RANDOM, dtype=torch.float64) / 100


def layers(images):
    """Non-linear features and logits of uint8 images, float64: torch-fidelity sums KID in the features' own type."""
    x = images.to(torch.float64).flatten(1) @ MIX
    return x[:, :WIDTH].sin(), 3 * x[:, WIDTH:].cos()


class StandIn(FeatureExtractorBase):
    """The interface of torch-fidelity's Inception, with the layers above."""

    get_provided_features_list = staticmethod(lambda: tuple(LAYERS))
    get_default_feature_layer_for_metric = staticmethod(lambda metric: "logits" if metric == "isc" else "features")
    can_be_compiled = staticmethod(lambda: False)

    def __init__(self, name, features_list, **_):
        super().__init__(name, features_list)

    def forward(self, images):
        return tuple(dict(zip(LAYERS, layers(images), strict=True))[name] for name in self.features_list)


class Images(torch.utils.data.Dataset):
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.images[i]


def images(n, low, high):
    return torch.randint(low, high, (n, 3, 8, 8), generator=RANDOM, dtype=torch.uint8)


GENERATED, REAL = images(700, 0, 240), images(640, 10, 256)


def features(raw):
    values, logits = layers(raw)
    return Features(values=values.numpy(), extractor="inception", probabilities=logits.softmax(1).numpy())


@pytest.fixture(scope="module")
def theirs():
    torch_fidelity.register_feature_extractor("stand-in", StandIn)
    return torch_fidelity.calculate_metrics(
        **{"input1": Images(GENERATED), "input2": Images(REAL), "feature_extractor": "stand-in", "cuda": False},
        **{"fid": True, "isc": True, "kid": True, "prc": True, "isc_splits": 1, "kid_subset_size": 300},
        **{"samples_shuffle": False, "verbose": False, "cache": False, "save_cpu_ram": True},
    )


@pytest.fixture(scope="module")
def ours():
    generated, references = features(GENERATED), {"test": features(REAL)}
    found = frechet.evaluate(generated, references) | inception_score.evaluate(generated, references)
    found |= kernel_distance.evaluate(generated, references) | diversity.evaluate(generated, references)
    found |= {key: values.mean() for key, values in fidelity.pointwise(generated, references).items()}
    return {metric.removesuffix("_inception"): value for (metric, _), value in found.items()}


def test_fid_and_inception_score_agree(theirs, ours):
    assert ours["fd"] == pytest.approx(theirs["frechet_inception_distance"], rel=1e-5)
    assert ours["is"] == pytest.approx(theirs["inception_score_mean"], rel=1e-5)


def test_precision_and_recall_agree_to_the_last_sample(theirs, ours):
    for name, n in (("precision", len(GENERATED)), ("recall", len(REAL))):
        assert 0.1 < ours[name] < 0.99
        assert round(ours[name] * n) == round(theirs[name] * n)


def test_kid_by_subsets_agrees_with_the_same_seed_and_the_full_estimate_lies_near(theirs, ours):
    x, y = (features(raw).values for raw in (GENERATED, REAL))
    mean, std = kernel_distance.subsets(x, y, size=300)
    assert mean == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-5)
    assert std == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-5)
    assert abs(ours["kd"] - mean) < std


@pytest.mark.parametrize("d", [2, 48])
@pytest.mark.parametrize("k", [3, 5])
def test_precision_recall_density_and_coverage_agree_with_prdc_exactly(d, k, monkeypatch, capsys):
    draw = np.random.default_rng(d)
    real, fake = draw.standard_normal((700, d)), 1.1 * draw.standard_normal((650, d)) + 0.2
    expected = prdc.compute_prdc(real, fake, nearest_k=k)
    for module in (fidelity, diversity, _neighbours):
        for constant in {"PRECISION_K", "DENSITY_K"} & set(vars(module)):
            monkeypatch.setattr(module, constant, k)
    generated = Features(values=fake, extractor="x")
    references = {"test": Features(values=real, extractor="x")}
    found = {key: values.mean() for (key, _), values in fidelity.pointwise(generated, references).items()}
    found |= {key: value for (key, _), value in diversity.evaluate(generated, references).items()}
    for name, n in (("precision", 650), ("recall", 700), ("density", 650 * k), ("coverage", 700)):
        assert expected[name] > 0
        assert round(found[f"{name}_x"] * n) == round(expected[name] * n)
