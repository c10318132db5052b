"""Which metric looks at which features, how copies of either split are seen, and intervals from replicates."""

import threading
from dataclasses import replace
from multiprocessing.pool import ThreadPool
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from dpmot import plugins
from dpmot.evaluation import copying
from dpmot.evaluation.estimates import measure, real_groups
from dpmot.experiment.stages import _audit
from dpmot.experiment.stages import _measuring as stage
from dpmot.experiment.stages._fresh import fresh
from dpmot.experiment.stages._prepared import Part
from dpmot.features import Features
from dpmot.results import FLOORS
from dpmot.runtime.stopwatch import Stopwatch

N, K, D = 200, 4, 3


def _features(extractor: str, seed: int, *, n: int = N, source=None) -> Features:
    random = np.random.default_rng(seed)
    probabilities = None if extractor == "pixels" else random.dirichlet(np.ones(K), n)
    values = random.standard_normal((n, D))
    return Features(values=values, extractor=extractor, probabilities=probabilities, source=source)


def _references() -> dict:
    names = ("pixels", "classifier")
    return {e: {"train": _features(e, 1), "test": _features(e, 2)} for e in names}


def test_every_metric_has_its_own_space():
    generated = {"pixels": _features("pixels", 3), "classifier": _features("classifier", 3)}
    found = {(one.metric, one.reference) for one in measure(generated, _references(), np.arange(N) % 20)}
    assert {("fd_classifier", "test"), ("fd_classifier", "train"), ("is_classifier", "none")} <= found
    assert {("authenticity_pixels", "train"), ("ct_pixels", "train"), ("nn_distance_pixels", "test")} <= found
    assert sum(metric.startswith("mmr_") for metric, _ in found) == 8
    assert not any(metric in ("fd_pixels", "authenticity_classifier", "recovery_pixels") for metric, _ in found)


def test_an_experiment_may_ask_for_some_metrics_only():
    generated = {"pixels": _features("pixels", 3), "classifier": _features("classifier", 3)}
    rows = measure(generated, _references(), np.arange(N) % 20, names=["frechet", "ct"])
    assert {one.metric for one in rows} == {"fd_classifier", "plain_fd_classifier", "ct_pixels"}


@pytest.mark.parametrize("stored", ["train", "test"])
def test_every_metric_of_the_fewest_samples_a_plan_allows_has_a_value_or_a_reason(stored):
    n, random = 20, np.random.default_rng(4)
    names = ("pixels", "classifier", "mixture", "inception")

    def drawn(extractor, n, **known):
        features = _features(extractor, 5 + n, n=n, source=known.pop("source", None))
        return replace(features, off_mode=random.random(n) < 0.1 if extractor == "mixture" else None, **known)

    references = {
        e: {name: drawn(e, m, labels=np.arange(m) % K) for name, m in (("train", 200), ("test", 210))} for e in names
    }
    found = []
    moved = {"trajectory_variance": random.random(n)}
    for known in ({"source": np.arange(n), **moved}, {"labels": np.arange(n) % K, "drawn_for": np.arange(n) % K}):
        generated = {e: drawn(e, n, **known) for e in names}
        found += measure(generated, references, np.arange(n) % 20, stored=stored)
    stems = {one.metric.removeprefix("plain_").rpartition("_")[0] for one in found}
    assert stems == {stem for name in plugins.names("metrics") for stem in plugins.find("metrics", name).FACTS} - {
        "copies",
        "flagged",
    }  # of all real images
    rows = stage.rows_of({"sample_seed": "pooled"}, found)
    absent = [row for row in rows if row["value"] is None]
    assert {(row["metric"], row["reference"], row["features"]) for row in absent} == {("ct_pixels", stored, "pixels")}
    for row in absent:
        assert row["low"] is row["high"] is None
        assert row["reason"] == (
            "C_T needs a cell with 20 generated and 20 held-out images, a jackknife group left out; "
            f"20 and {210 if stored == 'train' else 200} images fill none"
        )
    assert all(np.isfinite([row["value"], row["low"], row["high"]]).all() for row in rows if row not in absent)
    assert not any(metric == "ct_pixels" for _, metric, *_ in stage.replicates_of("cell", found))
    table = pd.DataFrame(rows)  # the audit takes None for what was not measured
    assert copying.estimate(table, "ct_pixels", stored) is None
    assert copying.estimate(table, "recovery_pixels", stored) is not None


