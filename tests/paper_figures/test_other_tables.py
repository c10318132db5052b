"""Tables 2 to 9: what each adds to the first."""

import json
import re

import pytest
from edits import BUDGETS, read_csv, section, setting, with_replicates, write_csv

from paper_figures import (
    _tables,
    table_1_quality,
    table_2_mode_mixture,
    table_3_identity,
    table_4_distribution,
    table_5_differences,
    table_9_published_path,
)
from paper_figures._results import load


def test_table_2_marks_a_threshold_where_the_floors_disagree_and_only_there(results_folder):
    folder = results_folder("smoke")
    results = setting(folder, {"value": "0.05", "low": "0.04", "high": "0.06"}, method="real_train", metric="mmr_0.1")
    table = table_2_mode_mixture.make(results)
    assert table_2_mode_mixture.floors_agree(table, "0.1") is True
    assert table_2_mode_mixture.floors_agree(table, "0.2") is False
    text = _tables.markdown(table_2_mode_mixture.layout(table, results))
    assert "## MMR at t = 0.1, lower" in text
    assert "## MMR at t = 0.2 §, lower" in text
    assert "§ the floors of splits A and C disagree beyond their intervals at t = 0.11, 0.115" in text


def test_table_2_says_that_agreement_is_unknown_where_a_floor_lacks_its_interval(results_folder):
    results = setting(results_folder("smoke"), {"low": "", "high": ""}, method="real_test", metric="mmr_0.1")
    table = table_2_mode_mixture.make(results)
    assert table_2_mode_mixture.floors_agree(table, "0.1") is None
    text = _tables.markdown(table_2_mode_mixture.layout(table, results))
    assert "a floor or its interval is missing at t = 0.1, so agreement is unknown" in text


def test_table_2_prints_two_thresholds_in_markdown_and_all_eight_in_latex_and_csv(digits_folder):
    files = table_2_mode_mixture.PAGE.produce(load(digits_folder))
    text = {path.rpartition(".")[2]: content.decode() for path, content in files.items()}
    assert len(re.findall(r"^## MMR at t", text["md"], re.M)) == 2
    assert {t for t in re.findall(r"\\caption\{[^}]*MMR at t = ([\d.]+)", text["tex"])} == set(
        table_2_mode_mixture.THRESHOLDS
    )
    assert all(f"mmr_{t}," in text["csv"] for t in table_2_mode_mixture.THRESHOLDS)


def with_the_variance_of_d(folder, *, methods):
    """Give every pooled row of MMR at t = 0.1 of these methods a variance of D beside it."""
    rows = read_csv(folder / "metrics.csv")
    beside = [row for row in rows if row["metric"] == "mmr_0.1" and row["sample_seed"] == "pooled" and row["value"]]
    values = {"metric": "trajectory_variance_pixels", "features": "pixels", "value": 0.0123, "low": 0.0119}
    rows += [{**row, **values, "high": 0.0127} for row in beside if row["method"] in methods]
    write_csv(folder / "metrics.csv", rows)
    return load(folder)


def test_table_2_prints_the_variance_of_d_with_its_interval_beside_the_mmr_and_marks_none_the_best(results_folder):
    folder = results_folder("smoke")
    before = _tables.markdown(table_2_mode_mixture.layout(table_2_mode_mixture.make(load(folder)), load(folder)))
    assert not re.search("^## Variance of D", before, re.M)
    results = with_the_variance_of_d(folder, methods=("ddim", "edm"))
    table = table_2_mode_mixture.make(results)
    moved = table[table["metric"] == "trajectory_variance_pixels"]
    assert set(moved["method"]) == {"ddim", "edm"} and not moved["best"].any()
    text = _tables.markdown(table_2_mode_mixture.layout(table, results))
    panel = "\n".join(section(text, "Variance of D along the way (no classifier), lower is better"))
    assert "| 0.01230 [0.01190, 0.01270]" in panel and "**" not in panel
    assert "Without a value: " in panel and "Copy (DDPM, DDIM) (not measured)" in panel
    for title in ("MMR at t = 0.1", "MMR at t = 0.2"):
        assert section(text, title) == section(before, title)


@pytest.mark.parametrize("asked", [True, False])
def test_table_2_says_not_measured_where_the_variance_of_d_was_asked_for_and_the_samples_lack_it(results_folder, asked):
    folder = results_folder("smoke")
    file = folder / "experiment.json"
    metrics = ["frechet", "mode_mixture", *["trajectory_variance"] * asked]
    file.write_text(json.dumps({**json.loads(file.read_text()), "metrics": metrics}))
    results = load(folder)
    text = _tables.markdown(table_2_mode_mixture.layout(table_2_mode_mixture.make(results), results))
    told = "Variance of D along the way (no classifier): not measured; samples were drawn before it was recorded"
    assert (told in text) == asked


