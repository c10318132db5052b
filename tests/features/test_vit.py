"""The ViT classifier: transformers' own network with small random weights, read from a folder that it wrote."""

import hashlib
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dpmot._torchvision import make_importable
from dpmot.features import Extractor, Offer, vit

make_importable()
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor  # noqa: E402
from transformers.utils import logging  # noqa: E402

RGB = torch.randint(0, 256, (5, 3, 20, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
SQUARE = {"height": 32, "width": 32}


def written(folder, **config):
    torch.manual_seed(0)
    whole = {**SMALL, "image_size": 32, "patch_size": 8, "num_labels": 4, "initializer_range": 0.5, **config}
    ViTForImageClassification(ViTConfig(**whole)).save_pretrained(folder)
    vit.load.cache_clear()
    return folder


@pytest.fixture
def folder(tmp_path):
    logging.disable_progress_bar()
    yield written(tmp_path)
    vit.load.cache_clear()


def change(file, **keys):
    kept = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps({**kept, **keys}))
    vit.load.cache_clear()


def theirs(folder, processor, images=RGB):
    """Probabilities by transformers alone."""
    network = ViTForImageClassification.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return network(**processor([*images], return_tensors="pt")).logits.softmax(1).numpy()


PREPARED = {
    "default": {},
    "no normalisation": {"do_normalize": False},
    "no rescaling": {"do_rescale": False},
    "neither": {"do_normalize": False, "do_rescale": False},
    "to minus one and one": {"rescale_factor": 1 / 127.5, "image_mean": [1, 1, 1], "image_std": [1, 1, 1]},
    "ImageNet's statistics": {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
    "one mean for all": {"image_mean": [0.4], "image_std": [0.3]},
    "nearest": {"resample": 0},
    "Lanczos": {"resample": 1},
    "bicubic": {"resample": 3},
    "crop": {"size": {"height": 40, "width": 44}, "do_center_crop": True, "crop_size": SQUARE},
    "crop to an integer": {"size": {"shortest_edge": 36}, "do_center_crop": True, "crop_size": 32},
    "padded crop": {"do_resize": False, "do_center_crop": True, "crop_size": SQUARE},
    "an integer": {"size": 32},
    "a list": {"size": [32, 32]},
    "numbers for all channels": {"image_mean": 0.4, "image_std": 0.3},
    "padding": {"do_resize": False, "do_pad": True, "pad_size": SQUARE},
    "nothing said": {"do_center_crop": None, "crop_size": None, "do_pad": None, "do_convert_rgb": None},
    "older name": {"image_processor_type": None, "feature_extractor_type": "ViTFeatureExtractor", "size": 32},
    "fast": {"image_processor_type": "ViTImageProcessorFast"},
    "converted": {"do_convert_rgb": True},
    "dumped": {"_valid_processor_keys": ["images"], "processor_class": None, "offset": None, "do_flip": False},
}
NOT_FOLLOWED = {
    "no square": ({"size": {"shortest_edge": 32}}, "20 x 24 become 32 x 38, but the network takes 32 x 32"),
    "no resizing": ({"do_resize": False}, "20 x 24 become 20 x 24, but the network takes 32 x 32"),
    "another size": ({"size": {"height": 48, "width": 48}}, "become 48 x 48, but the network takes 32 x 32"),
    "another processor": ({"image_processor_type": "ConvNextImageProcessor"}, "type is ConvNext.*; ViTImage"),
    "their own code": ({"auto_map": {"AutoImageProcessor": "code.Mine"}}, "auto_map is not implemented"),
    "a share to crop": ({"crop_pct": 0.875}, "crop_pct is not implemented; allowed: crop_size, "),
    "flipped channels": ({"do_flip_channel_order": True}, "do_flip_channel_order is not implemented"),
    "a size of unknown keys": ({"size": {"edge": 32}}, "ViTImageProcessor cannot follow it"),
    "no deviation": ({"image_std": [0, 0, 0]}, "ViTImageProcessor cannot follow it"),
    "no factor": ({"rescale_factor": 0}, "ViTImageProcessor cannot follow it"),
    "two means": ({"image_mean": [0.5, 0.5]}, "ViTImageProcessor cannot follow it"),
    "no filter": ({"resample": None}, "`size` and `resample` must be specified"),
    "an unknown filter": ({"resample": 17}, "ViTImageProcessor cannot follow it"),
    "a filter that tensors lack": ({"resample": 4}, "ViTImageProcessor cannot follow it"),
    "a word for false": ({"do_normalize": "false"}, "do_normalize is 'false'; true and false are allowed"),
    "a number as text": ({"rescale_factor": "0.5"}, "ViTImageProcessor cannot follow it"),
    "more memory than there is": ({"size": {"height": 10**7, "width": 10**7}}, "ViTImageProcessor cannot follow it"),
    "four means": ({"image_mean": [0.5] * 4}, "ViTImageProcessor cannot follow it"),
    "not a number": ({"image_mean": [float("nan")] * 3}, "pixels become infinite"),
}  # fmt: skip


@pytest.mark.parametrize("name", PREPARED)
def test_images_are_prepared_as_transformers_own_processor_does(name, folder):
    options = {"size": SQUARE, **PREPARED[name]}
    known = {key: value for key, value in options.items() if key in vit.READ}
    change(folder / vit.PREPROCESSOR, **{"image_processor_type": "ViTImageProcessor", **options})
    expected = theirs(folder, ViTImageProcessor(**known))
    # float32 products of other batch sizes through two layers; at 0..255 without rescaling logits are larger
    np.testing.assert_allclose(vit.extract(RGB, weights=folder, tile=2).probabilities, expected, atol=1e-5)


@pytest.mark.parametrize("name", NOT_FOLLOWED)
def test_a_key_that_is_not_followed_is_refused_by_name_before_and_at_extraction(name, folder):
    options, message = NOT_FOLLOWED[name]
    change(folder / vit.PREPROCESSOR, **{"size": SQUARE, **options})
    with pytest.raises(ValueError, match=message) as caught:
        vit.extract(RGB, weights=folder)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=message):
        Extractor("vit", Offer(given={"weights": str(folder)}, shape=(3, 20, 24))).check()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "bert"}, "holds a bert: give a ViT classifier"),
        ({"model_type": "deit"}, "holds a deit: give a ViT classifier"),
        ({"num_channels": 1}, "num_channels is 1; 3 is implemented"),
        ({"problem_type": "multi_label_classification"}, "problem_type is multi_label.*; single_label_cl"),
        ({"problem_type": "regression"}, "problem_type is regression"),
        ({"quantization_config": {"bits": 4}}, "quantization_config is .*; none is implemented"),
        ({"image_size": [32, 32, 3]}, "image_size is .32, 32, 3.; one or two positive integers are allowed"),
        ({"image_size": "32"}, "no ViT classifier that transformers can load"),
        ({"patch_size": 16}, "no ViT classifier that transformers can load"),
        ({"num_hidden_layers": 3}, "lacks the weights "),
        ({"num_hidden_layers": 1}, "holds weights that are not a ViT classifier's: "),
        ({"hidden_size": 24}, "no ViT classifier that transformers can load"),
        ({"hidden_act": "none such"}, "no ViT classifier that transformers can load"),
        ({"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 0, "b": 1}}, "no ViT classifier that"),
    ],
)  # fmt: skip
def test_a_configuration_that_is_not_of_these_weights_is_refused(config, message, folder):
    change(folder / vit.CONFIG, **config)
    with pytest.raises(ValueError, match=message) as caught:
        vit.extract(RGB, weights=folder)
    assert "\n" not in str(caught.value)


