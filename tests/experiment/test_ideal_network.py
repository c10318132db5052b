"""A network that is the data: the ideal denoiser of a split, in the configuration, in training and in sampling."""

import json

import pytest
import torch

from dpmot.diffusion import network
from dpmot.experiment.config import ConfigError, load
from dpmot.experiment.jobs import Jobs
from dpmot.experiment.layout import Layout
from dpmot.experiment.missing import missing_data
from dpmot.experiment.stages import prepare, sample, train
from dpmot.experiment.stages.sample import LoadedMethod
from dpmot.images import to_float
from dpmot.runtime import closure

pytestmark = pytest.mark.usefixtures("one_thread")
NETWORKS = {"held_out": {"kind": "ideal", "options": {"split": "C"}}, "training": {"kind": "ideal"}}
AS_CODE = {"start": "copy", "sampler": "ddim", "targets": "as_code", "level": "as_code", "nfe": "as_code"}
METHODS = {name: {"network": name, **AS_CODE} for name in NETWORKS}


def configured(**changes):
    base = {
        "experiment": "x", "dataset": "digits", "nfe_budgets": [10], "num_samples": 200, "sample_seeds": [0],
        "networks": NETWORKS, "methods": METHODS,
    }  # fmt: skip
    return load([], [f"{key}={json.dumps(value)}" for key, value in {**base, **changes}.items()])


@pytest.mark.parametrize("key", ["training", "weights", "unet"])
def test_it_takes_neither_training_nor_weights(key):
    given = {"training": {"steps": 1}, "weights": "w.safetensors", "unet": {"channels": 8}}[key]
    with pytest.raises(ConfigError, match=rf"networks.training.{key}: kind ideal is the data itself; leave it out"):
        configured(networks={**NETWORKS, "training": {"kind": "ideal", key: given}})


def test_a_split_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match=r"networks.training.options: .* is of split A, B, C; got 'D'"):
        configured(networks={**NETWORKS, "training": {"kind": "ideal", "options": {"split": "D"}}})


def test_it_fits_points_as_well_as_images():
    found = configured(dataset="gaussians").networks
    assert found["training"].kind == "ideal"


def test_the_audit_of_cifar10_takes_the_authors_levels(tmp_path):
    jobs = Jobs(load(["config/cifar10_audit.yaml"], [f"data_root={tmp_path}"]), Layout(tmp_path))
    for method, counted in (("atoms", [0, 0, 0]), ("denoised", [2, 3, 11]), ("memorised", [2, 3, 11])):
        cells = {cell.nfe_budget: cell for cell in jobs.sample(method).task.cells}
        chosen = [cells[budget] for budget in (5, 10, 50)]
        assert [cell.nfe for cell in chosen] == counted and jobs.sample(method).task.method.split == "C"
        # in [0, 1], as their code has it: latents at level L - steps, chain from level L - steps / 5
        assert [round(cell.sigma_atoms / 2, 4) for cell in chosen] == [0.0116, 0.0139, 0.0609]
        assert [round(cell.sigma_start / 2, 4) for cell in chosen] == [0.01, 0.0104, 0.0139]
    assert "classify" not in [job.name for job in jobs.compute()]


def test_weights_of_features_that_are_not_there_are_named_like_missing_images(tmp_path):
    config = load(["config/cifar10_audit.yaml"], [f"data_root={tmp_path}"])
    assert "cifar10" in missing_data(config)
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10/cifar10.npz").touch()
    assert "Missing in " in missing_data(config) and "resnet56-4bfd9763.th" in missing_data(config)


def test_a_metric_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match=r'No metric "fid" in dpmot/metrics/: found calibration, copies, ct,'):
        configured(metrics=["fid"])


def test_latents_of_held_out_images_come_back_exactly_or_as_training_images(tmp_path):
    layout = Layout(tmp_path)
    jobs = Jobs(configured(), layout)
    prepare.run(jobs.prepare(), layout)
    parts = train.read_data(layout.data)[0]
    for name, split in (("held_out", "C"), ("training", "A")):
        train.run(jobs.train(name), layout)
        held = network.load(layout.network(name)).denoiser(0).model.points
        assert torch.equal(held, to_float(parts[split].raw))
        job = jobs.sample(name)
        (cell,) = job.task.cells
        drawn, counted = LoadedMethod.load(job, layout).draw(cell)
        assert counted == 3  # a fifth of ten steps, and the final denoising
        distances = torch.cdist(drawn["images"].flatten(1).double(), parts[split].raw.flatten(1).double())
        # sigma .028 in 64 dimensions is .22 long, images of the digits are at least .6 apart
        assert distances.min(1).values.max() == 0
        if split == "C":
            assert torch.equal(drawn["images"], parts["C"].raw[drawn["source"]])


def test_its_code_is_what_sampling_depends_on(tmp_path):
    code = Jobs(configured(), Layout(tmp_path)).sample("held_out").code
    assert "dpmot.diffusion.networks.ideal" in code
    assert any(path.name == "ideal.py" for path in closure.closure(code))
    assert sample.__name__ in code
