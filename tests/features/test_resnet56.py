"""ResNet-56: the architecture, and the published weights where they are at hand."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from dpmot.features import resnet56


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "stand-in.pt"
    torch.save({"module." + name: t for name, t in resnet56.ResNet56().state_dict().items()}, path)
    return path


@pytest.fixture(scope="module")
def published():
    root = os.environ.get("DPMOT_DATA")
    if not root:
        pytest.skip("DPMOT_DATA is not set: no published weights")
    weights, images = Path(root, "cifar10-resnet56/resnet56-4bfd9763.th"), Path(root, "cifar10/cifar10.npz")
    for path in (weights, images):
        if not path.is_file():
            pytest.skip(f"{path} does not exist")
    with np.load(images, allow_pickle=False) as file:
        return weights, file["x_test"], file["y_test"]


def test_the_published_weights_are_found_below_the_data_root_and_checked_by_their_whole_hash(tmp_path):
    resnet56.published.cache_clear()
    with pytest.raises(FileNotFoundError, match=r"No ResNet-56 weights at .*resnet56-4bfd9763.th: download them"):
        resnet56.published(tmp_path)
    path = tmp_path / resnet56.EXPECTED[0]
    path.parent.mkdir()
    path.write_bytes(b"cut off")
    with pytest.raises(
        ValueError, match=r"resnet56-4bfd9763.th: sha256 is [0-9a-f]{64}, the published one 4bfd97631478"
    ):
        resnet56.published(tmp_path)


def test_resnet56_has_56_weighted_layers_and_the_published_number_of_parameters():
    network = resnet56.ResNet56()
    layers = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    assert len(layers) == 56
    # He et al. 2016, table 6: 0.85M
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(0.85e6, rel=0.01)


def test_a_shortcut_of_option_a_subsamples_and_pads_with_zero_channels():
    block = resnet56.Block(2, 4, stride=2).eval()
    torch.nn.init.zeros_(block.conv2.weight)  # the residual branch is silent: the block is relu(shortcut)
    x = torch.rand(1, 2, 4, 4)
    out = block(x)
    assert torch.equal(out[:, 1:3], x[:, :, ::2, ::2])
    assert (out[:, [0, 3]] == 0).all()


def test_grey_levels_are_normalised_by_the_imagenet_statistics(weights):
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.manual_seed(0))
    x = images.double() / 255
    x = (x - torch.tensor(resnet56.MEAN).view(3, 1, 1)) / torch.tensor(resnet56.STD).view(3, 1, 1)
    with torch.no_grad():
        expected, logits = resnet56.load(weights)(x.float())
    found = resnet56.extract(images, weights=weights)
    assert found.values.shape == (3, 64) and found.probabilities.shape == (3, 10)
    # float32 through 56 layers in another batch size and normalised in another order
    np.testing.assert_allclose(found.values, expected.numpy(), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found.probabilities, logits.softmax(1).numpy(), rtol=1e-3, atol=1e-4)


def test_missing_and_foreign_weights_and_grey_images_are_refused(tmp_path, weights):
    with pytest.raises(FileNotFoundError, match="No ResNet-56 weights"):
        resnet56.load(tmp_path / "nothing")
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other")
    with pytest.raises(ValueError, match="does not hold the weights of a CIFAR-10 ResNet-56"):
        resnet56.load(tmp_path / "other")
    with pytest.raises(ValueError, match="C = 3"):
        resnet56.extract(torch.zeros(1, 1, 32, 32, dtype=torch.uint8), weights=weights)


def test_weights_are_read_in_any_usual_wrapping_or_said_to_be_none(tmp_path, weights):
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.manual_seed(0))
    plain = resnet56.extract(images, weights=weights).values
    tensors = {name.removeprefix("module."): t for name, t in torch.load(weights, weights_only=True).items()}
    path = tmp_path / "changed.pth"

    def extracted(stored, **how):
        torch.save(stored, path, **how)
        resnet56.load.cache_clear()
        return resnet56.extract(images, weights=path).values

    wrapped = [{f"{prefix}{k}": t for k, t in tensors.items()} for prefix in ("_orig_mod.", "_orig_mod.module.")]
    for stored in (tensors, {"state_dict": tensors}, *wrapped):
        np.testing.assert_array_equal(extracted(stored), plain)
    np.testing.assert_array_equal(extracted(tensors, _use_new_zipfile_serialization=False), plain)
    wrong = {
        "no file of weights": (torch.zeros(2), [1, 2], {0: torch.zeros(2)}, resnet56.ResNet56(), {"state_dict": None}),
        "linear.weight is torch.int8, floats": ({**tensors, "linear.weight": tensors["linear.weight"].to(torch.int8)},),
        "linear.bias is torch.complex64, floats": ({**tensors, "linear.bias": tensors["linear.bias"] * 1j},),
        "does not hold the weights of a CIFAR-10": ({**tensors, "more": torch.zeros(1)}, {}),
    }
    for message, each in wrong.items():
        for stored in each:
            with pytest.raises(ValueError, match=message) as caught:
                extracted(stored)
            assert "\n" not in str(caught.value)
    path.write_bytes(b"no zip")
    resnet56.load.cache_clear()
    with pytest.raises(ValueError, match="no file of weights"):
        resnet56.extract(images, weights=path)


def test_the_published_weights_classify_the_first_500_test_images(published):
    weights, images, labels = published
    features = resnet56.extract(torch.from_numpy(images[:500]), weights=weights)
    accuracy = (features.probabilities.argmax(1) == labels[:500]).mean()
    # 93.39 % on all 10,000, of which 25 were JPEG copies; 500 images leave a binomial standard error of .011
    assert accuracy == pytest.approx(0.93, abs=0.04)