def test_table_3_prints_differences_and_verdicts(digits_folder):
    results = load(digits_folder)
    text = _tables.markdown(table_3_identity.layout(table_3_identity.make(results), results))
    line = next(line for line in text.splitlines() if line.startswith("| IS (classifier)"))
    cells = [cell.strip() for cell in line.strip("|").split(" | ")]
    assert cells == [
        "IS (classifier)",
        "none",
        "5",
        "20",
        "0.004 [−0.011, 0.017]",
        "0.05",
        "0.002",
        "0.4",
        "equivalent",
    ]
    assert sum("not shown |" in " ".join(line.split()) for line in text.splitlines()) == 4  # in the headline too


def test_table_3_without_identity_csv_says_not_run(results_folder):
    results = load(results_folder("smoke"))
    files = table_3_identity.PAGE.produce(results)
    assert b"not run: the results hold no identity.csv." in files["tables/table_3_identity.md"]
    assert files["tables/table_3_identity.csv"].decode().startswith("pair,metric,reference,nfe,seeds")


def test_table_4_prints_what_was_measured_marks_the_best_and_calls_the_rest_not_run(results_folder):
    folder = results_folder()
    rows = read_csv(folder / "metrics.csv")
    for row in [row for row in rows if row["sample_seed"] == "pooled" and row["metric"] == "fd_classifier"]:
        if row["reference"] == "test" and row["value"]:
            share = 0.9 if row["method"] in ("edm_ddim", "real_train") else 0.5
            bounds = {"value": share, "low": share - 0.01, "high": share + 0.01}
            rows.append({**row, **bounds, "metric": "precision_classifier"})
            rows.append({**row, **bounds, "metric": "kd_classifier", "reason": "a remark"})
            rows.append({**row, **bounds, "metric": "recall_classifier", "reference": "train", "value": 0.25})
    write_csv(folder / "metrics.csv", rows)
    results = load(folder)
    table = table_4_distribution.make(results)
    assert set(table.loc[table["best"] & (table["metric"] == "precision_classifier"), "method"]) == {"edm_ddim"}
    text = _tables.markdown(table_4_distribution.layout(table, results))
    assert "0.900 [0.890, 0.910]" in text and "Mind: a remark." in text
    assert "not run" in "\n".join(section(text, "Feature likelihood divergence"))
    train = [line.split("|") for line in section(text, "Against the training split A") if line.startswith("| DDIM ")]
    assert [cell.strip(" *")[:4] for cell in train[0][4:-1]] == ["–", "–", "–", "0.25", "–"]


def test_likelihood_of_a_method_that_stores_the_test_images_is_against_the_other_split(results_folder):
    folder = results_folder()
    rows = read_csv(folder / "metrics.csv")
    for row in [r for r in rows if r["metric"] == "fd_classifier" and r["sample_seed"] == "pooled" and r["value"]]:
        stored_test = row["method"] == "as_code"
        if row["reference"] == ("train" if stored_test else "test"):
            rows.append({**row, "metric": "fld_classifier", "value": 77 if stored_test else 5, "low": 1, "high": 99})
    write_csv(folder / "metrics.csv", rows)
    results = load(folder)
    table = table_4_distribution.make(results)
    own = table[(table["method"] == "as_code") & (table["metric"] == "fld_classifier")]
    assert set(own.loc[own["status"] == "measured", "reference"]) == {"train"}
    panel = section(_tables.markdown(table_4_distribution.layout(table, results)), "Feature likelihood divergence")
    assert any("77 [1, 99] †" in line for line in panel)


def test_table_2_says_how_good_the_classifier_is_on_each_split(results_folder):
    folder = results_folder()
    text = _tables.markdown(table_2_mode_mixture.layout(table_2_mode_mixture.make(load(folder)), load(folder)))
    assert "calibration of the classifier: not measured" in text
    rows = read_csv(folder / "metrics.csv")
    floor = next(row for row in rows if row["method"] == "real_test" and row["metric"] == "mmr_0.1")
    rows.append({**floor, "metric": "accuracy_classifier", "value": 0.981, "low": 0.97, "high": 0.99})
    write_csv(folder / "metrics.csv", rows)
    text = _tables.markdown(table_2_mode_mixture.layout(table_2_mode_mixture.make(load(folder)), load(folder)))
    assert "The classifier on real images, real, split C (test): accuracy (classifier) 0.981 [0.970, 0.990]." in text


