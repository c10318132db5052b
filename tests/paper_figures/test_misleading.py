"""What a table may not suggest: noise as the best, a copier's number of other images, raw keys, known training data."""

import dataclasses
import json
import re

import pytest
from edits import read_csv, section, write_csv

from dpmot import plugins
from paper_figures import (
    _tables,
    _verdicts,
    table_1_quality,
    table_2_mode_mixture,
    table_3_identity,
    table_4_distribution,
    table_8_break_even,
)
from paper_figures._results import load

REFERENCE = plugins.ROOT / "results" / "reference"


def markdown(page, results):
    return _tables.markdown(page.layout(page.make(results), results))


def with_rows(folder, *made):
    write_csv(folder / "metrics.csv", [*read_csv(folder / "metrics.csv"), *made])
    return load(folder)


def with_change(folder, change, **wanted):
    rows = read_csv(folder / "metrics.csv")
    for row in rows:
        if row["sample_seed"] == "pooled" and all(row[name] == entry for name, entry in wanted.items()):
            row.update(change)
    write_csv(folder / "metrics.csv", rows)
    return load(folder)


def pooled(folder, **wanted):
    rows = [row for row in read_csv(folder / "metrics.csv") if row["sample_seed"] == "pooled"]
    return next(row for row in rows if all(row[name] == entry for name, entry in wanted.items()))


def test_noise_is_never_the_best_of_the_committed_mode_mixtures():
    results = load(REFERENCE / "fashion_mnist")  # Heun at NFE 5: FD 1387, precision 0.000, mixture below real images'
    table = table_2_mode_mixture.make(results)
    heun = table[(table["method"] == "edm") & (table["nfe_budget"] == "5")]
    assert not heun["best"].any() and heun["audit"].str.startswith("noise: precision (classifier) 0.000").all()
    assert set(table.loc[table["best"] & (table["metric"] == "mmr_0.1") & (table["nfe_budget"] == "5"), "method"]) == {
        "mixture_by_class",
        "mixture_100",
        "mixture_100_pp_2m",
    }
    text = markdown(table_2_mode_mixture, results)
    assert (
        "† unranked, never bold (Details): noise: precision is certainly under a tenth" in text
        and "NFE 5: noise: precision (classifier) 0.000" in text
    )


def test_a_cell_is_noise_where_its_precision_is_certainly_a_tenth_of_real_images_in_all_features(results_folder):
    folder = results_folder("smoke")
    cell = pooled(folder, method="ddim", nfe_budget="5", metric="fd_classifier", reference="test")
    real = pooled(folder, method="real_train", metric="fd_classifier", reference="test")
    bounds = [{"value": 0.05, "low": 0.04, "high": 0.06}, {"value": 0.8, "low": 0.79, "high": 0.81}]
    rows = [cell | bounds[0], real | bounds[1]]
    rows = [row | {"metric": "precision_classifier"} for row in rows]
    results = with_rows(folder, *rows)
    chosen = results.pooled().query("method == 'ddim' and nfe_budget == '5'")
    assert not chosen["ranked"].any() and "0.050, under 0.1 of real images'" in chosen["audit"].iloc[0]
    seen = [row | bounds[1] | {"metric": "precision_other"} for row in rows]
    results = with_rows(folder, *seen)  # another space sees that the samples are good
    assert results.pooled().query("method == 'ddim' and nfe_budget == '5'")["ranked"].all()


def test_a_few_images_over_and_over_are_collapsed_and_not_the_best():
    results = load(REFERENCE / "singular_toy2d")  # Zero heights: 15 distinct samples of 1,500
    cells = results.pooled().query("method == 'zero_heights'")
    assert set(cells["verdict"]) == {"collapsed"} and not cells["ranked"].any()
    assert cells["audit"].str.startswith("collapsed: distinct samples (pixels) 0.010, recall (mixture) 0.000").all()
    table = table_1_quality.make(results)
    assert not table.loc[table["method"] == "zero_heights", "best"].any()
    text = markdown(table_1_quality, results)
    assert "| collapsed " in text and "collapsed: distinct samples, or recall in all features, are certainly" in text


