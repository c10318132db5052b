"""What a run costs, said before it starts."""

import json
import re

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from torch.utils.flop_counter import FlopCounterMode

from dpmot.diffusion import adapters, network
from dpmot.diffusion.flops import TRAINING, evaluation
from dpmot.experiment import grid
from dpmot.experiment.config import load, validate
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


def test_what_is_thrown_away_is_said_to_come_on_top():
    told = cost(load([ROOT / "config" / "smoke.yaml"], ["methods={edm: {start_options: {balanced: true}}}"]))
    assert "network evaluations (besides samples that are thrown away), " in told
    assert "thrown away" not in of("smoke")


def test_one_training_states_its_own_cost():
    config = load([ROOT / "config" / "cifar10.yaml"], ["device=cpu"])
    told = training_cost(config, "edm")
    assert told.startswith("edm: sees 51,200,000 images; its networks' operations are ") and "sampling" not in told
    assert training_cost(load([ROOT / "config" / "fashion_mnist.yaml"]), "edm") == ""  # loaded
    student = "networks={student: {distillation: consistency, teacher: edm, training: {steps: 10000}}}"
    atoms = load([ROOT / "config" / "fashion_mnist_atoms.yaml"], [student])
    told, card = training_cost(atoms, "student"), network.load(ROOT / atoms.networks["edm"].weights).card
    spent = TRAINING * evaluation(card["unet"], (1, 28, 28)) * 1_280_000 / RATE / 60  # of its teacher's file
    assert told.startswith("student: sees 1,280,000 images (students ask their teachers besides); its networks'")
    assert f"operations are {spent:,.0f} minutes of training" in told


def test_the_search_for_sigma_star_is_counted():
    without, whole = of("fashion_mnist", "selection={sigmas: [1]}"), of("fashion_mnist")
    first, second = (int(re.search(r"take ([\d,]+) network", told)[1].replace(",", "")) for told in (without, whole))
    assert second - first == 3 * 1000 * 50  # three more candidates


def test_minutes_are_told_of_the_same_configuration_only():
    seconds = pd.read_csv(ROOT / "results" / "reference" / "digits" / "timings.csv")["wall_s"].sum()
    minutes = f"the jobs of the committed run took {seconds / 60:.0f} minutes together"
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


def loaded(tmp_path, save, **changes):
    """The cost of Fashion-MNIST with the DDPM's network loaded from what ``save`` writes into a folder."""
    path = save(tmp_path)
    edm = {"networks": {"ddpm": {"kind": "ddpm", "weights": str(path), "training": {"steps": 9}, **changes}}}
    methods = {"m": {"network": "ddpm", "sampler": "ddim"}}
    given = {"dataset": "mnist", "nfe_budgets": [10], "num_samples": 1000, "sample_seeds": [0], "tables": []}
    return cost(validate({"experiment": "x", **given, **edm, "methods": methods}))


def minutes(operations):
    return f"operations are {round(operations * 10 * 1000 / RATE / 60)} minutes of sampling"


def test_a_loaded_network_is_counted_as_its_file_has_it(tmp_path):
    unet = {"channels": 64, "multipliers": [1, 2]}
    card = {"kind": "ddpm", "options": {}, "shape": [1, 28, 28], "unet": unet}

    def own(folder):
        network.save(folder / "own.safetensors", card, {None: network.build(card).state_dict()})
        return folder / "own.safetensors"

    told, default = loaded(tmp_path, own), evaluation({}, (1, 28, 28))
    assert minutes(evaluation(unet, (1, 28, 28))) in told and minutes(default) not in told


def test_weights_that_do_not_say_what_they_are_of_are_not_counted(tmp_path):
    def foreign(folder):
        torch.save({"w": torch.zeros(1)}, folder / "w.pt")
        return folder / "w.pt"

    told = loaded(tmp_path, foreign)
    assert told.endswith("; operations of ddpm are not counted: the weights do not say what they are of")


@pytest.mark.slow
def test_a_network_of_diffusers_is_counted_by_its_config(tmp_path):
    blocks = {"down_block_types": ["DownBlock2D"] * 2, "up_block_types": ["UpBlock2D"] * 2, "norm_num_groups": 8}
    config = {"_class_name": "UNet2DModel", "sample_size": 28, "in_channels": 1, "out_channels": 1, **blocks}
    config["block_out_channels"] = [32, 64]
    model = adapters.build({"config": config, "timestep": (1, 0)}).eval()

    def diffusers(folder):
        (folder / "config.json").write_text(json.dumps(config))
        save_file({"w": torch.zeros(1)}, folder / "diffusion_pytorch_model.safetensors")
        return folder

    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(torch.zeros(1, 1, 28, 28), torch.zeros(1))
    assert minutes(counter.get_total_flops()) in loaded(tmp_path, diffusers)