def test_a_network_of_rectangles_and_options_that_change_no_number_are_right(tmp_path):
    folder = written(tmp_path, image_size=[16, 48], hidden_dropout_prob=0.5, output_hidden_states=True)
    change(folder / vit.CONFIG, return_dict=False)
    found = vit.extract(RGB, weights=folder)
    change(folder / vit.CONFIG, return_dict=True)
    expected = theirs(folder, ViTImageProcessor(size={"height": 16, "width": 48}))
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["shards", "pickle", "half", "bfloat16"])
def test_weights_in_every_form_that_transformers_writes_are_the_same(kind, folder):
    before = vit.extract(RGB, weights=folder).probabilities
    tensors = load_file(folder / vit.WEIGHTS)
    if kind == "pickle":
        torch.save(tensors, folder / "pytorch_model.bin")
    elif kind == "shards":
        halves = {"a.safetensors": sorted(tensors)[::2], "b.safetensors": sorted(tensors)[1::2]}
        for name, keys in halves.items():
            save_file({key: tensors[key] for key in keys}, folder / name, {"format": "pt"})
        where = {key: name for name, keys in halves.items() for key in keys}
        (folder / f"{vit.WEIGHTS}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    else:
        dtype = getattr(torch, {"half": "float16"}.get(kind, kind))
        save_file({k: t.to(dtype) for k, t in tensors.items()}, folder / vit.WEIGHTS, {"format": "pt"})
        change(folder / vit.CONFIG, dtype=str(dtype).partition(".")[2])
        processor = ViTImageProcessor(size=SQUARE)
        # the rounded weights in float32
        np.testing.assert_allclose(vit.extract(RGB, weights=folder).probabilities, theirs(folder, processor), atol=1e-5)
        return
    (folder / vit.WEIGHTS).unlink()
    vit.load.cache_clear()
    assert len(vit.members(folder)) == {"pickle": 2, "shards": 4}[kind]
    np.testing.assert_array_equal(vit.extract(RGB, weights=folder).probabilities, before)
    if kind == "shards":
        (folder / "b.safetensors").unlink()
        with pytest.raises(FileNotFoundError, match=r"No b.safetensors in .*index.json names: download it"):
            vit.members(folder)


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.complex64])
@pytest.mark.parametrize("name", [vit.WEIGHTS, "pytorch_model.bin"])
def test_tensors_that_are_no_floats_are_refused(name, dtype, folder):
    tensors = load_file(folder / vit.WEIGHTS)
    tensors["classifier.weight"] = tensors["classifier.weight"].to(dtype)
    (folder / vit.WEIGHTS).unlink()
    save_file(tensors, folder / name, {"format": "pt"}) if name == vit.WEIGHTS else torch.save(tensors, folder / name)
    vit.load.cache_clear()
    with pytest.raises(ValueError, match=rf"{name}: classifier.weight is \S+, floats are allowed"):
        vit.extract(RGB, weights=folder)