def test_collapse_beside_another_word_has_both_reasons_and_the_gravest_word(results_folder):
    folder = results_folder("smoke")
    rows = read_csv(folder / "audit.csv")
    words = {"ddim": ("ranked", True, ""), "copy": ("copies", False, "share of copies .3"), "edm": ("not audited",) * 3}
    for row in rows:
        if row["method"] in words:
            row.update(zip(("verdict", "ranked", "reasons"), words[row["method"]], strict=True))
            row["ranked"] = row["ranked"] is True
    write_csv(folder / "audit.csv", rows)
    real = pooled(folder, method="real_train", metric="fd_classifier", reference="test")
    made = [real | {"metric": "recall_classifier", "value": 0.9, "low": 0.89, "high": 0.91}]
    for method, high in (("ddim", 0.08), ("copy", 0.08), ("edm", 0.08), ("fresh_noise", 0.1)):
        cell = pooled(folder, method=method, nfe_budget="10", metric="fd_classifier", reference="test")
        made.append(cell | {"metric": "recall_classifier", "value": 0.02, "low": 0, "high": high})
    cells = with_rows(folder, *made).pooled().query("nfe_budget == '10'").drop_duplicates("method").set_index("method")
    told = "collapsed: recall (classifier) 0.020, under 0.1 of real images'"
    assert tuple(cells.loc["ddim", ["verdict", "audit"]]) == ("collapsed", told)
    assert tuple(cells.loc["copy", ["verdict", "audit"]]) == ("copies", f"copies: share of copies .3; {told}")
    assert tuple(cells.loc["edm", ["verdict", "audit"]]) == ("collapsed", told)  # that nobody asked tells nothing more
    assert cells.loc["fresh_noise", "ranked"]  # its upper end is above a tenth: not certain


@pytest.mark.parametrize("metric", ["density_classifier", "nn_distance_pixels"])
def test_smooth_samples_are_ranked_with_a_remark(results_folder, metric):
    folder = results_folder("smoke")
    splits = ("test",) if metric.startswith("density") else ("test", "train")
    rows = [row for row in read_csv(folder / "metrics.csv") if row["metric"] != metric]
    write_csv(folder / "metrics.csv", rows)
    made = []
    for split in splits:
        real = pooled(folder, method="real_train", metric="fd_classifier", reference="test")
        real |= {"method": {"test": "real_train", "train": "real_test"}[split]}
        made.append(real | {"metric": metric, "reference": split, "value": 1, "low": 0.99, "high": 1.01})
        for method, value in (("ddim", 1.2), ("edm", 1.0), ("copy", 1.2)):
            value = value if metric.startswith("density") else 2 - value
            cell = pooled(folder, method=method, nfe_budget="5", metric="fd_classifier", reference="test")
            made.append(cell | {"metric": metric, "reference": split, "value": value, "low": value, "high": value})
    results = with_rows(folder, *made)
    cells = results.pooled().query("nfe_budget == '5'").drop_duplicates("method").set_index("method")
    assert cells.loc["ddim", "ranked"] and cells.loc["ddim", "verdict"] == "smooth"
    assert cells.loc["edm", "verdict"] == "" and cells.loc["copy", "verdict"] == "copies"  # the graver word
    text = markdown(table_1_quality, results)
    assert "| smooth " in text and "- DDIM\n  - NFE 5: smooth: " in text and "Smooth (Details) is a remark" in text


def test_the_committed_smooth_rows_are_those_that_lie_nearer_to_all_images():
    smooth = _verdicts.smooth(load(REFERENCE / "fashion_mnist").metrics)
    assert {key[:2] for key in smooth if key[0] == "ddpm"} == {("ddpm", "5"), ("ddpm", "10")}


def test_every_word_of_the_audit_is_printed_and_told(results_folder):
    folder = results_folder("smoke")
    rows = read_csv(folder / "audit.csv")
    words = {"ddim": "not audited", "edm": "not converged", "copy": "copies"}
    for row in rows:
        if row["nfe_budget"] == "10" and row["method"] in words:
            row.update(verdict=words[row["method"]], ranked="False", reasons="why")
    write_csv(folder / "audit.csv", rows)
    text = markdown(table_1_quality, load(folder))
    for method, word in words.items():
        assert f"| {word} " in text and f"NFE 10: {word}: why" in text, method
    assert (
        "not converged: the transport behind it did not converge; not audited: not measured, or too uncertain" in text
    )


def test_what_is_better_than_real_images_beyond_both_intervals_is_marked_and_not_ranked(results_folder):
    folder = results_folder("smoke")
    rows, floor = read_csv(folder / "metrics.csv"), pooled(folder, method="real_test", metric="mmr_0.1")
    for row in rows:
        moved = row["metric"] == "mmr_0.1" and row["nfe_budget"] == "5" and row["method"] in ("ddim", "fresh_noise")
        if moved and row["sample_seed"] == "pooled":  # far below the floor; and within its interval
            low = float(floor["low"]) / (2 if row["method"] == "ddim" else 1)
            row.update(value=low, low=low * 0.99, high=low * 1.01)
    write_csv(folder / "metrics.csv", rows)
    results = load(folder)
    table = table_2_mode_mixture.make(results)
    row = table.query("method == 'ddim' and nfe_budget == '5' and metric == 'mmr_0.1'").iloc[0]
    assert not row["ranked"] and not row["best"] and row["audit"].startswith("better than real images")
    assert table.query("method == 'ddim' and nfe_budget == '5' and metric == 'mmr_0.2'")["ranked"].all()
    text = markdown(table_2_mode_mixture, results)
    assert "] ¶ " in text and "¶ better than real images of another split, beyond both intervals" in text


