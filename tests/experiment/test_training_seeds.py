"""Several training seeds: what is trained and drawn, what stays one, what is refused, and the rows over all of them."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dpmot.experiment.checks import ConfigError
from dpmot.experiment.config import describe, load, validate
from dpmot.experiment.cost import cost
from dpmot.experiment.jobs import Jobs
from dpmot.experiment.layout import Layout
from dpmot.experiment.members import STRIDE, members
from dpmot.experiment.stages import _trainings
from dpmot.plugins import ROOT

EDM = {"kind": "edm", "training": {"steps": 4, "batch": 8}}
STUDENT = {"distillation": "progressive", "teacher": "edm", "step_counts": [4, 2], "training": {"steps": 1}}
METHODS = {
    "ddim": {"network": "edm", "sampler": "ddim"},
    "student": {"network": "student", "sampler": "ddim"},
    "dpm_ot": {"network": "edm", "sampler": "ddim", "start": "transport", "level": 3},
    "exact": {"network": "exact", "sampler": "ddim"},
    "once": {"network": "edm", "sampler": "ddim", "start": "transport", "level": 1, "nfe_budgets": [4]},
    "control": {"network": "edm", "sampler": "ddim", "start": "copy", "level": 1, "nfe_budgets": [4]},
}
CONFIG = {
    **{"experiment": "x", "dataset": "digits", "nfe_budgets": [2, 4], "num_samples": 20, "sample_seeds": [0, 1]},
    **{"networks": {"edm": EDM, "student": STUDENT, "exact": {"kind": "ideal"}}, "methods": METHODS},
    "identity": {"pairs": [["once", "control"]], "margins": {"mmr_0.1": 0.1}},
}
SEEDS = {"training_seeds": [0, 7]}
SHA = "0" * 64
SELECTION = {"network": "edm", "sampler": "ddim", "nfe": 4, "sigmas": [1.0]}


def jobs(**changes):
    return Jobs(validate({**CONFIG, **changes}), Layout(ROOT / "results" / "x"))


def identities(of):
    return {job.name: json.dumps(job.identity, sort_keys=True) for job in [*of.compute(), of.measure()]}


def test_a_list_of_one_seed_is_that_seed_and_plans_what_is_planned_today():
    assert identities(jobs(training_seeds=[7])) == identities(jobs(training_seed=7))
    assert identities(jobs(training_seeds=[0])) == identities(jobs())
    assert "training_seeds" not in json.dumps(identities(jobs()))


@pytest.mark.parametrize("file", sorted((ROOT / "config").glob("*.yaml")), ids=lambda file: file.stem)
def test_an_experiment_of_one_training_seed_has_no_members(file):
    experiment = load([file])
    if not experiment.training_seeds:
        each, files = members(experiment), any(network.by_seed for network in experiment.networks.values())
        assert not each.repeated and (each.experiment is experiment or files)


def test_each_seed_trains_and_draws_by_jobs_of_its_own_and_the_rest_stays_one():
    found = jobs(**SEEDS)
    names = [job.name for job in found.compute()]
    assert [name for name in names if name.startswith("train")] == [
        "train_edm_t0", "train_edm_t7", "train_student_t0", "train_student_t7", "train_exact",
    ]  # fmt: skip
    assert names.count("classify") == names.count("solve") == 1
    assert [name for name in names if name.startswith("sample")] == [
        "sample_ddim_t0", "sample_ddim_t7", "sample_student_t0", "sample_student_t7", "sample_dpm_ot_t0",
        "sample_dpm_ot_t7", "sample_exact", "sample_once", "sample_control",
    ]  # fmt: skip
    assert found.train("student_t7").inputs[1] == found.layout.network("edm_t7")
    assert (found.train("edm_t7").task.seed, found.train("edm_t7").task.origin) == (7, "edm")
    assert found.layout.network("edm_t7") in found.sample("ddim_t7").inputs
    assert found.layout.network("edm_t0") in found.sample("once").inputs  # of the identity test: one network
    assert {*found.measure().inputs} >= {found.layout.samples("ddim_t7"), found.layout.network("edm_t7")}


def test_a_seed_keeps_its_jobs_whatever_others_stand_beside_it():
    few, more = identities(jobs(**SEEDS)), identities(jobs(training_seeds=[7, 1, 0]))
    assert all(few[name] == more[name] for name in few if name.startswith(("train", "sample")) and "_t" in name)


def test_no_two_networks_see_the_same_noise_and_methods_of_one_network_do():
    experiment = members(validate({**CONFIG, **SEEDS})).experiment
    seeds = {name: method.sample_seeds for name, method in experiment.drawn.items()}
    assert seeds["ddim_t0"] == (0, 1) and seeds["ddim_t7"] == (7 * STRIDE, 7 * STRIDE + 1)
    assert seeds["ddim_t7"] == seeds["dpm_ot_t7"] and not {*seeds["ddim_t0"]} & {*seeds["ddim_t7"]}


def test_what_asks_one_network_takes_the_first_seed_and_the_plan_says_so():
    coupling = {"methods": ["ddim"], "nfe": 4}
    found = jobs(training_seeds=[7, 0], selection=SELECTION, coupling=coupling)
    assert found.select().task.drawn.method.network == "edm_t7"
    assert found.couple().task.samples["ddim"].method.network == "edm_t7"
    assert found.classify().task.seed == 7
    told = "\n".join(describe(found.experiment))
    assert "training seeds 7, 0: ddim, student, dpm_ot once each" in told
    assert "training seed 7 alone: sigma_M*, the coupling, identity" in told
    assert "one training seed or none: exact, once, control" in told


def test_a_headline_names_methods_of_the_configuration_and_not_their_members():
    experiment = validate({**CONFIG, **SEEDS, "headline": ["ddim", "exact"]})
    assert experiment.headline == ("ddim", "exact") and not members(experiment).experiment.headline


def test_the_cost_counts_every_network_and_every_sample():
    one, two = (cost(validate({**CONFIG, "identity": None, **seeds})) for seeds in ({}, SEEDS))
    assert "2 networks see" in one and "4 networks see" in two
    # edm 32 images; the student's two stages of a step of 128; exact, once and control: 240 + 2 x 160 evaluations
    assert "see 288 images" in one and "see 576 images" in two


def test_what_is_written_beside_results_is_read_as_the_same_experiment():
    weights = {"weights": "w/edm_t{training_seed}.safetensors", "sha256": {0: SHA, 7: SHA}}
    experiment = validate({**CONFIG, **SEEDS, "weights": "train", "networks": {**CONFIG["networks"], "edm": EDM}})
    written = json.loads(json.dumps(experiment.written()))
    assert validate(written) == experiment and "training_seed" not in written
    network = type(experiment.networks["edm"]).model_validate({**EDM, **weights})
    again = type(network).model_validate(json.loads(json.dumps(network.given())))
    assert again == network and again.of_seed(7).weights == "w/edm_t7.safetensors" and again.of_seed(7).sha256 == SHA


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"training_seeds": []}, "training_seeds: [] has too few entries"),
        ({"training_seeds": [1, 1]}, "training_seeds: 1 stands there twice"),
        ({"training_seeds": [0, -1]}, "training_seeds.1: -1 should be greater than or equal to 0"),
        ({"training_seeds": 3}, "training_seeds: 3 is no list"),
        ({**SEEDS, "training_seed": 0}, "training_seed and training_seeds say the same; give one of them"),
        ({"training_seeds": [0, 30_000]}, "sample seeds s + 100000 t, which must stay below 2^31"),
        ({**SEEDS, "sample_seeds": [0, 100_000]}, "and s below 100000; give smaller ones"),
        (
            {**SEEDS, "methods": {"exact": METHODS["exact"]}, "identity": None},
            "they change nothing; give training_seed",
        ),
        ({**SEEDS, "networks": {**CONFIG["networks"], "edm_t7": EDM}}, "edm_t7 is the name of two; rename one of them"),
        ({**SEEDS, "methods": {**METHODS, "ddim_t0": METHODS["ddim"]}}, "ddim_t0 is the name of two"),
        ({**SEEDS, "methods": {**METHODS, "ddim_t7": METHODS["exact"]}}, "ddim_t7 is the name of two"),
        ({**SEEDS, "networks": {**CONFIG["networks"], "edm_t7": {"kind": "ideal"}}}, "edm_t7 is the name of two"),
        (
            {**SEEDS, "networks": {**CONFIG["networks"], "edm": {**EDM, "weights": "no_{training_seed}.safetensors"}}},
            "networks.edm_t0.weights: ",
        ),
        (
            {**SEEDS, "networks": {"edm": {**EDM, "weights": "{training_seed}.pt", "sha256": {0: SHA}}}},
            "networks.edm.sha256: no digest for training seed 7",
        ),
        (
            {"networks": {"edm": {**EDM, "weights": "edm.pt", "sha256": {0: SHA}}}},
            "sha256: digests by training seed are of weights whose name has {training_seed}",
        ),
        (
            {"networks": {"edm": {**EDM, "weights": "{training_seed}.pt", "sha256": SHA}}},
            "sha256: one digest of weights whose name has {training_seed}",
        ),
        ({"networks": {"edm": {**EDM, "sha256": {"x": SHA}}}}, "sha256: {'x': "),
        ({**SEEDS, "coupling": {"methods": ["other"], "nfe": 4}}, 'coupling.methods: no method "other"'),
        ({**SEEDS, "selection": {**SELECTION, "network": "other"}}, 'no network "other" under networks: found edm, '),
    ],
    ids=str,
)
def test_seeds_that_do_not_fit_are_refused_in_one_line(changes, told):
    kept = {"networks": {**CONFIG["networks"], **changes.get("networks", {})}}
    with pytest.raises(ConfigError) as error:
        validate({**CONFIG, **changes, **kept})
    assert told in str(error.value) and "\n" not in str(error.value)


def test_a_network_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(ConfigError, match="found edm_t0, edm_t7"):
        jobs(**SEEDS).train("edm")


# The rows over training seeds.


def rows_of(values, metric="fd_classifier", **entries):
    """One row of metrics.csv for each member of ddim, as measured."""
    cell = {"network": "edm", "start": "prior", "sampler": "ddim", "nfe_budget": 4, "nfe_counted": 4}
    cell |= {"sigma_start": 80.0, "sample_seed": "pooled", "num_samples": 40, "reference": "test", "reason": None}
    return [
        {**cell, "method": f"ddim_t{t}", "network": f"edm_t{t}", "metric": metric, "features": "classifier"}
        | {"value": value, "low": value - 1, "high": value + 1, **entries}
        for t, value in values.items()
    ]


def over(rows, seeds):
    each = members(validate({**CONFIG, "training_seeds": list(seeds)}))
    metrics, replicates = _trainings.assembled(rows, each, fingerprint="f")
    (row,) = metrics[metrics.training_seed == "all"].to_dict("records")
    return metrics, row, replicates


def test_a_row_over_training_seeds_has_students_interval_of_its_seeds():
    values = {0: 3.0, 1: 4.5, 2: 3.6, 9: 5.1}
    metrics, row, replicates = over(rows_of(values), values)
    numbers = np.array([*values.values()])
    expected = stats.t.interval(0.95, 3, numbers.mean(), numbers.std(ddof=1) / math.sqrt(4))
    # scipy's t; a few units of the last place of a double
    assert (row["value"], row["low"], row["high"]) == pytest.approx((numbers.mean(), *expected), rel=1e-12)
    assert (row["method"], row["network"], row["sample_seed"], row["num_samples"]) == ("ddim", "edm", "pooled", 40)
    assert metrics.training_seed.tolist() == [*values, "all"] and (metrics.experiment == "x").all()
    cells = {(cell, group): value for cell, _, _, group, value in replicates}
    assert cells["ddim/4/80", "all"] == row["value"] and cells["ddim/4/80", 3] == pytest.approx(numbers[:3].mean())


def test_the_interval_of_seeds_covers_what_it_should():
    draws = np.random.default_rng(0).normal(size=(400, 3))
    hit = sum(
        found["low"] <= 0 <= found["high"]
        for found in (over(rows_of(dict(enumerate(one))), range(3))[1] for one in draws[:60])
    )
    assert hit >= 51  # of 60 at .95: fewer than 51 have a chance of 2e-3


def test_seeds_that_agree_claim_no_certainty_and_shares_stay_shares():
    equal = over(rows_of({0: 0.0, 1: 0.0}, "mmr_0.1", low=0.0, high=0.02), (0, 1))[1]
    assert (equal["low"], equal["high"]) == (0.0, 0.02)
    apart = over(rows_of({0: 0.1, 1: 0.9}, "mmr_0.1"), (0, 1))[1]
    assert (apart["low"], apart["high"]) == (0.0, 1.0)  # t of one degree of freedom reaches 5 to each side
    copies = over(rows_of({0: 0.001, 1: 0.002}, "copies_pixels", low=0.0, high=0.3), (0, 1))
    assert copies[1]["high"] == pytest.approx(0.3) and not copies[2]  # the audit's ends are no noise of sampling


def test_samples_that_cost_more_at_one_training_than_at_another_cost_the_mean():
    rows = rows_of({0: 1.0, 1: 2.0, 2: 3.0})
    for row, spent in zip(rows, (5, 9, 8), strict=True):
        row["nfe_counted"] = spent
    assert over(rows, (0, 1, 2))[1]["nfe_counted"] == 8  # 22 / 3, rounded up


def test_a_value_that_one_seed_lacks_is_no_value_and_the_reason_says_of_which():
    rows = rows_of({0: 1.0, 1: 2.0})
    rows[1] |= {"value": None, "low": None, "high": None, "reason": "too few images"}
    _, row, replicates = over(rows, (0, 1))
    assert row["value"] is None or np.isnan(row["value"])
    assert "no value at 1 of 2 training seeds, first ddim_t1" in row["reason"] and "too few" in row["reason"]
    assert not replicates


def test_what_no_training_changes_has_no_training_seed():
    rows = [*rows_of({0: 1.0, 1: 2.0}), *rows_of({0: 1.0}, method="exact"), *rows_of({0: 1.0}, method="real_test")]
    metrics, _, _ = over(rows, (0, 1))
    seeds = metrics.groupby("method").training_seed.agg(set).to_dict()
    assert seeds["exact"] == seeds["real_test"] == {"none"} and seeds["ddim"] == {"all"} and seeds["ddim_t1"] == {1}


def test_a_row_is_ranked_where_it_is_at_every_seed():
    each = members(validate({**CONFIG, "training_seeds": [0, 1, 2]}))
    words = {"ddim": ("ranked", "ranked", "ranked"), "student": ("ranked", "not audited", "copies")}
    audit = pd.DataFrame(
        [
            [f"{name}_t{t}", 4, 80.0, word, word == "ranked", "" if word == "ranked" else f"{word} for a reason"]
            for name, of in words.items()
            for t, word in enumerate(of)
        ],
        columns=["method", "nfe_budget", "sigma_start", "verdict", "ranked", "reasons"],
    )
    found = _trainings.verdicts(audit, each).set_index("method")
    assert bool(found.loc["ddim", "ranked"]) and found.loc["ddim", "reasons"] == ""
    assert found.loc["student", "verdict"] == "copies" and not found.loc["student", "ranked"]
    assert found.loc["student", "reasons"] == "2 of 3 training seeds, first student_t2: copies for a reason"