def test_copies_of_the_test_split_are_recovered_there():
    references = _references()
    test = references["pixels"]["test"]
    copied = Features(values=test.values + 1e-6, extractor="pixels", source=np.arange(N))
    rows = list(measure({"pixels": copied}, references, np.arange(N) % 20, stored="test"))
    recovery = next(one for one in rows if one.metric == "recovery_pixels")
    assert (recovery.reference, recovery.estimate.value) == ("test", 1.0)
    distances = {one.reference: one.estimate.value for one in rows if one.metric == "nn_distance_pixels"}
    assert distances["test"] < 1e-5 < distances["train"]


def test_copies_are_recovered_in_features_too():
    references = _references()
    source = np.arange(N)[::-1]
    copied = {
        e: Features(values=r["train"].values[::-1] + 1e-6, extractor=e, source=source) for e, r in references.items()
    }
    found = {one.metric: one for one in measure(copied, references, np.arange(N) % 20) if "recovery" in one.metric}
    assert set(found) == {"recovery_pixels", "recovery_classifier"}
    assert all(one.estimate.value == 1 and one.reference == "train" for one in found.values())


def test_the_classifier_is_judged_on_labelled_images_only():
    p = np.array([[0.7, 0.3], [0.2, 0.8]])[np.arange(N) % 2]
    labels = np.arange(N) % 2
    labels[:20] = 1 - labels[:20]
    real = Features(values=np.zeros((N, D)), extractor="classifier", probabilities=p, labels=labels)
    found = {m.metric: m.estimate for m in measure({"classifier": real}, _references(), np.arange(N) % 20)}
    assert found["accuracy_classifier"].value == 0.9  # 20 of 200 labels are wrong
    # confidences .7 and .8, half of the images each, accuracies .9: (.2 + .1) / 2
    assert np.isclose(found["ece_classifier"].value, 0.15)
    assert found["accuracy_classifier"].low < 0.9 < found["accuracy_classifier"].high
    unlabelled = {"classifier": _features("classifier", 3)}
    assert not any(
        one.metric.startswith(("accuracy", "ece")) for one in measure(unlabelled, _references(), np.arange(N) % 20)
    )


def test_a_distance_of_few_samples_keeps_its_bias_and_says_so():
    def found(n):
        generated, group = {"classifier": _features("classifier", 3, n=n)}, np.arange(n) % 20
        rows = {m.metric: m for m in measure(generated, _references(), group) if m.reference == "test"}
        return rows["fd_classifier"], rows["plain_fd_classifier"]

    many, plain = found(6 * D * 7)
    assert many.remark == "" and many.estimate.value != many.full == plain.estimate.value
    few, plain = found(6 * D + 2 - 3)
    assert few.estimate == plain.estimate and few.remark == "n = 17 samples are fewer than 6 d = 18: FD keeps its bias"


def test_intervals_of_shares_stay_in_their_range():
    real = _references()["classifier"]["test"]
    rows = measure({"classifier": real}, _references(), np.arange(N) % 20)
    shares = [one.estimate for one in rows if one.metric.startswith(("recall", "coverage"))]
    assert len(shares) == 4 and all(0 <= one.low <= one.value <= one.high <= 1 for one in shares)