def test_a_rival_that_was_not_run_everywhere_is_not_called_never_as_good(results_folder):
    folder = results_folder("smoke")
    rows = read_csv(folder / "metrics.csv")
    rows = [row for row in rows if (row["method"], row["nfe_budget"]) != ("ddim", "10")]
    write_csv(folder / "metrics.csv", rows)
    text = markdown(table_8_break_even, load(folder))
    assert "rival not as good at NFE 5; nothing at 10" in text
    write_csv(folder / "metrics.csv", [row for row in rows if row["method"] != "ddim"])
    assert "rival not run" in markdown(table_8_break_even, load(folder))


@pytest.mark.parametrize(
    ("atoms", "n", "words"),
    [
        (None, 599, "hands back the 599 images of split A exactly tends to FD (classifier) 0.34 against test"),
        (100, 100, "hands back the first 100 images of split A, which the starts store, exactly tends to FD (classifi"),
        (100, 599, "The starts store the first 100 images of split A. What a method that hands these back exactly ten"),
    ],
)
def test_the_copiers_distance_is_that_of_the_stored_images(results_folder, atoms, n, words):
    folder = results_folder("smoke")
    real = pooled(folder, method="real_train", metric="fd_classifier", reference="test")
    value = {"metric": "copy_fd_classifier", "value": 0.34, "low": 0.34, "high": 0.34, "num_samples": n}
    results = with_rows(folder, real | value)
    results = dataclasses.replace(results, experiment=results.experiment.but(num_atoms=atoms))
    text = markdown(table_1_quality, results)
    assert words in text
    told = f"{n} fresh real images, handed back so, tend to"
    assert (f"{told} – (not measured)" in text) == (atoms in (None, n))
    fresh = {"metric": "fresh_fd_classifier", "value": 0.21, "low": 0.15, "high": 0.27, "num_samples": n}
    results = dataclasses.replace(with_rows(folder, real | fresh), experiment=results.experiment)
    assert (f"{told} 0.210 [0.150, 0.270]" in markdown(table_1_quality, results)) == (atoms in (None, n))


def test_the_authenticity_of_held_out_images_is_the_measured_one():
    text = markdown(table_1_quality, load(REFERENCE / "fashion_mnist_atoms"))
    assert "Authenticity: of held-out images 0.7166 [0.7077, 0.7254]." in text and "about one half" not in text


def test_pages_name_metrics_as_their_files_do(digits_folder):
    results = load(digits_folder)
    for page in (table_1_quality, table_2_mode_mixture, table_3_identity, table_4_distribution):
        text = markdown(page, results)
        assert not [word for word in ("_classifier", "_pixels", "sigma_start") if word in text], page.PAGE.name


def test_a_page_says_that_loaded_weights_may_have_seen_the_other_splits(results_folder):
    folder = results_folder("smoke")
    plan = json.loads((folder / "experiment.json").read_text())
    plan["networks"]["ddpm"] = {"kind": "ddpm", "weights": "downloads/ddpm.safetensors"}
    plan["networks"]["edm"] = {"kind": "edm", "weights": "results/reference/digits/weights/edm.safetensors"}
    (folder / "experiment.json").write_text(json.dumps(plan))
    told = "loaded weights (ddpm): trained on images not known here, maybe those of splits B or C"
    assert told in markdown(table_1_quality, load(folder)) and told in load(folder).source


def test_fresh_images_are_the_floor_of_fld(results_folder):
    folder = results_folder("smoke")
    real = pooled(folder, method="real_train", metric="fd_classifier", reference="test")
    sample = real | {"metric": "fresh_fld_classifier", "value": -3.0, "low": -4.0, "high": -2.0, "num_samples": 400}
    told = "400 fresh real images of split B, which nothing stores, have FLD (classifier) −3.0 [−4.0, −2.0] against"
    assert told in markdown(table_4_distribution, with_rows(folder, sample))


def test_a_remark_names_the_cells_that_it_is_about(results_folder):
    heavy = {"reason": "heavy tails"}
    results = with_change(results_folder("smoke"), heavy, method="ddim", nfe_budget="10", metric="fd_classifier")
    assert "- Mind: heavy tails (DDIM at NFE 10)." in markdown(table_1_quality, results)


def test_a_word_is_said_once_before_its_reason(results_folder):
    folder = results_folder("smoke")
    text = markdown(table_1_quality, load(folder))
    assert ": copies: share of copies of training images" in text and "copies: copies" not in text


def test_intervals_that_count_the_reference_are_told_as_no_comparison(results_folder):
    folder, told = results_folder("smoke"), "so overlap does not tell whether one method is better"
    assert told in markdown(table_1_quality, load(folder))


def test_equal_shares_of_both_splits_are_both_printed(results_folder):
    same = {"value": 0.002, "low": 0, "high": 0.1}
    results = with_change(results_folder("smoke"), same, method="ddim", metric="copies_pixels")
    panel = section(markdown(table_1_quality, results), "Start and copying audit")
    assert any(re.search(r"\| 0.002 \[0.000, 0.100\] +\| 0.002 \[0.000, 0.100\] ", line) for line in panel)