def test_table_5_calls_a_method_that_is_ranked_alone_the_only_one(results_folder):
    folder = results_folder()
    with_replicates(folder)
    rows = read_csv(folder / "audit.csv")
    for row in rows:
        if row["nfe_budget"] == "5" and row["method"] != "ddim":
            row.update(ranked="False", verdict="copies", reasons="copies")
    write_csv(folder / "audit.csv", rows)
    results = load(folder)
    table = table_5_differences.make(results)
    lines = section(_tables.markdown(table_5_differences.layout(table, results)), "FD (classifier) behind")
    column = [text.strip() for text in lines[2].split("|")].index("NFE 5")
    entries = {line.split("|")[1].strip(): line.split("|")[column].strip() for line in lines if line.startswith("| ")}
    assert entries.pop("DDIM") == "**the only one**" and "**the only one**" not in entries.values()


def test_table_5_has_the_distance_to_the_best_of_the_others_and_bold_is_table_1s(results_folder):
    folder = results_folder()
    chosen = with_replicates(folder)
    results = load(folder)
    found = table_5_differences.make(results)
    found = found[found["metric"] == "fd_classifier"]
    ranked = chosen[chosen["ranked"] & chosen["method"].isin(results.main_methods)]
    for row in found.to_dict("records"):
        column = ranked[ranked["nfe_budget"] == row["nfe_budget"]].set_index("method")["value"]
        assert row["behind"] == pytest.approx(column[row["method"]] - column.drop(row["method"]).min())
        assert row["high"] - row["low"] < 0.1  # alone each is known to 0.1 sqrt(19) 2: the common part cancels
        assert row["may_be_best"] == (row["p_holm"] > 0.05) and (row["low"] <= 0 or not row["may_be_best"])
    best = found[found["may_be_best"]]
    assert set(best["nfe_budget"]) == {"5", "10", "20", "30", "50"}
    bold = table_1_quality.make(results)
    bold = bold[bold["best"] & (bold["metric"] == "fd_classifier") & (bold["reference"] == "test")]
    assert set(zip(bold["method"], bold["nfe_budget"], strict=True)) == set(
        zip(best["method"], best["nfe_budget"], strict=True)
    )
    (folder / "replicates.csv").unlink()
    results = load(folder)
    assert table_5_differences.make(results)["behind"].isna().all()
    text = _tables.markdown(table_1_quality.layout(table_1_quality.make(results), results))
    assert "Bold: ranked values whose interval overlaps the best one's. This is no test" in text


def test_bold_is_no_overlap_of_intervals_where_replicates_tell_more(results_folder):
    folder = results_folder("smoke")
    setting(folder, {"low": "0", "high": "100"}, metric="fd_classifier", reference="test")  # wide: all overlap
    table = table_1_quality.make(load(folder))
    assert table.loc[(table["metric"] == "fd_classifier") & (table["reference"] == "test"), "best"].sum() > 2
    with_replicates(folder)  # differences of methods are known to thousandths
    table = table_1_quality.make(load(folder))
    best = table[(table["metric"] == "fd_classifier") & (table["reference"] == "test") & table["best"]]
    assert sorted(best["nfe_budget"]) == ["10", "5"]


def test_table_9_has_a_row_for_each_level_of_a_method_and_names_the_split_that_it_stores(digits_folder):
    results = load(digits_folder)
    text = _tables.markdown(table_9_published_path.layout(table_9_published_path.make(results), results))
    swept = [line.split("|") for line in section(text, "DPM-OT (EDM, DDIM), sweep (stored images: no image)")[2:]]
    levels = [cells[2].strip() for cells in swept if len(cells) > 2][2:]
    assert levels == ["0.1", "0.1", "0.3", "0.3", "1", "1", "2", "2", "3", "3", "5", "5", "10", "10"]  # at 5 and 10 NFE
    floor = section(text, "Floors: real images (classifier)")
    assert [line.split("|")[1].strip() for line in floor[4:6]] == ["real, split A (train)", "real, split C (test)"]


def test_table_9_looks_for_recovery_under_the_split_that_the_atoms_came_from(digits_folder):
    results = load(digits_folder)
    table = table_9_published_path.make(results)
    path = table[(table["method"] == "as_code") & (table["metric"] == "recovery_pixels")]
    assert set(path["reference"]) == {"test"} and len(path) == len(BUDGETS["digits"])
    text = _tables.markdown(table_9_published_path.layout(table, results))
    first = section(text, "as coded: all four")[4].split("|")
    assert first[1].strip() == "5" and path["value"].iloc[0] == pytest.approx(float(first[10].split()[0]), abs=5e-4)