def test_likelihood_asks_for_the_images_that_a_method_does_not_store():
    references = {e: {"train": _features(e, 1), "test": _features(e, 2)} for e in ("classifier",)}
    copies = Features(values=references["classifier"]["test"].values, extractor="classifier")
    fld = {
        stored: [
            one
            for one in measure({"classifier": copies}, references, np.arange(N) % 20, stored=stored)
            if one.metric.startswith("fld_")
        ]
        for stored in ("train", "test")
    }
    assert [one.reference for one in (*fld["train"], *fld["test"])] == ["test", "train"]
    assert (
        fld["train"][0].full < 0 and fld["test"][0].full > 1e4
    )  # copies of what it is judged by, and of what it stores


def test_replicates_are_the_metric_without_each_group():
    generated, references, group = {"classifier": _features("classifier", 3)}, _references(), np.arange(N) % 20
    whole = {(m.metric, m.reference): m for m in measure(generated, references, group)}
    part = {"classifier": generated["classifier"].subset(group != 7)}
    without = {(m.metric, m.reference): m.full for m in measure(part, references, np.arange(190) % 19)}
    for key, full in without.items():
        # Both are float64; the fast path subtracts group sums. FLD holds its variances (test_likelihood.py).
        held = key[0].startswith("fld_")
        assert held or np.isclose(whole[key].leave_out[7], full, rtol=1e-8), key


@pytest.mark.parametrize(
    ("device", "extractors", "workers"), [("cpu", ["vit"], 3), ("cuda", ["classifier"], 3), ("cuda", ["vit"], 1)]
)
def test_methods_wait_for_one_another_only_where_a_gpu_extracts_features(device, extractors, workers, monkeypatch):
    asked = []
    monkeypatch.setattr(stage, "chosen", torch.device)
    monkeypatch.setattr(stage, "ThreadPool", lambda number, *_: asked.append(number) or ThreadPool(number))
    running = SimpleNamespace(watch=Stopwatch("measure"), kept_json=lambda name: {"rows": [], "replicates": []})
    task = SimpleNamespace(experiment=SimpleNamespace(methods={}), extractors=extractors)
    job = SimpleNamespace(task=task, threads=1, device=device)
    stage.measured(job, FLOORS, None, running, None, {}, cores=3)
    assert asked == [workers]


def test_where_a_method_cannot_be_measured_those_beside_it_are_finished_and_kept(monkeypatch):
    begun, broken, kept = [], threading.Event(), {}

    def method(job, layout, name, extract, references):
        begun.append(name)
        if name == "bad":
            broken.set()
            raise ArithmeticError("NaN in bad")
        assert broken.wait(30)
        return {"rows": [name], "replicates": []}

    monkeypatch.setattr(stage, "of_method", method)
    running = SimpleNamespace(
        watch=Stopwatch("measure"),
        kept_json=lambda name: {"rows": [], "replicates": []} if name.startswith("real_") else None,
        keep_json=kept.__setitem__,
    )
    experiment = SimpleNamespace(methods={"slow": {}, "bad": {}, "after": {}, "last": {}}, metrics=())
    task = SimpleNamespace(experiment=experiment, extractors=[])
    job = SimpleNamespace(task=task, threads=1, device="cpu")
    with pytest.raises(ArithmeticError, match="NaN in bad"):
        stage.measured(job, [*FLOORS, *experiment.methods], None, running, None, {}, cores=2)
    assert kept["slow"] == {"rows": ["slow"], "replicates": []}
    assert "last" not in begun and set(kept) <= {"slow", "after"}


@pytest.mark.parametrize("num_atoms", [None, 60])
def test_a_copier_is_measured_on_the_images_that_the_starts_store(num_atoms):
    references, experiment = _references(), SimpleNamespace(metrics=["frechet"], num_atoms=num_atoms)
    rows = stage.of_floor("real_train", stage.Real(references), experiment)["rows"]
    (copy,) = (row for row in rows if row["metric"] == "copy_fd_classifier")
    stored = references["classifier"]["train"].subset(np.arange(num_atoms or N))
    (expected,) = (
        plugins.find("metrics", "frechet").evaluate(stored, {"test": references["classifier"]["test"]}).values()
    )
    assert copy["num_samples"] == len(stored) and copy["value"] == expected  # the same arithmetic
    assert {row["num_samples"] for row in rows if row["metric"] == "fd_classifier"} == {N}  # the floor is that of all


