"""A configuration that extends another, and options that are refused before anything is trained."""

import os

import pytest

from dpmot.experiment.config import ConfigError, load
from dpmot.plugins import ROOT


def test_what_it_extends_is_found_from_here_and_from_the_projects_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load([ROOT / "config" / "digits_full.yaml"])["dataset"] == "digits"
    (tmp_path / "base.yaml").write_text((ROOT / "config" / "smoke.yaml").read_text(encoding="utf-8"))
    (tmp_path / "mine.yaml").write_text("extends: base.yaml\nexperiment: mine\n")
    assert load([tmp_path / "mine.yaml"])["experiment"] == "mine"


def test_a_configuration_that_extends_itself_is_refused(tmp_path):
    for one, other in (("a", "b"), ("b", "a")):
        (tmp_path / f"{one}.yaml").write_text(f"extends: {tmp_path}{os.sep}{other}.yaml\n")
    with pytest.raises(
        ConfigError, match=r"extends: .*b.yaml extends .*a.yaml extends .*b.yaml: a configuration cannot"
    ):
        load([tmp_path / "a.yaml"])


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ({"kind": "ddpm", "options": {"num_levels": 0}}, "DDPM needs at least 2 levels, got num_levels 0"),
        ({"kind": "ddpm", "options": {"num_levels": 4.5}}, r"options.num_levels: 4.5 is no integer"),
        ({"kind": "ddpm", "options": {"beta_min": 0.1, "beta_max": 0.02}}, "0 < beta_min <= beta_max < 1"),
        ({"kind": "edm", "options": {"sigma_min": -1}}, "0 < sigma_min < sigma_max, got num_levels 18, sigma_min -1"),
        ({"kind": "edm", "options": {"sigma_data": 0}}, "EDM needs sigma_data > 0"),
        ({"kind": "ncsnv2", "options": {"conditional": 2}}, r"options.conditional: 2 is no boolean"),
        ({"distillation": "consistency", "options": {"levels": 1}}, r"options.levels: 1 is no integer of at least 2"),
        (
            {"distillation": "knowledge", "step_counts": [1], "options": {"pairs": 0}},
            r"options.pairs: 0 is no integer of at least 1",
        ),
    ],
)
def test_options_of_a_network_are_checked_before_anything_is_trained(network, said):
    teacher = {"teacher": "ddpm"} if "distillation" in network else {}
    with pytest.raises(ConfigError, match=rf"networks.new.*{said}"):
        load(["config/smoke.yaml"], [f"networks={{new: { ({**network, **teacher, 'training': {'steps': 5}}) }}}"])


def test_an_exact_network_has_no_students():
    students = "{new: {distillation: consistency, teacher: exact, training: {steps: 5}}}"
    with pytest.raises(
        ConfigError, match=r"networks.new.teacher: exact is exact, there is nothing in it to train further"
    ):
        load(["config/toy2d.yaml"], [f"networks={students}"])


@pytest.mark.parametrize(
    ("protocol", "samples", "seeds"), [("edm", 50_000, 3), ("dpm-ot", 40_000, 1), ("adm", 50_000, 1)]
)
def test_a_protocol_fills_in_samples_and_seeds_and_what_is_given_wins(tmp_path, protocol, samples, seeds):
    text = (ROOT / "config" / "toy2d.yaml").read_text(encoding="utf-8")
    kept = [line for line in text.splitlines() if not line.startswith(("num_samples:", "sample_seeds:"))]
    (tmp_path / "mine.yaml").write_text("\n".join([*kept, f"protocol: {protocol}"]))
    found = load([tmp_path / "mine.yaml"])
    assert found["num_samples"] == samples and len(found["sample_seeds"]) == seeds
    assert load([tmp_path / "mine.yaml"], ["num_samples=300"])["num_samples"] == 300
    (tmp_path / "over.yaml").write_text(f"extends: {ROOT / 'config' / 'toy2d.yaml'}\nprotocol: {protocol}\n")
    assert load([tmp_path / "over.yaml"])["num_samples"] == samples  # what is extended yields
    with pytest.raises(ConfigError, match=r"protocol: .*allowed: edm, dpm-ot, adm"):
        load([tmp_path / "mine.yaml"], ["protocol=mine"])


def test_a_change_of_one_key_leaves_those_that_share_its_anchor():
    given = load([ROOT / "config" / "cifar10.yaml"], ["networks={ddpm: {training: {steps: 300000}}}"])
    steps = {name: given["networks"][name]["training"]["steps"] for name in ("ddpm", "edm", "ncsnv2")}
    assert steps == {"ddpm": 300_000, "edm": 400_000, "ncsnv2": 400_000}
