"""What a run costs, said before it starts."""

import re

import pytest

from dpmot.diffusion.flops import TRAINING, evaluation
from dpmot.experiment import grid
from dpmot.experiment.config import load
from dpmot.experiment.cost import RATE, cost, training_cost
from dpmot.plugins import ROOT


def of(name, *overrides):
    return cost(load([ROOT / "config" / f"{name}.yaml"], overrides))


def test_images_and_evaluations_are_counted():
    config = load([ROOT / "config" / "smoke.yaml"], ["coupling=null"])
    told = cost(config)
    assert f"3 networks see {2 * 200 * 64 + 2 * 30 * 64:,} images" in told  # two networks, a student of two stages
    cells = [cell for name in config.methods for cell in grid.cells(config, name)]
    spent = config.num_samples * sum(cell.nfe for cell in cells if not cell.reason)
    searched = config.selection  # with as many samples as a method has in all
    spent += config.num_samples * len(config.sample_seeds) * searched.nfe * len(searched.sigmas)
    assert f"samples take {spent:,} network evaluations" in told
    assert "was not measured" in told and "billion" not in told  # digits' shape is not known before they are read


def test_one_training_states_its_own_cost():
    config = load([ROOT / "config" / "cifar10.yaml"], ["device=cpu"])
    told = training_cost(config, "edm")
    assert told.startswith("edm: sees 51,200,000 images; its networks' operations are ") and "sampling" not in told
    assert training_cost(load([ROOT / "config" / "fashion_mnist.yaml"]), "edm") == ""  # loaded
    student = "networks={student: {distillation: consistency, teacher: edm, training: {steps: 10}}}"
    loaded = load(
        [ROOT / "config" / "fashion_mnist_atoms.yaml"], [student]
    )  # its teacher's U-Net is in no configuration
    assert training_cost(loaded, "student") == "student: sees 1,280 images (students ask their teachers besides)"


def test_the_search_for_sigma_star_is_counted():
    without, whole = of("fashion_mnist", "selection={sigmas: [1]}"), of("fashion_mnist")
    first, second = (int(re.search(r"take ([\d,]+) network", told)[1].replace(",", "")) for told in (without, whole))
    assert second - first == 3 * 1000 * 50  # three more candidates


def test_minutes_are_told_of_the_same_configuration_only():
    minutes = "the jobs of the committed run took 52 minutes together"
    assert minutes in of("digits") and minutes in of("digits", "figures=[]")
    assert minutes not in of("digits", "num_samples=50000") and "was not measured" in of("digits", "num_samples=50000")


def test_operations_of_large_experiments_are_counted_on_shapes(monkeypatch):
    monkeypatch.delenv("DPMOT_DATA", raising=False)
    told = of("cifar10", "networks={ddpm: {training: {steps: 1000, snapshots: []}}}")
    unet = {"channels": 128, "multipliers": [1, 2, 2, 2], "blocks": 2, "attention": [1], "embedding": 512}
    students = 3 * 50_000 + 2 * 100_000 + 200_000
    images = 128 * (1000 + 2 * 400_000 + students)
    days = TRAINING * evaluation(unet, (3, 32, 32)) * images / RATE / 86400
    found = re.search(r"operations are ([\d,]+) days of training and [\d,]+ days of sampling at 60 billion", told)
    assert float(found[1].replace(",", "")) == pytest.approx(days, abs=1)


def test_on_a_gpu_no_time_is_claimed(monkeypatch):
    monkeypatch.delenv("DPMOT_DATA", raising=False)
    assert "billion" not in of("cifar10", "device=cuda")
