"""The ViT classifier: transformers' own network with small random weights, read from a folder that it wrote."""

import hashlib
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dpmot._torchvision import make_importable
from dpmot.features import vit

make_importable()
from transformers import ViTConfig, ViTForImageClassification  # noqa: E402

RGB = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=32, patch_size=8,
        num_labels=4, initializer_range=0.5,
    )  # fmt: skip
    ViTForImageClassification(config).save_pretrained(tmp_path)
    vit.load.cache_clear()
    yield tmp_path
    vit.load.cache_clear()


def test_probabilities_are_those_of_the_classifier_and_features_its_class_token(folder):
    found = vit.extract(RGB, weights=folder, tile=2)
    network = ViTForImageClassification.from_pretrained(folder).eval()
    pixels = torch.nn.functional.interpolate(RGB / 255, size=(32, 32), mode="bilinear", antialias=True)
    with torch.no_grad():
        logits = network(pixel_values=(pixels - 0.5) / 0.5).logits
        again = network.classifier(torch.from_numpy(found.values.copy()))
    np.testing.assert_allclose(found.probabilities, logits.softmax(1), atol=1e-5)
    np.testing.assert_allclose(again, logits, atol=1e-4)
    assert found.extractor == "vit" and found.values.shape == (5, 32) and np.ptp(found.values, axis=0).min() > 0


def test_grey_images_are_repeated_and_the_folders_own_normalisation_is_used(folder):
    grey = RGB[:, :1]
    plain = vit.extract(grey, weights=folder).values
    np.testing.assert_array_equal(plain, vit.extract(grey.repeat(1, 3, 1, 1), weights=folder).values)
    (folder / vit.PREPROCESSOR).write_text(json.dumps({"image_mean": [0, 0, 0], "image_std": [1, 1, 1]}))
    vit.load.cache_clear()
    assert [file.name for file in vit.members(folder)] == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]
    assert not np.allclose(plain, vit.extract(grey, weights=folder).values)


def test_what_is_missing_or_of_another_kind_is_said(folder):
    sha = hashlib.sha256((folder / vit.WEIGHTS).read_bytes()).hexdigest()
    vit.extract(RGB, weights=folder, sha256=sha)
    with pytest.raises(ValueError, match=rf"model.safetensors has sha256 {sha}, expected 00"):
        vit.extract(RGB, weights=folder, sha256="0" * 64)
    tensors = load_file(folder / vit.WEIGHTS)
    save_file({k: v for k, v in tensors.items() if "classifier" not in k}, folder / vit.WEIGHTS, {"format": "pt"})
    vit.load.cache_clear()
    with pytest.raises(ValueError, match=r"lacks the weights classifier.bias, classifier.weight: fine-tune it first"):
        vit.extract(RGB, weights=folder)
    config = json.loads((folder / vit.CONFIG).read_text())
    (folder / vit.CONFIG).write_text(json.dumps({**config, "model_type": "bert"}))
    with pytest.raises(ValueError, match=r"holds a bert: give a ViT classifier"):
        vit.extract(RGB, weights=folder)
    (folder / vit.WEIGHTS).rename(folder / "pytorch_model.bin")  # a pickle is not looked at
    with pytest.raises(FileNotFoundError, match=r"No model.safetensors in .*: give a folder that transformers wrote"):
        vit.extract(RGB, weights=folder)
