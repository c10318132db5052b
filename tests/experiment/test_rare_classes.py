"""A classifier that cannot know a class of the data is refused before anything is trained."""

import numpy as np
import pytest
from PIL import Image

from dpmot import cli
from dpmot.experiment.config import ConfigError, load
from dpmot.plugins import ROOT

CONFIG = """
experiment: rare
dataset: folder
dataset_options: {size: 8, channels: 1}
nfe_budgets: [5]
num_samples: 20
sample_seeds: [0]
networks: {edm: {kind: edm, training: {steps: 1}}}
methods: {m: {network: edm, sampler: ddim}}
"""


def prepared(folder, counts, capsys, *overrides):
    """Exit status of preparing so many images of each class, and what is said."""
    for kind, count in counts.items():
        (folder / "images" / kind).mkdir(parents=True)
        for k in range(count):
            grey = np.random.default_rng(k).integers(0, 256, (8, 8)).astype(np.uint8)
            Image.fromarray(grey).save(folder / "images" / kind / f"{k}.png")
    (folder / "c.yaml").write_text(CONFIG)
    given = ["--results", str(folder), "--config", f"data_root={folder}", "experiment=rare", *overrides]
    return cli.main(["prepare", "--configfile", str(folder / "c.yaml"), *given]), capsys.readouterr().err


def test_a_class_without_an_image_in_split_b_is_refused_before_training(tmp_path, capsys):
    status, told = prepared(tmp_path, {"a": 30, "b": 30, "c": 1}, capsys)
    assert status == 1 and told.splitlines()[-1].startswith("dpmot prepare: folder: no image of class 2 is in split B")
    assert "each of the 3 classes more images" in told


def test_a_class_of_three_images_has_one_in_split_b(tmp_path, capsys):
    assert prepared(tmp_path, {"a": 30, "b": 30, "c": 3}, capsys)[0] == 0


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("num_atoms=21", "num_atoms = 21, but split A of folder holds 20 images; give at most that"),
        (
            "networks={edm: {unet: {classes: 3}}}",
            "networks.edm.unet: a network of 3 classes does not fit a data set of 2",
        ),
    ],
)
def test_what_the_images_cannot_give_is_refused_before_training(tmp_path, capsys, override, told):
    status, said = prepared(tmp_path, {"a": 30, "b": 30}, capsys, override)
    assert status == 1 and told in said.splitlines()[-1]


def test_without_a_classifier_a_rare_class_is_allowed(tmp_path, capsys):
    assert prepared(tmp_path, {"a": 30, "b": 30, "c": 1}, capsys, "features=[thumbnails]")[0] == 0


def test_a_loaded_classifier_of_other_classes_is_refused(tmp_path, capsys):
    weights = ROOT / "results" / "reference" / "digits" / "weights" / "classifier.safetensors"  # of ten classes
    given = f"classifier={{weights: {weights}}}"
    assert prepared(tmp_path, {"a": 30, "b": 30}, capsys, given)[0] == 0
    given = ["--results", str(tmp_path), "--config", f"data_root={tmp_path}", "experiment=rare", given]
    assert cli.main(["classify", "--configfile", str(tmp_path / "c.yaml"), *given]) == 1
    assert "is of a classifier of 10 classes, the data set has 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "told"),
    [
        (
            "networks={edm: {options: {sigma_data: 0.5}}}",
            r"networks.edm.weights: .* is of kind edm with options .*; give",
        ),
        (
            "dataset=mnist",
            r"networks.ddpm.weights: .* made for images of shape \[1, 8, 8\], the data set has \[1, 28, 28\]",
        ),
    ],
)
def test_weights_of_another_network_are_refused_by_the_plan(override, told):
    with pytest.raises(ConfigError, match=told):
        load([ROOT / "config" / "gate.yaml"], [override])