def test_fresh_images_are_a_law_beside_the_copier_and_a_second_sample_beside_fld():
    references, seen = _references(), []
    parts = {name: Part(torch.zeros(n, 1), torch.arange(n) % K) for name, n in (("A", N), ("B", 300))}

    def extract(images, *, labels):
        seen.append(len(images))
        return {e: replace(_features(e, 7, n=len(images)), labels=labels) for e in references}

    plan = SimpleNamespace(num_atoms=60, num_samples=100, sample_seeds=[0, 1], metrics=["frechet", "likelihood", "ct"])
    unseen = fresh(plan, extract, parts)
    assert (unseen.law, unseen.sample, seen) == (60, 200, [200])
    rows = stage.of_floor("real_train", stage.Real(references, unseen), plan)["rows"]
    found = {row["metric"]: row for row in rows if row["metric"].startswith("fresh_")}
    assert {name: row["num_samples"] for name, row in found.items()} == {
        "fresh_fd_classifier": 60,
        "fresh_fld_classifier": 200,
    }
    images = unseen.features["classifier"]
    law = plugins.find("metrics", "frechet").evaluate(images.subset(np.arange(60)), references["classifier"])
    fd, fld = found["fresh_fd_classifier"], found["fresh_fld_classifier"]
    assert fd["value"] == fd["low"] == fd["high"] == pytest.approx(law["fd_classifier", "test"], rel=1e-12)
    assert fld["low"] < fld["value"] < fld["high"]
    assert all(row["reference"] == "test" and "trained on these images" in row["reason"] for row in found.values())


def test_fresh_images_of_which_there_are_fewer_than_are_stored_are_no_law():
    parts = {name: Part(torch.zeros(n, 1), torch.arange(n) % K) for name, n in (("A", N), ("B", 50))}
    plan = SimpleNamespace(num_atoms=None, num_samples=100, sample_seeds=[0], metrics=["frechet"])
    assert fresh(plan, None, parts) is None  # nothing is extracted
    plan.metrics = ["likelihood"]
    taken = fresh(plan, lambda images, *, labels: {"classifier": _features("classifier", 7, n=len(images))}, parts)
    assert (taken.law, taken.sample) == (0, 50)


def test_the_floor_of_a_split_whose_labels_repeat_holds_every_class_in_every_group():
    labels = np.arange(N) % 20
    counts = [np.bincount(labels[real_groups(labels, N) == g], minlength=20) for g in range(20)]
    assert np.max(counts) == 1 and np.sum(counts) == N


@pytest.mark.parametrize("floor", [0.0, 0.2])
def test_where_held_out_images_would_be_marked_shares_tell_nothing(floor):
    common = {"nfe_budget": 5, "sigma_start": 1.0, "sample_seed": "pooled", "start": "prior", "num_samples": 1000}
    rows = [
        {"method": method, "reference": name, "metric": "copies_pixels", "value": low, "low": low, "high": low + 0.1}
        for method, name, low in (("a", "train", 0.1), ("a", "test", 0.0), ("real_test", "train", floor))
    ]
    table = pd.DataFrame([{**common, **row} for row in rows])
    table.loc[table.method == "real_test", "start"] = "data"
    plan = SimpleNamespace(methods={"a": SimpleNamespace(split="A")}, copying_tolerance=0.01, num_atoms=10)
    (found,) = _audit.verdicts(plan, table, {}, {"a": {}}).to_dict("records")
    assert (found["verdict"], found["ranked"]) == (("not audited", False) if floor else ("copies", False))
    told = "real images of another split are copies of training ones themselves, 0.2 [0.2, 0.3]: shares tell nothing"
    assert (told in found["reasons"]) == (floor > 0)
