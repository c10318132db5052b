"""Options of data sets are refused by the data set's own file, before any image is read, in one line each."""

import pytest

from dpmot import plugins
from dpmot.data import declared_shape

REFUSED = [
    ("folder", {"size": 0}, r"size: 0 is no integer in 1\.\.4096"),
    ("folder", {"size": -8}, "size: -8"),
    ("folder", {"size": 1_000_000}, "size: 1000000"),
    ("folder", {"size": 16.0}, r"size: 16\.0"),
    ("folder", {"size": True}, "size: True"),
    ("folder", {"channels": 2}, r"channels: 2 is not 1 \(grey\) or 3 \(colour\)"),
    ("folder", {"channels": True}, "channels: True"),
    ("folder", {"resize": "nearest"}, "resize: 'nearest' is not one of box, bilinear"),
    ("folder", {"folder": ""}, "folder: '' is no name below the data root"),
    ("folder", {"folder": "../images"}, "folder: '../images'"),
    ("folder", {"folder": "."}, r"folder: '\.'"),
    ("folder", {"folder": "a\nb"}, r"folder: 'a\\nb'"),
    ("folder", {"num_train": 0}, "num_train: 0 is no integer of at least 1"),
    ("folder", {"num_train": 2.5}, r"num_train: 2\.5"),
    ("celeba", {"crop": "center_140"}, 'crop: no crop "center_140": choose centre_140 or face_128'),
    ("celeba", {"attributes": ["male"]}, 'attributes: no attribute "male": choose among 5_o_Clock_Shadow'),
    ("celeba", {"attributes": ["Male", "Male"]}, "attributes: Male, Male name one twice"),
    ("celeba", {"num_train": 162_771}, r"num_train: 162771 is no integer in 1\.\.162770"),
    ("ffhq", {"num_train": 56_001}, "num_train: 56001"),
    ("cifar10", {"num_train": 40_001}, "num_train: 40001"),
    ("digits", {"num_train": 600}, r"num_train: 600 is no integer in 1\.\.599"),
    ("mnist", {"num_train": -1}, "num_train: -1"),
    ("fashion_mnist", {"num_train": 50_001}, "num_train: 50001"),
    ("gaussians", {"num_components": 24}, "num_components: must be a square"),
    ("gaussians", {"std": float("nan")}, "std: must be positive and finite, got nan"),
    ("gaussians", {"spacing": float("inf")}, "spacing: must be positive and finite, got inf"),
    ("gaussians", {"num_points": [25, 25, 2.5e1]}, r"num_points: 25\.0 is no integer"),
    ("gaussians", {"num_points": [24, 100, 100]}, "num_points: must be three sizes"),
    ("gaussians", {"seed": -1}, "seed: -1"),
    ("stand_in", {"shape": [3, 0, 8]}, "shape: 0"),
    ("stand_in", {"num_classes": 0}, "num_classes: 0"),
    ("stand_in", {"num_classes": 300}, "num_images: must be three sizes"),
]


@pytest.mark.parametrize(("name", "options", "message"), REFUSED)
def test_an_option_that_is_not_allowed_is_refused_before_and_by_loading(name, options, message, tmp_path):
    module = plugins.find("data", name)
    for function in (module.check, lambda **given: module.load(root=tmp_path, **given)):
        with pytest.raises(ValueError, match=f"^{message}") as caught:
            function(**options)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options", "shape"),
    [
        ("folder", {"size": 48, "channels": 1}, (1, 48, 48)),
        ("folder", {"resize": "box"}, (3, 64, 64)),
        ("stand_in", {"shape": [1, 5, 7], "seed": 3}, (1, 5, 7)),
        ("digits", {}, (1, 8, 8)),
        ("gaussians", {"num_components": 4}, None),
        ("celeba", {"crop": "face_128"}, (3, 64, 64)),
    ],
)
def test_the_shape_of_an_image_is_known_before_loading(name, options, shape):
    assert declared_shape(plugins.find("data", name), options) == shape