def test_a_file_that_is_cut_short_is_refused(folder):
    for kept in (0, 4, 3000):
        (folder / vit.WEIGHTS).write_bytes((folder / vit.WEIGHTS).read_bytes()[:kept])
        vit.load.cache_clear()
        with pytest.raises(ValueError, match=r"model.safetensors is no file of weights"):
            vit.extract(RGB, weights=folder)
        written(folder)


def test_a_pickle_that_would_run_code_is_refused(folder):
    class Attack:
        def __reduce__(self):
            return (open, (str(folder / "owned"), "w"))

    (folder / vit.WEIGHTS).unlink()
    torch.save({"vit.layernorm.weight": Attack()}, folder / "pytorch_model.bin")
    vit.load.cache_clear()
    with pytest.raises(ValueError, match=r"pytorch_model.bin is no file of weights") as caught:
        vit.extract(RGB, weights=folder)
    assert not (folder / "owned").exists() and "\n" not in str(caught.value)


def test_probabilities_are_those_of_the_classifier_and_features_its_class_token(folder):
    found = vit.extract(RGB, weights=folder, tile=2)
    network = ViTForImageClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        again = network.classifier(torch.from_numpy(found.values.copy())).softmax(1)
    np.testing.assert_allclose(found.probabilities, theirs(folder, ViTImageProcessor(size=SQUARE)), atol=1e-5)
    np.testing.assert_allclose(again, found.probabilities, atol=1e-5)
    assert found.extractor == "vit" and found.values.shape == (5, 32) and np.ptp(found.values, axis=0).min() > 0


def test_grey_images_are_repeated_and_the_folders_own_normalisation_is_used(folder):
    grey = RGB[:, :1]
    plain = vit.extract(grey, weights=folder).values
    np.testing.assert_array_equal(plain, vit.extract(grey.repeat(1, 3, 1, 1), weights=folder).values)
    change(folder / vit.PREPROCESSOR, image_mean=[0, 0, 0], image_std=[1, 1, 1])
    assert [file.name for file in vit.members(folder)] == [vit.CONFIG, vit.WEIGHTS, vit.PREPROCESSOR]
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
    for name in vit.FOREIGN:
        (folder / name).write_text("{}")
        with pytest.raises(ValueError, match=f"{name} is not read"):
            vit.extract(RGB, weights=folder)
        (folder / name).unlink()
    (folder / vit.CONFIG).write_text("no json")
    with pytest.raises(ValueError, match=r"config.json holds no JSON object"):
        vit.extract(RGB, weights=folder)
    (folder / vit.WEIGHTS).unlink()
    with pytest.raises(FileNotFoundError, match=r"No model.safetensors in .*: give a folder that transformers wrote"):
        vit.extract(RGB, weights=folder)
