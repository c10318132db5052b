"""An extractor looks at nothing but what it was made for, and a plan can ask before anything runs."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from dpmot import plugins
from dpmot.features import Extractor, Features, Offer, classifier, resnet56, thumbnails

RGB, GREY, POINTS = (3, 32, 32), (1, 32, 32), (2,)
TINY = "takes images of at least 8 x 8 pixels: images of"
CASES = [
    *((name, RGB, None) for name in plugins.names("features") if name != "mixture"),
    *((name, GREY, None) for name in ("classifier", "clip", "dinov2", "inception", "pixels", "thumbnails", "vit")),
    *((name, (3, 200, 64), None) for name in ("classifier", "clip", "inception", "pixels", "thumbnails", "vit")),
    ("resnet56", (3, 64, 64), "resnet56 takes images of 32 x 32 pixels only, not of 64 x 64"),
    ("resnet56", (3, 32, 31), "resnet56 takes images of 32 x 32 pixels only, not of 32 x 31"),
    ("resnet56", (3, 8, 8), "resnet56 takes images of 32 x 32 pixels only, not of 8 x 8"),
    ("resnet56", GREY, "resnet56 takes images of 3 channels, not of 1"),
    ("resnet56", (1, 28, 28), "resnet56 takes images of 3 channels, not of 1"),
    ("thumbnails", (3, 6, 6), f"thumbnails {TINY} 6 x 6 are too small"),
    ("thumbnails", (1, 300, 7), f"thumbnails {TINY} 300 x 7 are too small"),
    *((name, (3, 1, 8), f"{name} {TINY} 1 x 8 are too small") for name in ("clip", "dinov2", "inception", "vit")),
    *((name, (4, 32, 32), f"{name} takes images of 1 or 3 channels, not of 4") for name in ("classifier", "clip")),
    *((name, POINTS, None) for name in ("mixture", "pixels")),
    ("mixture", RGB, "mixture looks at points (d,) of a mixture, got samples of shape (3, 32, 32)"),
    *(
        (name, POINTS, f"{name} looks at images (C, H, W), got samples of shape (2,)")
        for name in ("clip", "classifier")
    ),
]


@pytest.mark.parametrize(("name", "shape", "reason"), CASES)
def test_what_an_extractor_takes_is_known_by_the_shape_alone(name, shape, reason):
    assert Extractor(name).takes(shape) == reason


def test_a_plan_is_refused_by_the_shape_it_offers():
    with pytest.raises(ValueError, match=r"^features: resnet56 takes images of 32 x 32 pixels only, not of 64 x"):
        Extractor("resnet56", Offer(shape=(3, 64, 64))).check()
    Extractor("resnet56", Offer(shape=RGB)).check()


def test_asking_for_shapes_imports_no_torch():
    code = "import sys; from dpmot.features import Extractor; Extractor('resnet56').takes((1, 2, 2)); Extractor('vit')"
    subprocess.run([sys.executable, "-c", f"{code}; assert 'torch' not in sys.modules"], check=True)


def test_extraction_refuses_by_the_same_line(tmp_path):
    large = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    with pytest.raises(ValueError, match="takes images of 32 x 32 pixels only, not of 64 x 64"):
        resnet56.extract(large, weights=tmp_path / "never read")
    with pytest.raises(ValueError, match="images of 6 x 6 are too small"):
        thumbnails.extract(large[:, :, :6, :6])
    with pytest.raises(ValueError, match="images of 6 x 6 are too small"):
        Extractor("inception").extract(large[:, :, :6, :6])


@pytest.mark.parametrize("shape", [(1, 2, 300), (1, 300, 1), (3, 1, 130), (1, 1, 1)])
def test_a_classifier_learns_images_of_any_shape(shape, tmp_path):
    images = torch.randint(256, (6, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    model = classifier.train(images, torch.arange(6) % 2, seed=0, epochs=1)
    classifier.save(tmp_path / "c", model, {})
    assert classifier.extract(images, weights=tmp_path / "c").values.shape == (6, 64)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda n: np.zeros((n, 2)), "mine: extract must give its Features of 5 samples, got ndarray"),
        (
            lambda n: Features(values=np.zeros((n - 1, 2)), extractor="pixels"),
            "5 samples, got 4 rows of pixels",
        ),
        (lambda n: Features(values=np.full((n, 2), np.nan), extractor="mine"), "values of 5 of 5 samples are NaN"),
        (lambda n: Features(values=torch.ones(n, 2, device="meta"), extractor="mine"), "must be floats of shape"),
        (
            lambda n: Features(values=torch.ones(n, 2, dtype=torch.bfloat16), extractor="mine"),
            "must be floats of shape",
        ),
    ],
)
def test_what_a_plug_in_gives_is_refused_in_one_line_where_it_is_no_features(given, message, monkeypatch):
    monkeypatch.setattr(plugins.find("features", "pixels"), "extract", lambda images: given(len(images)))
    with pytest.raises(ValueError, match=message.replace("mine", "(mine|pixels)")) as caught:
        Extractor("pixels").extract(torch.zeros(5, 1, 8, 8, dtype=torch.uint8))
    assert "\n" not in str(caught.value)


NOISY = '''"""An extractor whose author forgot the evaluation mode."""

import torch

from dpmot.features import Features

network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.BatchNorm1d(64)).train()


def extract(images):
    return Features(values=network(images.float()).detach().numpy(), extractor="noisy")
'''


def test_a_plug_ins_network_is_put_in_evaluation_mode(tmp_path, monkeypatch):
    (tmp_path / "extractors_with_noise").mkdir()
    (tmp_path / "extractors_with_noise" / "noisy.py").write_text(NOISY)
    monkeypatch.setattr(plugins, "ROOT", tmp_path)
    monkeypatch.setitem(plugins.FOLDERS, "features", ("feature extractor", tmp_path / "extractors_with_noise"))
    monkeypatch.syspath_prepend(tmp_path)
    images = torch.randint(256, (20, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    first, again = (Extractor("noisy").extract(images).values for _ in range(2))
    np.testing.assert_array_equal(first, again)
    # batch normalisation by its running statistics, 0 and 1: nothing is dropped, no row depends on the others
    np.testing.assert_allclose(first, images.flatten(1), rtol=1e-5)  # its epsilon, 1e-5, in a root
    outside = torch.nn.Dropout(0.5).train()
    assert outside(torch.ones(100)).min() == 0 and outside.training  # elsewhere nothing is changed
