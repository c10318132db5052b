"""Figure 5: the most mode-mixed samples of a few methods, and the file that they come from."""

import json

import numpy as np
import pytest
from edits import write_csv

from dpmot.evaluation.mixed import TOLD, most_mixed
from dpmot.features import Features
from paper_figures import _samples, figure_5_mixed
from paper_figures._results import load


def mixed(sample, p=0.6, q=0.3, **changes):
    """A row of mixed.csv of the smoke folder's DPM-OT at NFE 5."""
    cell = {"method": "dpm_ot_ddim", "nfe_budget": 5, "sigma_start": 0.14, "sample_seed": 0}
    told = {"sample": sample, "first": 3, "first_probability": p, "second": 8, "second_probability": q}
    return cell | told | changes


def folder_of(results_folder, *rows):
    """The smoke folder with a headline of three methods, and mixed.csv."""
    folder = results_folder("smoke")
    plan = json.loads((folder / "experiment.json").read_text())
    (folder / "experiment.json").write_text(json.dumps(plan | {"headline": ["ddim", "dpm_ot_ddim", "copy"]}))
    write_csv(folder / "mixed.csv", rows)
    return folder


def features(p):
    p = np.asarray(p, float)
    return {"classifier": Features(values=np.zeros((len(p), 1)), extractor="classifier", probabilities=p)}


def test_the_most_mixed_come_first_and_unmixed_ones_not_at_all():
    p = [[0.95, 0.05, 0.0], [0.1, 0.5, 0.4], [0.2, 0.1, 0.7]]
    assert most_mixed(features(p)) == [[1, 1, "0.5", 2, "0.4"], [2, 2, "0.7", 0, "0.2"]]


def test_a_cell_tells_of_few_and_features_without_classes_of_none():
    assert len(most_mixed(features(np.full((100, 2), 0.5)))) == TOLD
    plain = Features(values=np.zeros((5, 1)), extractor="pixels")
    assert most_mixed({"pixels": plain}) == []
    one_class = Features(values=np.zeros((5, 1)), extractor="other", probabilities=np.ones((5, 1)))
    assert most_mixed({"other": one_class}) == []


def test_the_samples_of_the_file_stand_beside_their_nearest_training_images(results_folder):
    rows = mixed(7), mixed(2, 0.7, 0.2), mixed(3, sample_seed=1), mixed(5, method="copy")
    results = load(folder_of(results_folder, *rows))
    rival, ours, copy = figure_5_mixed.galleries(results)
    assert rival.reason.startswith("no sample of the first seed") and len(copy.texts) == 1
    images = _samples.first(_samples.cells(results, "dpm_ot_ddim"), "5")["images"]
    np.testing.assert_array_equal(ours.drawn, images[[7, 2]])
    train = _samples.split(results, "A")
    np.testing.assert_array_equal(ours.nearest, train[_samples.nearest(images[[7, 2]], train)[0]])
    assert ours.texts == ("3: 0.60\n8: 0.30", "3: 0.70\n8: 0.20")
    figure = figure_5_mixed.make(results)
    assert [text.get_text() for axes in figure.axes for text in axes.texts if "3: " in text.get_text()]


def test_without_the_file_the_figure_says_so(results_folder):
    shown = figure_5_mixed.galleries(load(results_folder("smoke")))
    assert {gallery.reason for gallery in shown} == {"not run: the results hold no mixed.csv; measure again"}


def test_a_file_of_another_run_is_refused(results_folder):
    folder = folder_of(results_folder, mixed(1000))
    with pytest.raises(ValueError, match=r"mixed.csv is of another run: .* has no sample 1000"):
        figure_5_mixed.make(load(folder))


def test_points_are_refused_in_one_line(results_folder, capsys):
    folder = results_folder("toy2d")
    assert figure_5_mixed.PAGE.main(["--results", str(folder)]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "data set gaussians has points: take figure_5_mixed out of figures:" in told
    assert not (folder / "figures" / "figure_5_mixed.png").exists()
