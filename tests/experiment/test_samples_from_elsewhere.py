"""Samples from elsewhere beside drawn methods: what a configuration may say, and what becomes of them."""

import json
import os

import numpy as np
import pandas as pd
import pytest
import torch

from dpmot import cli
from dpmot.data import digits
from dpmot.experiment import grid
from dpmot.experiment.config import ConfigError, describe, load, validate
from dpmot.experiment.cost import cost
from dpmot.experiment.jobs import Jobs, Read
from dpmot.experiment.layout import Layout
from dpmot.experiment.plan import Given
from dpmot.runtime import seals

DRAWN = {"network": "edm", "sampler": "ddim"}
ONLY = {
    **{"experiment": "mine", "dataset": "digits", "num_samples": 200, "classifier": {"epochs": 1}, "tables": []},
    **{"metrics": ["frechet", "novelty", "copies"]},
}
BOTH = {
    **{**ONLY, "nfe_budgets": [5], "sample_seeds": [0]},
    **{"networks": {"edm": {"kind": "edm", "unet": {"channels": 8}, "training": {"steps": 1}}}},
}


@pytest.fixture
def files(tmp_path):
    """Two files of samples that are no copies, and one of training images with noise."""
    data, draw = digits.load(), np.random.default_rng(0)
    new, seen = data.part("B")[0], data.part("A")[0][:200]
    for seed in (0, 1):
        np.savez(tmp_path / f"{seed}.npz", new[200 * seed : 200 * (seed + 1)].transpose(0, 2, 3, 1))
    copied = np.clip(seen + draw.integers(-5, 6, seen.shape), 0, 255).astype(np.uint8)
    np.save(tmp_path / "copied.npy", (copied / 127.5 - 1).astype(np.float32))
    return tmp_path


def of(folder, **changes):
    return {"samples": str(folder / "0.npz"), "nfe": 10, **changes}


def test_an_experiment_of_given_samples_alone_needs_no_network_budget_or_seed(files):
    experiment = validate({**ONLY, "methods": {"a": of(files), "b": of(files, nfe=5)}})
    assert experiment.nfe_budgets == (5, 10) and not experiment.networks and not experiment.drawn
    jobs = Jobs(experiment, Layout(files / "results"))
    assert [job.name for job in jobs.compute()] == ["prepare", "classify", "sample_a", "sample_b"]
    assert "a: a, samples of" in "\n".join(describe(experiment)) and "0 network evaluations" in cost(experiment)
    assert validate(experiment.written()) == experiment  # as a page reads it


def test_they_stand_beside_drawn_methods_and_take_no_part_in_what_those_cost(files):
    experiment = validate({**BOTH, "methods": {"ddim": DRAWN, "mine": of(files, label="My model")}})
    assert list(experiment.drawn) == ["ddim"] and list(experiment.elsewhere) == ["mine"]
    (cell,) = grid.cells(experiment, "mine")
    assert (cell.nfe_budget, cell.nfe, cell.sample_seed, cell.sigma_start) == (10, 10, 0, None)
    assert "1,000 network evaluations" in cost(experiment)


