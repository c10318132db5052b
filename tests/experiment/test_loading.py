"""Networks that are loaded, not trained: what is checked before they are used."""

import hashlib
import shutil

import pytest
import torch
from safetensors.torch import save_file

from dpmot.diffusion import network
from dpmot.diffusion.unet import UNet
from dpmot.experiment.config import ConfigError
from dpmot.experiment.config import load as load_config
from dpmot.experiment.jobs import Jobs, Train
from dpmot.experiment.layout import Layout
from dpmot.experiment.plan import Network
from dpmot.experiment.stages import _rewiring, classify, prepare, train
from dpmot.experiment.stages._prepared import Part
from dpmot.plugins import ROOT

pytestmark = pytest.mark.usefixtures("one_thread")
PARTS = {"A": Part(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64))}
STUDENT = {"distillation": "progressive", "teacher": "edm", "training": {"steps": 1}}
CARD = {"kind": "edm", "options": {"sigma_data": 0.75}, "unet": {"channels": 8}}


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    tensors = UNet(1, channels=8).state_dict()
    torch.save(tensors, tmp_path / "w.pt")
    save_file(tensors, tmp_path / "w.safetensors")
    return tmp_path


def load(file, **changes):
    return train._load(Train("s", Network(**{**CARD, "weights": str(file), **changes}), 0), PARTS)


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_tensors_load_into_the_network_that_the_configuration_describes(weights, name):
    facts, found = load(weights / name)
    assert facts["kind"] == "edm" and facts["shape"] == [1, 8, 8] and facts["published"]["verified"] is False
    expected = torch.load(weights / "w.pt", weights_only=True)
    assert all(torch.equal(found[None][key], expected[key]) for key in expected)
    network.save(weights / "mine.safetensors", facts, found)
    again, same = load(weights / "mine.safetensors")
    assert again.pop("loaded") == {"sha256": hashlib.sha256((weights / "mine.safetensors").read_bytes()).hexdigest()}
    assert again == facts and all(torch.equal(same[None][key], expected[key]) for key in expected)


def test_what_is_kept_of_a_checkpoint_is_one_network_by_our_names(weights):
    tensors = torch.load(weights / "w.pt", weights_only=True)
    inside = {f"module.{name}": tensor.double() for name, tensor in tensors.items()}
    inside["module.embed.0.bias"] = inside["module.embed.2.bias"]  # tied
    torch.save({"model": {name: tensor + 1 for name, tensor in inside.items()}, "model_ema": inside}, weights / "c.pt")
    facts, found = load(weights / "c.pt")
    expected = tensors | {"embed.0.bias": tensors["embed.2.bias"]}
    assert found[None].keys() == expected.keys()
    network.save(weights / "mine.safetensors", facts, found)
    same = network.load(weights / "mine.safetensors").denoisers[None].model.state_dict()
    assert all(torch.equal(same[name], tensor) for name, tensor in expected.items())


def test_a_file_whose_hash_is_pinned_must_have_it(weights):
    right = hashlib.sha256((weights / "w.pt").read_bytes()).hexdigest()
    facts, _ = load(weights / "w.pt", sha256=right)
    assert facts["published"] == {"card": None, "sha256": right, "verified": True}
    wrong = right[:-1] + ("0" if right[-1] != "0" else "1")
    with pytest.raises(ValueError, match=rf"w.pt has sha256 {right}, its card says {wrong}"):
        load(weights / "w.pt", sha256=wrong)


def test_weights_of_another_architecture_name_the_file_and_what_does_not_fit(weights):
    with pytest.raises(ValueError, match=r"w.pt: The weights do not fit the architecture .*'channels': 16"):
        load(weights / "w.pt", unet={"channels": 16})


def test_tensors_without_a_kind_are_asked_what_they_are(weights):
    student = Network(**STUDENT, weights=str(weights / "w.pt"))
    with pytest.raises(ValueError, match=r"w.pt does not say what it is: give network s a kind, or a card"):
        train._load(Train("s", student, 0), PARTS)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"kind": "ddpm", "options": {}},
            r"is of kind edm with options {'sigma_data': 0.75}; give these, not kind ddpm",
        ),
        ({"options": {"sigma_max": 40.0}}, r"give these, not kind edm with {'sigma_max': 40.0}"),
    ],
)
def test_a_file_of_ours_must_be_what_the_configuration_plans_with(weights, changes, said):
    facts, found = load(weights / "w.pt")
    network.save(weights / "mine.safetensors", facts, found)
    load(weights / "mine.safetensors", options={"sigma_data": 0.75, "sigma_max": 80.0})  # a default, spelled out
    with pytest.raises(ValueError, match=said):
        load(weights / "mine.safetensors", **changes)


def test_students_need_the_step_counts_they_were_made_for(weights):
    facts, found = load(weights / "w.pt")
    twin = {key: tensor.clone() for key, tensor in found[None].items()}
    network.save(weights / "s.safetensors", {**facts, "step_counts": [1, 2]}, {1: found[None], 2: twin})
    file = str(weights / "s.safetensors")
    students = {**STUDENT, "weights": file, "step_counts": [2, 1]}
    assert set(train._load(Train("s", Network(**students), 0), PARTS)[1]) == {1, 2}
    for card in ({**CARD, "weights": file}, {**students, "step_counts": [4, 2, 1]}):
        with pytest.raises(
            ValueError, match=r"s.safetensors holds students of \[1, 2\] steps; distillation, teacher and"
        ):
            train._load(Train("s", Network(**card), 0), PARTS)


@pytest.mark.parametrize("count", [3, 20])
def test_a_network_of_other_classes_than_the_data_sets_is_refused(count):
    parts = {"A": Part(PARTS["A"].raw, torch.tensor([0, 1, 9, 2]))}
    train._check_classes(0, parts, "x")
    train._check_classes(10, parts, "x")
    with pytest.raises(
        ValueError, match=rf"x: a network of {count} classes does not fit a data set of 10; give 10 or 0"
    ):
        train._check_classes(count, parts, "x")


def test_images_of_another_shape_are_refused(weights):
    facts, _ = load(weights / "w.pt")
    with pytest.raises(
        ValueError, match=r"w.pt was made for images of shape \[1, 8, 8\], the data set has \[3, 8, 8\]"
    ):
        _rewiring.check_shape(facts, [3, 8, 8], "w.pt")


def test_a_classifier_whose_hash_is_pinned_must_have_it(tmp_path):
    file, layout = tmp_path / "classifier.safetensors", Layout(tmp_path)
    shutil.copy(ROOT / "results" / "reference" / "digits" / "weights" / "classifier.safetensors", file)
    config = load_config([ROOT / "config" / "smoke.yaml"], [f"classifier={{weights: {file}, sha256: {'a' * 64}}}"])
    jobs = Jobs(config, layout)
    prepare.run(jobs.prepare(), layout)
    with pytest.raises(ValueError, match=rf"{file} has sha256 .*, its card says a{{64}}"):
        classify.run(jobs.classify(), layout)
    with pytest.raises(ConfigError, match=r"classifier.*weights"):
        load_config([ROOT / "config" / "smoke.yaml"], [f"classifier={{sha256: {'a' * 64}}}"])
