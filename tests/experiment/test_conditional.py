"""Classes in the workflow: dropped labels, guided methods whose evaluations count double, one map per class."""

import json

import pytest
import torch

from dpmot.diffusion import network
from dpmot.diffusion.sigmas import UnattainableBudget
from dpmot.experiment import grid
from dpmot.experiment.cells import Problem
from dpmot.experiment.config import ConfigError, describe, load
from dpmot.experiment.jobs import Jobs
from dpmot.experiment.layout import Layout
from dpmot.experiment.stages import prepare, sample, solve, train
from dpmot.experiment.stages._prepared import read
from dpmot.runtime import seals
from dpmot.runtime.job import plain

pytestmark = pytest.mark.usefixtures("one_thread")
EDM, FEW = {"kind": "edm", "options": {"sigma_data": 0.75}}, {"channels": 8}
NETWORKS = {
    "labels": {
        **EDM,
        "unet": {**FEW, "classes": 10},
        "training": {"steps": 40, "lr": 0.02, "warmup": 1, "label_dropout": 0.2},
    },
    "told": {**EDM, "unet": {**FEW, "classes": 10}, "training": {"steps": 1}},
    "plain": {**EDM, "unet": FEW, "training": {"steps": 1}},
}
START = {"start": "transport", "sampler": "ddim", "level": 1}
METHODS = {
    "unguided": {"network": "labels", "sampler": "ddim"},
    "guided": {"network": "labels", "sampler": "ddim", "guidance": 3},
    "by_one": {"network": "labels", "sampler": "ddim", "guidance": 1},
    "without": {"network": "labels", "sampler": "ddim", "guidance": 0},
    "heun": {"network": "labels", "sampler": "edm", "guidance": 1.5},
    "per_class": {"network": "labels", **START, "start_options": {"per_class": True}},
    "blind_network": {"network": "plain", **START, "start_options": {"per_class": True}},
    "blind_map": {"network": "plain", **START},
}


