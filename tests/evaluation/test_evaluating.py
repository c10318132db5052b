"""Samples against real images without a configuration: the numbers of others, verdicts, and what is refused."""

import csv
import json
import runpy

import numpy as np
import pytest
import torch
from PIL import Image

import dpmot
from dpmot import cli
from dpmot._torchvision import make_importable
from dpmot.data import digits
from dpmot.features import Extractor, Features
from dpmot.metrics.copies import Copies
from dpmot.plugins import ROOT

DRAW = np.random.default_rng(0)
MIX = torch.randn(3 * 8 * 8, 55, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 100
N = 300


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Answers of one test are none of another's."""
    monkeypatch.setenv("DPMOT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def real():
    """Split -> images of digits."""
    data = digits.load()
    return {name: data.part(name)[0] for name in "ABC"}


def noisy(images):
    """The same with other levels, near enough to be copies."""
    return np.clip(images + DRAW.integers(-5, 6, images.shape), 0, 255).astype(np.uint8)


def layers(images):
    """Features and logits of uint8 images, float64."""
    x = images.to(torch.float64).flatten(1) @ MIX
    return x[:, :48].sin(), 3 * x[:, 48:].cos()


def pictures(folder, low, high):
    folder.mkdir()
    for k, image in enumerate(DRAW.integers(low, high, (N, 8, 8, 3), dtype=np.uint8)):
        Image.fromarray(image).save(folder / f"{k}.png")
    return folder


@pytest.mark.slow
def test_files_give_the_numbers_that_torch_fidelity_gives_through_a_registered_extractor(tmp_path, monkeypatch):
    make_importable()
    fidelity = pytest.importorskip("torch_fidelity")
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase

    class StandIn(FeatureExtractorBase):
        get_provided_features_list = staticmethod(lambda: ("features", "logits"))
        get_default_feature_layer_for_metric = staticmethod(lambda name: "logits" if name == "isc" else "features")
        can_be_compiled = staticmethod(lambda: False)

        def __init__(self, name, features_list, **_):
            super().__init__(name, features_list)

        def forward(self, images):
            return tuple(dict(zip(("features", "logits"), layers(images), strict=True))[n] for n in self.features_list)

    def extract(self, images):
        values, logits = layers(images)
        return Features(values=values.numpy(), extractor=self.name, probabilities=logits.softmax(1).numpy())

    generated, reference = pictures(tmp_path / "generated", 0, 240), pictures(tmp_path / "reference", 10, 256)
    fidelity.register_feature_extractor("stand-in-of-files", StandIn)
    theirs = fidelity.calculate_metrics(
        **{"input1": str(generated), "input2": str(reference), "feature_extractor": "stand-in-of-files"},
        **{"fid": True, "isc": True, "kid": True, "prc": True, "isc_splits": 1, "cuda": False, "verbose": False},
        **{"kid_subsets": 1, "kid_subset_size": N, "cache": False, "save_cpu_ram": True},  # one subset: all of them
    )
    monkeypatch.setattr(Extractor, "extract", extract)
    ours = dpmot.evaluate(generated, reference)
    pairs = {
        "fd": "frechet_inception_distance",
        "is": "inception_score_mean",
        "kd": "kernel_inception_distance_mean",
        "precision": "precision",
        "recall": "recall",
    }
    for name, other in pairs.items():  # 1e-5: what is promised; both are in float64
        assert ours.row(f"{name}_thumbnails").plain == pytest.approx(theirs[other], rel=1e-5, abs=1e-5), name


def test_without_training_images_nobody_is_cleared(real):
    found = dpmot.evaluate(noisy(real["B"]), real["C"])
    assert {row.reference for row in found.rows} == {"test"} and found.verdict is None
    assert "not asked whether samples are copies; give the training images" in found.table().splitlines()[-1]


def test_copies_are_called_copies_and_new_images_are_not(real):
    copied = dpmot.evaluate(noisy(real["A"]), real["C"], train=real["A"], features=[])
    assert copied.verdict.word == "copies" and copied.sentence.startswith(
        "Verdict: copies: share of copies of training"
    )
    assert copied.row("copies_pixels", "train").low > 0.5 and copied.row("authenticity_pixels").high < 0.1
    assert {flag.images for flag in copied.flagged} == {"train"}
    assert all(flag.sample == flag.nearest for flag in copied.flagged)  # digits repeats no image
    new = dpmot.audit(real["B"], real["A"], held_out=real["C"])
    assert new.verdict.word != "copies" and 0.3 < new.row("authenticity_pixels").value < 0.7


def test_samples_that_are_the_reference_itself_are_copies_of_it(real):
    samples = np.concatenate([real["C"][:100], real["B"][:300]])
    alone = dpmot.evaluate(samples, real["C"], metrics=["frechet"])
    assert alone.verdict is None and "100 of 400 samples are images of reference, to the last bit" in alone.notes
    asked = dpmot.evaluate(samples, real["C"], train=real["A"], metrics=["copies"])
    assert asked.verdict.word == "copies" and asked.verdict.reasons[0] == alone.notes[-1]
    new = dpmot.evaluate(real["B"], real["C"], train=real["A"], metrics=["copies"])
    assert new.verdict.word != "copies" and not any("last bit" in note for note in new.notes)


@pytest.mark.slow
def test_with_further_images_copies_of_the_reference_are_found_too(real):
    found = dpmot.evaluate(noisy(real["C"]), real["C"], train=real["A"], held_out=real["B"], metrics=["copies"])
    assert found.row("copies_pixels", "test").low > 0.5 and found.row("copies_pixels", "train").low < 0.05


def test_real_images_stand_beside_the_samples(real):
    found = dpmot.evaluate(real["B"][:200], real["C"], train=real["A"], metrics=["frechet", "novelty"])
    row = found.row("fd_thumbnails", "test")
    assert row.low < row.value < row.high and 0 < row.real < 3 * row.plain  # of one law, at one n
    assert 0.3 < found.row("authenticity_pixels").real < 0.7


def test_an_answer_is_computed_once_and_anew_for_other_images(real, cache, monkeypatch):
    samples = real["B"].copy()
    first = dpmot.evaluate(samples, real["C"], metrics=["frechet"])
    assert list((cache / "answers").iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(Extractor, "extract", lambda self, images: pytest.fail("asked again"))
        assert dpmot.evaluate(samples, real["C"], metrics=["frechet"]).rows == first.rows
    samples[0] = 255 - samples[0]
    assert dpmot.evaluate(samples, real["C"], metrics=["frechet"]).rows != first.rows
    for path in (cache / "answers").iterdir():
        path.write_text(path.read_text()[:-9])  # cut off
    assert dpmot.evaluate(real["B"], real["C"], metrics=["frechet"]).rows == first.rows


def test_copies_are_sought_once_whatever_the_features(real, monkeypatch):
    asked = {"train": real["A"], "metrics": ["copies", "frechet"]}
    first = dpmot.evaluate(real["B"][:60], real["C"], **asked)
    monkeypatch.setattr(Copies, "search", lambda *_: pytest.fail("sought again"))
    again = dpmot.evaluate(real["B"][:60], real["C"], features=["thumbnails", "pixels"], **asked)
    assert again.row("copies_pixels") == first.row("copies_pixels")


BAD = {
    "too few": (lambda real: (real["B"][:9], real["C"]), {}, "samples .*holds 9 images, at least 20"),
    "another size": (lambda real: (np.zeros((30, 1, 9, 9), np.uint8), real["C"]), {}, "images of 8 x 8 pixels"),
    "train of another size": (
        lambda real: (real["B"], real["C"]),
        {"train": np.zeros((30, 1, 9, 9), np.uint8)},
        "train .*images of 8 x 8 pixels",
    ),
    "train is the reference": (
        lambda real: (real["B"], real["C"]),
        {"train": "digits:C"},
        "train and reference are the same images",
    ),
    "a data set without a split": (lambda real: (real["B"], "digits"), {}, "say which of its splits: digits:A"),
    "no data set": (lambda real: (real["B"], "digit:C"), {}, 'No data set "digit"'),
    "points": (lambda real: (real["B"], "gaussians:C"), {}, "reference: must be images"),
    "no metric": (lambda real: (real["B"], real["C"]), {"metrics": ["fid"]}, 'No metric "fid"'),
    "a metric of training images": (lambda real: (real["B"], real["C"]), {"metrics": ["ct"]}, "ct asks about training"),
    "IS of features without classes": (
        lambda real: (real["B"], real["C"]),
        {"metrics": ["inception_score"]},
        "inception_score does not apply to features thumbnails",
    ),
    "no features": (lambda real: (real["B"], real["C"]), {"features": []}, "features: none is asked for"),
    "no extractor": (lambda real: (real["B"], real["C"]), {"features": ["inceptoin"]}, 'did you mean "inception"'),
    "features of a classifier": (
        lambda real: (real["B"], real["C"]),
        {"features": ["classifier"]},
        "needs the file of a trained classifier",
    ),
    "floats": (lambda real: (real["B"] / 255, real["C"]), {}, r"for \[-1, 1\]: value_range=\(-1, 1\) in Python"),
    "a range of nothing": (
        lambda real: (real["B"], real["C"]),
        {"value_range": (-1, 1)},
        r"range \[-1, 1\] is of floats, and samples, reference are integers: leave it out",
    ),
    "flat rows": (
        lambda real: (real["B"].reshape(599, 64), real["C"]),
        {},
        r"images \(N, 1, 8, 8\), got uint8 \(599, 64\)",
    ),
    "held out for nothing": (lambda real: (real["B"], real["C"]), {"held_out": "digits:B"}, "give train too"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_compared_is_one_line(case, real):
    sources, options, told = BAD[case]
    with pytest.raises(ValueError, match=told) as caught:
        dpmot.evaluate(*sources(real), **options)
    assert "\n" not in str(caught.value)


def test_a_range_of_some_images_says_which_it_is_not_of(real):
    floats = real["B"] / 127.5 - 1
    mixed = dpmot.evaluate(floats, real["C"], value_range=(-1, 1), metrics=["frechet"])
    assert "range [-1, 1] is of floats: reference are integers, and taken as levels of 0..255" in mixed.notes
    assert mixed.rows == dpmot.evaluate(real["B"], real["C"], metrics=["frechet"]).rows
    both = dpmot.evaluate(floats, real["C"] / 127.5 - 1, value_range=(-1, 1), metrics=["frechet"])
    assert not any("range" in note for note in both.notes)


def test_the_command_prints_a_table_writes_a_csv_and_names_its_cache(tmp_path, real, cache, capsys):
    np.savez(tmp_path / "mine.npz", noisy(real["B"]).transpose(0, 2, 3, 1))
    command = ["evaluate", str(tmp_path / "mine.npz"), "--reference", "digits:C", "--train", "digits:A"]
    assert cli.main([*command, "--metrics", "frechet", "copies", "--csv", str(tmp_path / "rows.csv")]) == 0
    told = capsys.readouterr().out
    assert "samples mine.npz (599), reference digits:C (599), train digits:A (599); images 1 x 8 x 8" in told
    assert "FD (thumbnails)" in told and "Verdict: " in told and str(cache) in told
    with (tmp_path / "rows.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["metric"] for row in rows} == {"fd_thumbnails", "copies_pixels", "flagged_pixels"}
    assert all(float(row["low"]) <= float(row["value"]) <= float(row["high"]) for row in rows)
    assert cli.main(["evaluate", str(tmp_path / "none.npz"), "--reference", "digits:C"]) == 1
    assert "dpmot evaluate: samples" in capsys.readouterr().err


def test_what_the_command_line_cannot_do_is_said_before_the_work(tmp_path, capsys):
    np.save(tmp_path / "mine.npy", np.zeros((30, 8, 8)))
    command = ["evaluate", str(tmp_path / "mine.npy"), "--reference", "digits:C"]
    cases = {
        tmp_path / "none" / "x.csv": "no folder",
        tmp_path: "is a folder; give a file",
        tmp_path / "x": "--range -1 1",
    }
    for csv_file, told in cases.items():
        assert cli.main([*command, "--csv", str(csv_file)]) == 1
        out, err = capsys.readouterr()
        assert told in err and not out and err.count("\n") == 1  # nor a bar, where there is no terminal


def test_a_reader_is_told_what_columns_and_row_numbers_mean_and_that_samples_are_the_reference(real):
    found = dpmot.evaluate(real["C"], real["C"], train=real["A"], metrics=["frechet", "novelty", "copies"])
    table = found.table()
    assert "Note: 599 of 599 samples are images of reference, to the last bit" in table
    assert "Read: as published" in table and "Read: real images" in table
    plain = dpmot.evaluate(real["B"][:40], real["C"], metrics=["frechet"])
    assert "Read:" not in plain.table() and "as published" not in plain.table().splitlines()[2]
    assert all(
        flag in dpmot.evaluate(real["A"][:40], real["C"], train=real["A"], metrics=["copies"]).table()
        for flag in ("Flagged, of 40", "numbers count from 0")
    )


def test_options_of_features_are_typed_on_the_command_line(tmp_path, capsys):
    np.save(tmp_path / "mine.npy", np.zeros((30, 8, 8), np.uint8))
    command = ["evaluate", str(tmp_path / "mine.npy"), "--reference", "digits:C", "--features"]
    cases = {"vit:layer": "NAME:KEY=VALUE", "vit:weights=none": "vit.weights: No config.json", "vti": "did you"}
    for feature, told in cases.items():
        assert cli.main([*command, feature]) == 1
        assert told in capsys.readouterr().err


def test_the_evaluation_is_plain_enough_for_json(real):
    found = dpmot.evaluate(real["B"], real["C"], metrics=["kernel_distance"])
    assert json.loads(json.dumps([vars(row) for row in found.rows]))[0]["metric"] == "kd_thumbnails"


def test_the_example_of_a_few_lines_finds_its_copies(capsys):
    path = ROOT / "examples" / "evaluate_samples.py"
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 15
    runpy.run_path(str(path))
    assert "Verdict: copies: share of copies of training images" in capsys.readouterr().out
