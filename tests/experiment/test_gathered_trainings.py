"""trainings.csv: what each network saw in training, gathered from the networks' own files."""

import json
from pathlib import Path

import pytest
import torch

from dpmot import results
from dpmot.experiment.config import load
from dpmot.experiment.jobs import Jobs
from dpmot.experiment.layout import Layout
from dpmot.experiment.stages import trainings
from dpmot.experiment.tasks import Trained
from dpmot.runtime import seals
from dpmot.runtime.job import Job

CARDS = {
    "edm": {"trained": {"images_seen": 192_000}},
    "wired_t3": {
        "trained": {"images_seen": 19_200, "images_seen_in_all": 211_200},
        "rewired": {"network": "edm", "images_seen": 192_000},
        "coupling": {"kind": "semidiscrete", "tau": 1.0, "chi2": 0.009, "off": 0.14},
    },
    "student": {"distilled": {"method": "progressive", "steps": 1500}, "step_counts": [5, 10, 20]},
    "exact": {"kind": "ideal"},
}


@pytest.fixture
def gathered(tmp_path):
    layout = Layout(tmp_path)
    for folder in ("networks", "timings"):
        (tmp_path / folder).mkdir()
    for name, card in CARDS.items():
        seals.save(layout.network(name), {"w": torch.zeros(1)}, {"card": json.dumps(card)})
        layout.timing(f"train_{name}").write_text(json.dumps({"arithmetic_s": 12.5}))
    layout.timing("pair_clean").write_text(json.dumps({"arithmetic_s": 3.25}))
    task = (
        Trained("edm", "edm", None, "loaded", None),
        Trained("wired_t3", "wired", 3, "trained", "clean"),
        Trained("student", "student", 0, "student", None),
        Trained("exact", "exact", None, "exact", None),
    )
    trainings.run(Job("trainings", "trainings", task), layout)
    return results.by_key(results.read(layout.trainings, results.TRAININGS), "network")


def test_a_rewired_network_says_what_it_saw_before_and_itself_and_what_its_map_took(gathered):
    row = gathered[("wired_t3",)]
    assert (row["of"], row["training_seed"], row["rewires"], row["coupling"]) == ("wired", "3", "edm", "semidiscrete")
    assert (row["images_seen"], row["images_before"], row["train_s"], row["map_s"]) == (19_200, 192_000, 12.5, 3.25)
    assert (row["tau"], row["chi2"], row["off"]) == (1.0, 0.009, 0.14)


def test_seconds_of_a_loaded_network_are_not_those_of_loading_it(gathered):
    row = gathered[("edm",)]
    assert row["images_seen"] == 192_000 and row["train_s"] != row["train_s"]
    assert row["training_seed"] == results.NO_TRAINING


def test_a_student_saw_a_batch_at_each_step_of_each_stage(gathered):
    assert gathered[("student",)]["images_seen"] == 3 * 1500 * 128
    assert gathered[("exact",)]["images_seen"] != gathered[("exact",)]["images_seen"]


def test_the_job_waits_for_every_network_and_for_the_maps_that_they_need():
    jobs = Jobs(load(["config/coupling.yaml"], ["training_seeds=[0,1]"]), Layout(Path("results/x")))
    job = jobs.trainings()
    names = {path.name for path in job.inputs}
    assert {"edm_t0.safetensors", "semidiscrete_t1.safetensors", "train_tau_1_t0.json"} <= names
    assert {name for name in names if name.startswith("pair_")} == {
        f"pair_clean_chi2_{chi2}.json" for chi2 in ("0_01", "0_1", "1")
    }
    assert jobs.layout.trainings in jobs.page("table_10_coupling").inputs
    assert jobs.layout.trainings not in jobs.page("table_1_quality").inputs