def configured(methods=METHODS, networks=None, **changes):
    used = {method["network"] for method in methods.values()}
    networks = networks or {name: one for name, one in NETWORKS.items() if name in used}
    base = {
        **{"experiment": "x", "dataset": "digits", "nfe_budgets": [5, 10], "num_samples": 40, "sample_seeds": [0]},
        **{"networks": networks, "methods": methods, "num_atoms": 80, "transport": {"chi2": 0.5}},
    }
    return load([], [f"{key}={json.dumps(value)}" for key, value in {**base, **changes}.items()])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Jobs and layout, everything drawn."""
    layout = Layout(tmp_path_factory.mktemp("conditional"))
    jobs = Jobs(configured(), layout)
    torch.set_num_threads(1)
    prepare.run(jobs.prepare(), layout)
    for name in ("labels", "plain"):
        train.run(jobs.train(name), layout)
    solve.run(jobs.solve(), layout)
    for name in METHODS:
        sample.run(jobs.sample(name), layout)
    return jobs, layout


def drawn(run, name, budget=10):
    tensors, texts = seals.load(run[1].samples(name))
    cell = next(cell for cell in json.loads(texts["cells"]) if cell["nfe_budget"] == budget)
    return {key.rpartition("/")[2]: one for key, one in tensors.items() if key.startswith(cell["key"])}, cell


# --- dropped labels and guidance ---------------------------------------------------------------------------


def test_a_file_of_weights_says_whether_it_knows_no_class(run):
    found = network.load(run[1].network("labels"))
    assert (found.classes, found.no_class) == (10, 10) and found.card["no_class"] is True
    assert network.load(run[1].network("plain")).no_class is None
    rows = found.denoisers[None].model.label.weight
    assert rows.shape[0] == 11 and rows[10].abs().max() > 0  # it was trained: it began at 0


def test_a_guided_evaluation_counts_as_two_and_what_fits_is_drawn(run):
    spent = {
        (name, budget): (cell["steps"], cell["nfe_counted"])
        for name in METHODS
        for budget in (5, 10)
        for _, cell in [drawn(run, name, budget)]
    }
    assert spent["unguided", 10] == spent["by_one", 10] == spent["without", 10] == (10, 10)
    assert spent["guided", 10] == (5, 10) and spent["guided", 5] == (2, 4)
    assert spent["heun", 10] == (3, 10) and spent["heun", 5] == (1, 2)  # Heun: 2 n - 1 guided evaluations


def test_guidance_moves_samples_and_by_one_does_not(run):
    images = {name: drawn(run, name)[0]["images"] for name in ("unguided", "by_one", "without", "guided")}
    assert torch.equal(images["by_one"], images["unguided"])
    assert not torch.equal(images["without"], images["unguided"])
    assert not torch.equal(images["guided"], images["unguided"])


def test_a_guided_answer_is_on_the_line_through_both_and_is_the_samplers(run):
    found, x = network.load(run[1].network("labels")), torch.randn(3, 1, 8, 8)
    sigma, labels = torch.tensor(1.5), torch.tensor([3, 0, 9])
    with torch.no_grad():
        some = found.denoiser(4)(x, sigma, labels)
        none = found.denoiser(4)(x, sigma, torch.full((3,), 10))
        for w in (0, 0.5, 1, 3):
            torch.testing.assert_close(found.denoiser(4, w)(x, sigma, labels), none + w * (some - none))


def test_a_plan_says_what_guidance_costs():
    lines = list(describe(configured()))
    at = next(i for i, line in enumerate(lines) if line.startswith("guided:"))
    assert lines[at].endswith("guided by w = 3: a guided evaluation is 2 of the network")
    assert lines[at + 1].startswith("  NFE 5: 4 evaluations") and lines[at + 2].startswith("  NFE 10: 10 evaluations")


def test_a_budget_that_no_guided_step_fits_is_skipped_with_its_reason():
    methods = {"one": {**METHODS["guided"], "nfe_budgets": [1, 2]}}
    cells = list(grid.cells(configured(methods), "one"))
    assert "a guided evaluation costs 2 of the network; give NFE 2 or more" in cells[0].reason
    assert cells[1].reason is None and cells[1].nfe == 2
    unipc = {"two": {"network": "labels", "sampler": "restart", "guidance": 2, "nfe_budgets": [2, 40]}}
    reason = next(grid.cells(configured(unipc), "two")).reason
    assert reason is None or "guided evaluations cost 2, so that 1 of them fit into NFE 2" in reason


def test_an_unguided_plan_is_what_it_was(run):
    before = {"split": "A", "law": "normal", "sigma": 1, "noises": 1}
    assert plain(Problem("A", "normal", 1)) == before and Problem("A", "normal", 1).name == "A-normal-1"
    task = json.dumps(run[0].sample("unguided").identity)
    assert "guidance" not in task and "per_class" not in task


WRONG = {  # method, network -> what is said
    "a network without dropped labels": ({"network": "told", "guidance": 2}, {}, "network told knows no label of no c"),
    "a network without classes": ({"network": "plain", "guidance": 0}, {}, "network plain knows no label of no class"),
    "no sampler": ({**START, "sampler": "none", "guidance": 2}, {}, "sampler none spends no evaluation"),
    "below 0": ({"guidance": -1}, {}, "guidance: -1"),
    "a word": ({"guidance": "strong"}, {}, "guidance"),
    "infinite": ({"guidance": float("inf")}, {}, "guidance: 'Infinity' should be a valid number"),
    "per_class of another start": ({"start": "copy", "start_options": {"per_class": True}}, {}, 'option "per_class"'),
    "per_class as a number": ({**START, "start_options": {"per_class": 1}}, {}, "per_class: 1 is neither true"),
    "dropped labels without classes": ({}, {"unet": FEW}, "label_dropout: the network is told no classes"),
    "all labels dropped": ({}, {"training": {"steps": 1, "label_dropout": 1}}, "label_dropout: 1"),
    "no class stated": ({}, {"unet": {"classes": 10, "no_class": True}}, "it is of a loaded network"),
    "a network's guidance": ({}, {"options": {"guidance": 2}}, "methods are guided, not networks"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_guided_or_dropped_is_refused_when_it_is_planned(case):
    method, changed, told = WRONG[case]
    networks = {**NETWORKS, "labels": {**NETWORKS["labels"], **changed}}
    with pytest.raises(ConfigError, match=told):
        configured({"one": {"network": "labels", "sampler": "ddim", **method}}, networks)


def test_a_student_of_a_network_that_knows_no_class_does_not():
    student = {"distillation": "progressive", "teacher": "labels", "step_counts": [2], "training": {"steps": 1}}
    networks = {"labels": NETWORKS["labels"], "student": student}
    method = {"network": "student", "sampler": "ddim", "guidance": 2}
    with pytest.raises(ConfigError, match="network student knows no label of no class"):
        configured({"one": method}, networks)
    card = {**EDM, "shape": [1, 8, 8], "unet": {"classes": 10, "no_class": True}, "no_class": True}
    assert network.no_class(card) == 10 and network.no_class({**card, "distilled": {}}) is None
    dropped = {**student, "training": {"steps": 1, "label_dropout": 0.1}}
    with pytest.raises(ConfigError, match="a student network is made without it"):
        configured({"one": {**method, "guidance": 1}}, {**networks, "student": dropped})
    guided = {**student, "options": {"guidance": 2}}
    with pytest.raises(ConfigError, match=r"not networks: .*; a student learns from its teacher as that is"):
        configured({"one": method}, {**networks, "student": guided})


def test_a_file_of_a_network_that_guided_itself_says_how_to_guide_it_now(tmp_path):
    shape, file = {"shape": [1, 8, 8], "unet": {}}, tmp_path / "old.safetensors"
    weights = {None: network.build({**EDM, **shape}).state_dict()}
    told = {
        "guidance": "guidance 2.0 of its own, which is gone: .*methods.<name>.guidance",
        "w": "does not take its opt",
    }
    for option, words in told.items():
        network.save(file, {**EDM, **shape, "options": {option: 2.0}}, weights)
        with pytest.raises(ValueError, match=words):
            network.load(file)
        with pytest.raises(ConfigError, match=words):
            configured({"one": {"network": "old", "sampler": "ddim"}}, {"old": {**EDM, "weights": str(file)}})


# --- one map per class -------------------------------------------------------------------------------------


def test_each_class_has_its_own_certificate_and_all_have_one(run):
    heights, facts = read(run[1].heights)
    assert set(facts) == {"A-normal-1", "A-normal-1-per-class"} == set(heights)
    found, labels = facts["A-normal-1-per-class"], read(run[1].data)[0]["A/labels"][:80]
    assert heights["A-normal-1-per-class"].shape == (80,) and "classes" not in facts["A-normal-1"]
    classes, counts = labels.unique(return_counts=True)
    assert list(found["classes"]) == [str(label) for label in classes.tolist()]
    assert found["converged"] and all(one["converged"] for one in found["classes"].values())
    for end in ("chi2", "low", "high"):
        of_each = [found["classes"][str(label)]["certificate"][end] for label in classes.tolist()]
        expected = sum(share * one for share, one in zip((counts / 80).tolist(), of_each, strict=True))
        assert found["certificate"][end] == pytest.approx(expected)
    assert all(one["certificate"]["high"] < 0.5 for one in found["classes"].values())


def test_one_class_that_did_not_converge_is_named_and_counts_for_all():
    from dpmot.experiment.stages.solve import by_class
    from dpmot.transport import NoisyImages

    look = {"chi2": 0.1, "low": 0.0, "high": 0.2, "total_variation": 0.2, "empty_cells": 0, "noises": 9}

    def fit(atoms, label):
        told = "out of noises" if label == 3 else None
        fact = {"converged": not told, "reason": told, "noises": 9, "certificate": look}
        return torch.zeros(len(atoms), dtype=torch.float64), fact

    labels, problem = torch.tensor([0, 3, 3, 0]), Problem("A", "normal", 1.0, per_class=True)
    _, found = by_class(fit, problem, NoisyImages(torch.zeros(4, 2), 1.0, 0), labels)
    assert not found["converged"] and found["reason"] == "class 3: out of noises"


def test_samples_name_their_class_whether_the_network_knows_any_or_none(run):
    labels = read(run[1].data)[0]["A/labels"]
    for name in ("per_class", "blind_network"):
        tensors, _ = drawn(run, name)
        assert torch.equal(tensors["labels"], labels[tensors["source"]])
    one, other = (drawn(run, name)[0] for name in ("per_class", "blind_network"))
    assert torch.equal(one["labels"], other["labels"]) and torch.equal(one["start"], other["start"])
    assert "labels" not in drawn(run, "blind_map")[0]


def test_no_budget_error_is_swallowed():
    with pytest.raises(UnattainableBudget):
        grid.Budgeted.of("ddim", {}, 2).num_steps(1)
