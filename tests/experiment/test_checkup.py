"""`dpmot doctor` on a configured network: what it is given, what is remembered, and when the plan asks for it."""

import os
import shutil

import pytest
import torch

from dpmot import cli
from dpmot.diffusion import doctor as module
from dpmot.diffusion.doctor import Diagnosis
from dpmot.diffusion.examination import Finding
from dpmot.plugins import ROOT

WEIGHTS = ROOT / "results/reference/digits/weights/edm.safetensors"


def diagnosis(*findings):
    return Diagnosis((), findings, 8, 1.0, {})


@pytest.fixture
def told(monkeypatch):
    """What the doctor was given; it says what ``told["says"]`` holds."""
    given = {"says": diagnosis()}

    def stand_in(denoiser, images, **options):
        given.update(denoiser=denoiser, images=images, **options)
        return given["says"]

    monkeypatch.setattr(module, "doctor", stand_in)
    return given


@pytest.fixture
def own(tmp_path):
    """A configuration that loads weights from elsewhere."""
    shutil.copy(WEIGHTS, tmp_path / "edm.safetensors")
    (tmp_path / "own.yaml").write_text(
        "experiment: own\ndataset: digits\nnfe_budgets: [5]\nnum_samples: 200\nsample_seeds: [0]\n"
        f"networks: {{edm: {{kind: edm, options: {{sigma_data: 0.75}}, weights: {tmp_path}/edm.safetensors}}}}\n"
        "methods: {ddim: {network: edm, sampler: ddim}}\n"
    )
    return tmp_path


def dpmot(folder, verb, *more):
    return cli.main([verb, *more, "--configfile", str(folder / "own.yaml"), "--results", str(folder / "results")])


def test_a_plan_asks_for_the_doctor_until_the_network_was_checked(own, told, capsys):
    assert dpmot(own, "plan") == 0
    assert f"edm never checked: `dpmot doctor edm --configfile {own}/own.yaml`" in capsys.readouterr().out
    assert dpmot(own, "doctor", "edm") == 0
    assert told["images"].dtype == torch.uint8 and told["labels"] is None and told["denoiser"].sigma_min == 0.002
    capsys.readouterr()
    assert dpmot(own, "plan") == 0 and "never checked" not in capsys.readouterr().out


def test_other_weights_are_to_be_checked_again(own, told, capsys):
    dpmot(own, "doctor", "edm")
    os.utime(own / "edm.safetensors", (1, 1))  # a plan tells files apart by size and time
    capsys.readouterr()
    dpmot(own, "plan")
    assert "edm never checked" in capsys.readouterr().out


def test_a_mistake_is_exit_status_1_and_the_plan_goes_on_saying_it(own, told, capsys):
    told["says"] = diagnosis(Finding("wrong", "time reversed", "turn it round"))
    assert dpmot(own, "doctor", "edm") == 1
    assert "wrong: time reversed: turn it round" in capsys.readouterr().out
    dpmot(own, "plan")
    assert "mistakes were found in edm (time reversed)" in capsys.readouterr().out


def test_weights_beside_it_are_read_as_the_same_network(own, told):
    shutil.copy(WEIGHTS, own / "raw.safetensors")
    assert dpmot(own, "doctor", "edm", "--beside", str(own / "raw.safetensors")) == 0
    x = torch.zeros(2, 1, 8, 8)
    assert torch.equal(told["beside"](x, torch.tensor(1.0)), told["denoiser"](x, torch.tensor(1.0)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope"], 'No network "nope" in this experiment: found edm'),
        (["edm", "--beside", "missing.safetensors"], "missing.safetensors"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(own, told, arguments, message, capsys):
    assert dpmot(own, "doctor", *arguments) == 1
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_a_network_that_is_still_to_be_trained_is_trained_first(tmp_path, told, capsys):
    config = ["--configfile", str(ROOT / "config/digits.yaml"), "--results", str(tmp_path)]
    assert cli.main(["doctor", "ddpm", *config]) == 1
    assert "ddpm is not trained yet: run `dpmot train ddpm` first" in capsys.readouterr().err


def test_the_plan_is_silent_about_networks_of_this_project(tmp_path, capsys):
    assert cli.main(["plan", "--configfile", str(ROOT / "config/fashion_mnist.yaml"), "--results", str(tmp_path)]) == 0
    assert "never checked" not in capsys.readouterr().out