BAD = {
    "nfe": ({"samples": "0.npz"}, 'methods.m: the key "nfe" is missing'),
    "a typo": ({"samples": "0.npz", "nfe": 5, "labl": "x"}, 'methods.m: unknown key "labl"; did you mean "label"'),
    "no file": ({"samples": "none.npz", "nfe": 5}, "methods.m.samples: .*none.npz: there is no such file or folder"),
    "no file of training images": (
        {"samples": "0.npz", "nfe": 5, "train_reference": "none"},
        "methods.m.train_reference: .*none: there is no such",
    ),
    "a pickle": ({"samples": "code.pt", "nfe": 5}, "may hold code and is not opened"),
    "a range": ({"samples": "0.npz", "nfe": 5, "range": [0, 2]}, r"m.range: \[0.0, 2.0\] is no range of images; allow"),
    "hashes": ({"samples": ["0.npz", "1.npz"], "nfe": 5, "sha256": "a" * 64}, "sha256: 1 of 2 files; give one of each"),
    "one file twice": ({"samples": ["0.npz", "0.npz"], "nfe": 5}, "m.samples: .*stands there twice"),
    "no path": ({"samples": 3, "nfe": 5}, "m.samples: 3 is not allowed here; a path, or a list"),
    "a level": ({"samples": "0.npz", "nfe": 5, "level": 3}, 'unknown key "level"'),
    "full": ({"samples": "0.npz", "nfe": "full"}, "m.nfe: 'full' should be a valid integer"),
    "few": ({"samples": "0.npz", "nfe": 5, "num_samples": 5}, "num_samples: 5 should be greater than or equal to 20"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_a_configuration_may_not_say_is_one_line(case, files, monkeypatch):
    monkeypatch.chdir(files)
    (files / "code.pt").write_bytes(b"x")
    method, told = BAD[case]
    with pytest.raises(ConfigError, match=told):
        validate({**ONLY, "nfe_budgets": [5], "sample_seeds": [0], "methods": {"m": method}})


def test_what_asks_for_a_map_or_a_law_names_drawn_methods(files):
    methods = {"ddim": DRAWN, "mine": of(files)}
    with pytest.raises(ConfigError, match=r"coupling.methods: the samples of mine come from elsewhere"):
        validate({**BOTH, "methods": methods, "coupling": {"methods": ["mine"], "nfe": 5}})
    with pytest.raises(ConfigError, match=r"identity.pairs: the samples of mine come from elsewhere"):
        validate({**BOTH, "methods": methods, "identity": {"pairs": [["ddim", "mine"]]}})


def test_an_exchanged_file_is_read_anew_and_a_label_is_not(files):
    def job(**changes):
        return Jobs(validate({**ONLY, "methods": {"m": of(files, **changes)}}), Layout(files)).sample("m")

    first = job()
    assert isinstance(first.task, Read) and files / "0.npz" in first.inputs
    assert job(label="x", group="rivals").identity == first.identity != job(nfe=9).identity
    state = (files / "0.npz").stat()
    (files / "0.npz").write_bytes((files / "1.npz").read_bytes())
    os.utime(files / "0.npz", ns=(state.st_atime_ns, state.st_mtime_ns - 10**9))  # older than before
    assert job().identity != first.identity


def test_only_and_smoke_keep_or_leave_them(files):
    config = {**BOTH, "methods": {"ddim": DRAWN, "mine": of(files)}}
    (files / "both.json").write_text(json.dumps(config))
    only = load([files / "both.json"], {"only": "mine"})
    assert list(only.methods) == ["mine"] and not only.networks
    smoke = load([files / "both.json"], {"scale": "smoke"})
    assert isinstance(smoke.methods["mine"], Given) and smoke.methods["mine"].num_samples == smoke.num_samples


def run(files, monkeypatch, methods):
    """The stages of an experiment of given samples alone."""
    monkeypatch.chdir(files)
    (files / "mine.json").write_text(json.dumps({**ONLY, "methods": methods, "features": ["thumbnails"]}))
    for verb in (["prepare"], *(["sample", name] for name in methods), ["measure"]):
        assert cli.main([*verb, "--configfile", "mine.json"]) == 0
    return files / "results" / "mine"


@pytest.mark.slow
def test_they_get_rows_intervals_and_a_verdict_of_their_own(files, monkeypatch, capsys):
    copied = {"samples": "copied.npy", "range": [-1, 1], "nfe": 5}
    folder = run(files, monkeypatch, {"mine": {"samples": ["0.npz", "1.npz"], "nfe": 10}, "copied": copied})
    metrics = pd.read_csv(folder / "metrics.csv")
    own = metrics[(metrics.method == "mine") & (metrics.metric == "fd_thumbnails") & (metrics.reference == "test")]
    assert list(own.sample_seed) == ["0", "1", "pooled"] and set(own.num_samples) == {200, 400}
    assert (own.low < own.value).all() and set(own.nfe_counted) == {10}
    audit = pd.read_csv(folder / "audit.csv").set_index("method")
    assert audit.verdict["copied"] == "copies" and audit.verdict["mine"] != "copies"
    fingerprint = json.loads((folder / "fingerprint.json").read_text())
    assert set(fingerprint["samples"]) == {"mine", "copied"}
    (files / "0.npz").write_bytes((files / "1.npz").read_bytes())  # exchanged
    assert cli.main(["sample", "mine", "--configfile", "mine.json"]) == 0
    assert cli.main(["measure", "--configfile", "mine.json"]) == 0
    assert json.loads((folder / "fingerprint.json").read_text())["fingerprint"] != fingerprint["fingerprint"]


@pytest.mark.slow
def test_their_own_training_images_are_what_they_may_copy(files, monkeypatch):
    nobodys = digits.load().part("B")[0][:200].swapaxes(2, 3)
    np.save(files / "own.npy", nobodys)
    np.save(files / "back.npy", nobodys)
    methods = {"plain": {"samples": "back.npy", "nfe": 5}}
    methods["told"] = {**methods["plain"], "train_reference": "own.npy"}
    folder = run(files, monkeypatch, methods)
    metrics = pd.read_csv(folder / "metrics.csv").query("reference == 'train' and sample_seed == 'pooled'")
    metrics = metrics.set_index(["method", "metric"])
    assert metrics.value["told", "exact_duplicates_pixels"] == 1 > metrics.value["plain", "exact_duplicates_pixels"]
    assert metrics.value["told", "copies_pixels"] > 0.9
    assert "train is the 200 images of own.npy, not split A" in str(metrics.reason["told", "copies_pixels"])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"samples": "copied.npy"}, "mine (copied.npy): its images are float32, and nothing says"),
        ({"sha256": "a" * 64}, "methods.mine: sha256 of 0.npz is"),
        (
            {"samples": ["0.npz", "few.npz"]},
            "[200, 30] images in 0.npz, few.npz; seeds have one number: give",
        ),
        ({"samples": "large.npz"}, "must be 8 x 8 pixels, found 9 x 9"),
        ({"samples": "one.npz"}, "holds 1 images, at least 20 are needed"),
    ],
)
def test_what_a_file_holds_is_judged_when_it_is_read(files, monkeypatch, capsys, changes, told):
    monkeypatch.chdir(files)
    for name, shape in {"few": (30, 8, 8), "large": (30, 9, 9), "one": (1, 8, 8)}.items():
        np.savez(f"{name}.npz", np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8))
    method = {"samples": "0.npz", "nfe": 10, **changes}
    (files / "mine.json").write_text(json.dumps({**ONLY, "methods": {"mine": method}}))
    assert cli.main(["prepare", "--configfile", "mine.json"]) == 0
    assert cli.main(["sample", "mine", "--configfile", "mine.json"]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert told in said


def test_points_are_given_as_floats(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("points.npy", np.random.default_rng(0).standard_normal((60, 2)).astype(np.float32))
    config = {**ONLY, "dataset": "gaussians", "methods": {"mine": {"samples": "points.npy", "nfe": 1}}}
    (tmp_path / "mine.json").write_text(json.dumps(config))
    for verb in (["prepare"], ["sample", "mine"]):
        assert cli.main([*verb, "--configfile", "mine.json"]) == 0
    stored, _ = seals.load(tmp_path / "results/mine/samples/mine.safetensors", name="mine.safetensors")
    assert torch.equal(stored["1-given-0/images"], torch.from_numpy(np.load("points.npy")))
