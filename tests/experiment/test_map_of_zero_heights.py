"""The control of a coupling whose map nothing solves: heights 0, planned, refused and certified as solved ones are."""

import importlib
import json

import pytest
import torch

from dpmot.experiment.checks import ConfigError
from dpmot.experiment.config import describe, validate
from dpmot.experiment.jobs import STAGES, Jobs
from dpmot.experiment.layout import Layout
from dpmot.plugins import ROOT
from dpmot.runtime import seals

UNET = {"channels": 8, "multipliers": [1], "embedding": 16, "attention": False}


def planned(*, classes=0, student=None, **training):
    network = {"kind": "edm", "unet": {**UNET, **({"classes": classes} if classes else {})}}
    network["training"] = {"steps": 2, "batch": 4, "coupling": "semidiscrete", **training}
    return validate({
        **{"experiment": "x", "dataset": "digits", "nfe_budgets": [2], "num_samples": 20, "sample_seeds": [0]},
        **{"networks": {"edm": network, **({"student": student} if student else {})}, "tables": []},
        "methods": {"edm": {"network": "edm", "sampler": "ddim"}},
    })  # fmt: skip


@pytest.mark.parametrize(
    ("training", "told"),
    [
        ({"heights": "zero", "chi2": 0.5}, "chi2 0.5 is of a solved map, and heights are zero; leave one of them out"),
        ({"heights": "zero", "coupling": "minibatch"}, "heights is of coupling: semidiscrete, not of minibatch"),
        ({"heights": "none"}, "'none' is not one of these; allowed: zero"),
    ],
)
def test_other_heights_are_refused(training, told):
    with pytest.raises(ConfigError, match=told):
        planned(**training)


def test_a_student_has_the_heights_of_its_teacher():
    student = {"distillation": "progressive", "teacher": "edm", "step_counts": [2]}
    few = {"steps": 2, "batch": 4}
    given = {**few, "coupling": "semidiscrete"}
    told = "heights: solved; a student follows its teacher edm, whose are zero: leave coupling and heights out"
    with pytest.raises(ConfigError, match=told):
        planned(heights="zero", student={**student, "training": given})
    for training in (few, {**given, "heights": "zero"}):
        planned(heights="zero", student={**student, "training": training})


def test_a_plan_says_that_no_map_is_solved():
    assert Jobs(planned(heights="zero"), Layout(ROOT / "x")).pairings.keys() == {"clean_zero"}
    (line,) = (line for line in describe(planned(heights="zero")) if line.startswith("pair "))
    assert line == "pair clean_zero: the map onto the clean images, heights 0, for edm"


@pytest.mark.parametrize("classes", [0, 10])
def test_heights_of_zero_are_certified_and_trained_with(classes, tmp_path):
    jobs = Jobs(planned(heights="zero", classes=classes), Layout(tmp_path))
    (name,) = jobs.pairings
    for job in (jobs.prepare(), jobs.pair(name), jobs.train("edm")):
        importlib.import_module(f"{STAGES}.{job.stage}").run(job, jobs.layout)
    path = jobs.layout.pairing(name)
    tensors, texts = seals.load(path)
    heights, facts = tensors["heights"], json.loads(texts["facts"])
    assert torch.equal(heights, torch.zeros(599, dtype=torch.float64))
    assert facts["certificate"]["low"] > 0.5 and not facts["converged"]
    assert "heights are 0" in facts["reason"]  # as few images take the prior's directions
    card = json.loads(seals.header(jobs.layout.network("edm"))["card"])
    assert card["coupling"]["chi2"] == pytest.approx(facts["certificate"]["chi2"])
