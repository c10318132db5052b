"""Tables: what is bold, what is marked, what a missing number says, and what LaTeX and Markdown do with it."""

import csv
import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
from conftest import BUDGETS, read_csv, write_csv

from paper_figures import _comparison as comparison
from paper_figures import (
    _results,
    _tables,
    table_1_quality,
    table_2_mode_mixture,
    table_3_identity,
    table_4_distribution,
    table_5_differences,
    table_9_published_path,
)
from paper_figures._results import REPORTED, load
from paper_figures._tables import Cell, Document, Panel


def edited(folder, change):
    """Apply ``change`` to every pooled row of metrics.csv, and read the folder."""
    rows = read_csv(folder / "metrics.csv")
    for row in rows:
        if row["sample_seed"] == "pooled":
            change(row)
    write_csv(folder / "metrics.csv", rows)
    return load(folder)


def setting(folder, values, **wanted):
    """Set columns of the rows that match."""
    return edited(folder, lambda row: row.update(values) if all(row[k] == v for k, v in wanted.items()) else None)


def one(table, **wanted):
    """The one row of a long table that matches."""
    rows = table
    for column, entry in wanted.items():
        rows = rows[rows[column] == entry]
    assert len(rows) == 1, f"{len(rows)} rows match {wanted}"
    return rows.iloc[0]


def section(text, title):
    """Lines of the Markdown section whose heading starts with ``title``."""
    parts = re.split(r"^#+ ", text, flags=re.M)
    found = [part for part in parts if part.startswith(title)]
    assert len(found) == 1, f"{len(found)} sections start with {title}"
    return found[0].splitlines()


def printed(results, title):
    """{(method, network): cells} of one panel of Table 1's Markdown."""
    text = _tables.markdown(table_1_quality.layout(table_1_quality.make(results), results))
    rows = [line for line in section(text, title) if line.startswith("| ")]
    cells = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[1:]]
    return {(row[0], row[1]): row[2:] for row in cells if not row[0].startswith("*")}


FD = "FD (classifier) against test"


def test_the_lowest_ranked_distance_is_bold_and_a_lower_unranked_one_is_not(results_folder):
    cells = printed(load(results_folder("smoke")), FD)
    # fresh noise has the lowest FD at 5 NFE (1.40), a copy as its audit says; DDIM's 21.90 is the best ranked
    assert cells["Fresh noise (DDPM, DDIM)", "ddpm"][0] == "1.40 [1.24, 1.56] †"
    assert cells["DDIM", "ddpm"][0] == "**21.90 [20.10, 23.70]**"
    assert cells["EDM (Heun)", "edm"][0] == "44.00 [40.43, 47.57]"
    assert cells["Fresh noise (DDPM, DDIM)", "ddpm"][1] == "**1.59 [1.41, 1.77]**"


def test_a_value_whose_interval_overlaps_the_best_is_bold_and_one_beside_it_is_not(results_folder):
    folder = results_folder("smoke")
    nfe = {"metric": "fd_classifier", "reference": "test", "nfe_budget": "10"}
    setting(folder, {"value": "2.0", "low": "1.8", "high": "2.2"}, **nfe)
    setting(folder, {"value": "1.0", "low": "0.8", "high": "1.2"}, method="copy", **nfe)
    setting(folder, {"value": "1.3", "low": "1.1", "high": "1.5"}, method="ddim", **nfe)
    results = setting(folder, {"value": "1.5", "low": "1.21", "high": "1.8"}, method="edm", **nfe)
    cells = printed(results, FD)
    bold = {key for key, row in cells.items() if row[1].startswith("**")}
    assert bold == {("Copy (DDPM, DDIM)", "ddpm"), ("DDIM", "ddpm")}


def test_without_interval_bounds_a_value_prints_na_and_only_the_very_best_is_bold(results_folder):
    folder = results_folder("smoke")
    results = setting(folder, {"low": "", "high": ""}, metric="fd_classifier", reference="test", nfe_budget="10")
    cells = printed(results, FD)
    assert cells["Fresh noise (DDPM, DDIM)", "ddpm"][1] == "**1.59 [n/a]**"
    assert cells["Copy (DDPM, DDIM)", "ddpm"][1] == "1.74 [n/a]"


def test_a_small_distance_keeps_digits_that_tell_it_from_zero(results_folder):
    folder = results_folder("smoke")
    nfe = {"metric": "fd_classifier", "reference": "test", "nfe_budget": "10", "method": "copy"}
    results = setting(folder, {"value": "0.00283", "low": "-0.001", "high": "0.0066"}, **nfe)
    assert printed(results, FD)["Copy (DDPM, DDIM)", "ddpm"][1] == "**0.0028 [-0.0010, 0.0066]**"


def test_the_highest_inception_score_is_the_best_one(results_folder):
    table = table_1_quality.make(load(results_folder("smoke")))
    column = table[(table["metric"] == "is_classifier") & (table["nfe_budget"] == "10") & table["ranked"].astype(bool)]
    top = column.loc[column["value"].astype(float).idxmax()]
    assert top["best"]
    assert not one(column, method="edm")["best"]


def test_without_an_audit_no_row_is_ranked_or_bold_and_the_notes_say_so(results_folder):
    folder = results_folder("smoke")
    (folder / "audit.csv").unlink()
    results = load(folder)
    text = _tables.markdown(table_1_quality.layout(table_1_quality.make(results), results))
    body, notes = text.split("**Notes**")
    assert "**" not in body
    assert "No audit.csv: no row was audited, so none is ranked." in notes


def test_a_cell_the_audit_does_not_mention_is_unranked(results_folder):
    folder = results_folder("smoke")
    rows = [row for row in read_csv(folder / "audit.csv") if (row["method"], row["nfe_budget"]) != ("ddim", "5")]
    write_csv(folder / "audit.csv", rows)
    row = one(
        table_1_quality.make(load(folder)), method="ddim", nfe_budget="5", metric="fd_classifier", reference="test"
    )
    assert (row["ranked"], row["audit"], row["best"]) == (False, "not audited", False)


def test_a_cell_of_another_n_is_marked_and_never_best(results_folder):
    folder = results_folder("smoke")
    results = setting(folder, {"num_samples": 200}, method="fresh_noise", nfe_budget="10")
    cells = printed(results, FD)
    assert cells["Fresh noise (DDPM, DDIM)", "ddpm"][1] == "1.59 [1.41, 1.77] ‡"
    assert cells["Copy (DDPM, DDIM)", "ddpm"][1].startswith("**")


def test_floors_full_chains_and_the_sweep_never_compete(digits_folder):
    table = table_1_quality.make(load(digits_folder))
    beyond = table["group"].isin(["floor", "sweep"]) | (table["nfe_budget"] == "full")
    assert beyond.sum() > 0
    assert not table.loc[beyond, "best"].any()


def test_a_skipped_cell_prints_a_dash_and_its_reason_once(digits_folder):
    results = load(digits_folder)
    assert printed(results, FD)["DPM-OT (EDM, Heun)", "edm"][0] == "– (1)"
    text = _tables.markdown(table_1_quality.layout(table_1_quality.make(results), results))
    assert text.count("(1) skipped: NFE 5: Heun spends 2n-1 evaluations, 5 do not fit") == 1


def test_a_planned_method_without_rows_prints_not_run(results_folder):
    folder = results_folder("smoke")
    write_csv(folder / "metrics.csv", [row for row in read_csv(folder / "metrics.csv") if row["method"] != "edm"])
    cells = printed(load(folder), FD)
    assert cells["EDM (Heun)", "–"] == ["not run", "not run"]


def test_the_csv_never_leaves_a_measured_number_blank(digits_folder):
    table = table_1_quality.make(load(digits_folder))
    rows = list(csv.DictReader(comparison.csv(table, pd.DataFrame(columns=REPORTED)).decode().splitlines()))
    measured = [row["measured"] for row in rows]
    assert len(measured) > 500
    assert {"", "nan"}.isdisjoint(measured)
    assert {"skipped"} <= set(measured)


def test_the_nearest_neighbour_ratio_of_held_out_images_is_one(digits_folder):
    table = table_1_quality.make(load(digits_folder))
    train = table[table["reference"] == "train"].set_index(["metric", "method", "nfe_budget"])["value"]
    ratios, distances = train["nn_ratio_pixels"], train["nn_distance_pixels"]
    assert ratios["real_test", "0"] == 1
    expected = distances["copy", "5"] / distances["real_test", "0"]
    assert ratios["copy", "5"] == pytest.approx(expected, rel=1e-12)  # the same division


AUDIT = "Start and copying audit"


def test_a_method_with_held_out_atoms_is_audited_against_the_held_out_split(digits_folder):
    results = load(digits_folder)
    table = table_1_quality.make(results)
    recovery = table[(table["method"] == "as_code") & (table["metric"] == "recovery_pixels")]
    assert set(recovery["reference"]) == {"test"}
    level, share, authenticity, ratio = printed(results, AUDIT)["as coded: all four", "ddpm"][0].split(" / ")
    assert (level, share, authenticity) == ("0.14", "0.996", "0.002")
    distances = table[(table["metric"] == "nn_distance_pixels") & (table["reference"] == "test")]
    distances = distances.set_index(["method", "nfe_budget"])["value"]
    assert float(ratio) == pytest.approx(distances["as_code", "5"] / distances["real_train", "0"], abs=0.005)  # printed


def test_a_start_without_source_images_prints_a_dash_for_recovery_and_says_why_in_the_csv(digits_folder):
    results = load(digits_folder)
    assert printed(results, AUDIT)["DDIM", "ddpm"][0].split(" / ")[:2] == ["80", "–"]
    row = one(table_1_quality.make(results), method="ddim", nfe_budget="5", metric="recovery_pixels")
    assert (row["status"], row["reason"]) == ("skipped", "this start has no source image")


def test_a_real_split_has_no_distance_to_itself(digits_folder):
    results = load(digits_folder)
    text = _tables.markdown(table_1_quality.layout(table_1_quality.make(results), results))
    rows = [line.split(" | ") for line in section(text, "Floors and references") if "real, split" in line]
    cells = {row[0].strip("| "): [cell.strip() for cell in row[4:6]] for row in rows}
    assert cells["real, split A (train)"][1] == "–" != cells["real, split A (train)"][0]
    assert cells["real, split C (test)"][0] == "–" != cells["real, split C (test)"][1]


@pytest.fixture
def reported(tmp_path, monkeypatch):
    """Publish two numbers for "Digits": one without a value."""
    rows = [
        dict.fromkeys(REPORTED, "") | {"dataset": "Digits", "method": "ddim", "sampler": "ddim", "network": "ddpm",
        "nfe": "10", "metric": "fid", "value": "13.36", "num_samples": "50000", "conditional": "false",
        "source": "a paper", "grade": "T"},
        dict.fromkeys(REPORTED, "") | {"dataset": "digits", "method": "dpm-ot", "sampler": "ddim", "network": "ncsnv2",
        "nfe": "5", "metric": "fid", "source": "another", "grade": "T"},
        dict.fromkeys(REPORTED, "") | {"dataset": "celeba", "method": "ddim", "metric": "fid", "value": "6.53"},
    ]  # fmt: skip
    path = tmp_path / "reported.csv"
    write_csv(path, rows)
    published = _results.published
    monkeypatch.setattr(comparison, "published", lambda dataset: published(dataset, path))


def test_reported_numbers_stand_in_a_panel_of_their_own_and_never_in_a_measured_column(results_folder, reported):
    results = load(results_folder("smoke"))
    files = table_1_quality.produce(results)
    text = files["tables/table_1_quality.md"].decode()
    lines = section(text, "Reported (not measured here)")
    assert any("13.36" in line and "a paper" in line for line in lines)
    assert any("dpm-ot" in line and "not transcribed" in line for line in lines)
    assert "6.53" not in text  # another data set
    assert "13.36" not in text.split("## Reported")[0]
    header, *rows = files["tables/table_1_quality.csv"].decode().splitlines()
    row = dict(zip(header.split(","), next(r for r in rows if "13.36" in r).split(","), strict=True))
    assert (row["measured"], row["reported"], row["status"]) == ("not run", "13.36", "reported")
    assert (row["source"], row["grade"]) == ("a paper", "T")


def test_a_data_set_without_published_numbers_says_so(results_folder):
    text = table_1_quality.produce(load(results_folder("toy2d")))["tables/table_1_quality.md"].decode()
    assert "No published numbers for this data set (gaussians)." in text


def test_fid_is_printed_for_inception_features_only(results_folder):
    folder = results_folder("smoke")
    extra = [row | {"metric": "fd_inception", "features": "inception"} for row in read_csv(folder / "metrics.csv")
             if row["metric"] == "fd_classifier"]  # fmt: skip
    before = _tables.markdown(table_1_quality.layout(table_1_quality.make(load(folder)), load(folder)))
    assert "FID" not in before
    write_csv(folder / "metrics.csv", read_csv(folder / "metrics.csv") + extra)
    results = load(folder)
    after = _tables.markdown(table_1_quality.layout(table_1_quality.make(results), results))
    assert "## FID against test" in after


def test_integers_written_beside_empty_entries_are_read_as_integers(results_folder):
    folder = results_folder("smoke")

    def with_points(row):
        for column in ("nfe_counted", "num_samples"):
            row[column] = row[column] and f"{row[column]}.0"

    before = printed(load(folder), FD)
    assert printed(edited(folder, with_points), FD) == before


def test_several_sigmas_of_one_method_outside_a_sweep_are_refused(results_folder):
    folder = results_folder("smoke")
    rows = read_csv(folder / "metrics.csv")
    rows += [row | {"sigma_start": "7"} for row in rows if row["method"] == "copy"]
    write_csv(folder / "metrics.csv", rows)
    with pytest.raises(ValueError, match=r'"copy" has several pooled cells at NFE 5.*group "sweep"'):
        table_1_quality.make(load(folder))


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
    files = table_2_mode_mixture.produce(load(digits_folder))
    text = {path.rpartition(".")[2]: content.decode() for path, content in files.items()}
    assert len(re.findall(r"^## MMR at t", text["md"], re.M)) == 2
    assert len(re.findall(r"\\caption\{[^}]*MMR at t", text["tex"])) == 8
    assert all(f"mmr_{t}," in text["csv"] for t in table_2_mode_mixture.THRESHOLDS)


def test_table_3_prints_differences_and_verdicts(digits_folder):
    results = load(digits_folder)
    text = _tables.markdown(table_3_identity.layout(table_3_identity.make(results), results))
    line = next(line for line in text.splitlines() if line.startswith("| is_classifier"))
    cells = [cell.strip() for cell in line.strip("|").split(" | ")]
    assert cells == ["is_classifier", "none", "5", "20", "0.0041 [-0.011, 0.017]", "0.05", "0.002", "0.4", "equivalent"]
    assert sum("not shown |" in " ".join(line.split()) for line in text.splitlines()) == 2


def test_table_3_without_identity_csv_says_not_run(results_folder):
    results = load(results_folder("smoke"))
    files = table_3_identity.produce(results)
    assert b"not run: the results hold no identity.csv." in files["tables/table_3_identity.md"]
    assert files["tables/table_3_identity.csv"].decode().startswith("pair,metric,reference,nfe,seeds")


def test_every_table_states_n_seeds_and_fingerprint_in_markdown_and_latex(digits_folder):
    results = load(digits_folder)
    for module in (table_1_quality, table_2_mode_mixture):
        files = module.produce(results)
        for suffix in ("md", "tex"):
            text = files[f"tables/{module.NAME}.{suffix}"].decode()
            assert "n = 1500 samples a cell, pooled over 3 sample seeds" in text
            assert "3f9a1c0de5b2774a" in text


def test_latex_escapes_every_special_character():
    text = _tables.escape(r"a_b & 50 % #1 $x$ {y} ~ ^ \z <|> – †")
    assert text == (
        r"a\_b \& 50 \% \#1 \$x\$ \{y\} \textasciitilde{} \textasciicircum{} \textbackslash{}z "
        r"\textless{}\textbar{}\textgreater{} -- $^{\dagger}$"
    )


def test_a_latex_table_is_balanced_and_has_as_many_cells_in_each_row_as_columns(digits_folder):
    results = load(digits_folder)
    for module in (table_1_quality, table_2_mode_mixture, table_3_identity):
        text = module.produce(results)[f"tables/{module.NAME}.tex"].decode()
        assert text.count("{") - text.count("\\{") == text.count("}") - text.count("\\}")
        assert text.isascii()
        assert not re.search(r"(?<!\\)_", re.sub(r"\\label\{[^}]*\}", "", text))
        for rule in ("toprule", "midrule", "bottomrule"):
            assert text.count(f"\\{rule}") == text.count(r"\begin{tabular}") > 0
        for columns, body in re.findall(r"\\begin\{tabular\}\{(l+)\}(.*?)\\end\{tabular\}", text, re.S):
            rows = [line for line in body.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
            assert rows
            assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(columns)}


def test_a_bold_cell_keeps_its_marks_outside_in_both_formats():
    cell = Cell("1.0", bold=True, marks=("‡", "(2)"))
    panel = Panel("p", ("a",), ((cell,),))
    document = Document("d", "t", "c", (panel,), ())
    assert "**1.0** ‡ (2)" in _tables.markdown(document)
    assert r"\textbf{1.0}$^{\ddagger}$$^{\mathrm{(2)}}$" in _tables.latex(document)


def test_markdown_columns_line_up_when_read_raw(digits_folder):
    results = load(digits_folder)
    text = _tables.markdown(table_1_quality.layout(table_1_quality.make(results), results))
    lines = [line for line in section(text, FD) if line.startswith("|")]
    assert len(lines) == 2 + 17 + 4  # header and rule, methods, groups
    assert len({len(line) for line in lines}) == 1


def test_a_pipe_in_a_label_does_not_break_the_markdown_row(results_folder):
    results = load(results_folder("smoke"))
    methods = results.experiment["methods"] | {"ddim": {"label": "a|b", "group": "rivals"}}
    results = dataclasses.replace(results, experiment=results.experiment | {"methods": methods})
    text = _tables.markdown(table_1_quality.layout(table_1_quality.make(results), results))
    line = next(line for line in section(text, FD) if "a\\|b" in line)
    assert len(re.findall(r"(?<!\\)\|", line)) == 2 + 2 + len(BUDGETS["smoke"]) - 1


def test_table_4_prints_what_was_measured_marks_the_best_and_calls_the_rest_not_run(results_folder):
    folder = results_folder()
    rows = read_csv(folder / "metrics.csv")
    for row in [row for row in rows if row["sample_seed"] == "pooled" and row["metric"] == "fd_classifier"]:
        if row["reference"] == "test" and row["value"]:
            share = 0.9 if row["method"] == "edm_ddim" else 0.5
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
    assert "not run / not run / not run / 0.250 / not run" in "\n".join(section(text, "Against the training split A"))


def test_table_1_has_the_least_plain_distance_of_single_seeds_as_published_tables_do(results_folder):
    folder = results_folder()
    rows = read_csv(folder / "metrics.csv")
    row = next(r for r in rows if r["method"] == "ddim" and r["metric"] == "fd_classifier" and r["nfe_budget"] == "5")
    for seed, value in enumerate((7.5, 6.25, 8)):
        single = {"sample_seed": seed, "num_samples": 500, "value": value, "reference": "train"}
        rows.append({**row, **single, "metric": "plain_fd_classifier", "reason": ""})
    write_csv(folder / "metrics.csv", rows)
    results = load(folder)
    panel = section(
        _tables.markdown(table_1_quality.layout(table_1_quality.make(results), results)),
        "FD (classifier) against train as published",
    )
    assert "| 6.25" in next(line for line in panel if line.startswith("| DDIM"))
    assert "n = 500 samples a seed, 3 seeds" in "".join(panel)


def test_a_protocol_is_printed_with_what_was_altered(results_folder):
    results = load(results_folder())
    table = table_1_quality.make(results)
    for given, text in (
        ({"num_samples": 50_000, "sample_seeds": [0, 1, 2]}, "; protocol edm; train is split A ("),
        ({"num_samples": 500, "sample_seeds": [0, 1, 2]}, "; protocol edm, altered: num_samples 500; train is"),
    ):
        changed = dataclasses.replace(results, experiment=results.experiment | {"protocol": "edm"} | given)
        assert text in comparison.caption(table, changed, references="reference: test")


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
    assert any("77.00 [1.00, 99.00] †" in line for line in panel)


def test_table_2_says_how_good_the_classifier_is_on_each_split(results_folder):
    folder = results_folder()
    text = _tables.markdown(table_2_mode_mixture.layout(table_2_mode_mixture.make(load(folder)), load(folder)))
    assert "calibration of the classifier: not measured" in text
    rows = read_csv(folder / "metrics.csv")
    floor = next(row for row in rows if row["method"] == "real_test" and row["metric"] == "mmr_0.1")
    rows.append({**floor, "metric": "accuracy_classifier", "value": 0.981, "low": 0.97, "high": 0.99})
    write_csv(folder / "metrics.csv", rows)
    text = _tables.markdown(table_2_mode_mixture.layout(table_2_mode_mixture.make(load(folder)), load(folder)))
    assert "The classifier on real images, real, split C (test): accuracy_classifier 0.981 [0.970, 0.990]." in text


def with_replicates(folder):
    """FD's replicates, highly correlated between methods; returns the measured rows they belong to."""
    draw, rows = np.random.default_rng(0), []
    table, common = table_1_quality.make(load(folder)), draw.standard_normal(20)
    chosen = table[
        (table["metric"] == "fd_classifier") & (table["reference"] == "test") & (table["status"] == "measured")
    ]
    for row in chosen.to_dict("records"):
        cell = f"{row['method']}/{row['nfe_budget']}/{_results.sigma_key(row['sigma_start'])}"
        parts = row["value"] + 0.1 * common + 1e-3 * draw.standard_normal(20)
        parts += row["value"] - parts.mean()  # no bias: the debiased value is the plain one
        for group, value in [("all", row["value"]), *enumerate(parts)]:
            rows.append({"cell": cell, "metric": "fd_classifier", "reference": "test", "group": group, "value": value})
    write_csv(folder / "replicates.csv", rows)
    return chosen


def test_table_5_calls_the_only_ranked_method_of_a_column_the_best(results_folder):
    folder = results_folder()
    with_replicates(folder)
    rows = read_csv(folder / "audit.csv")
    for row in rows:
        if row["nfe_budget"] == "5" and row["method"] != "ddim":
            row["ranked"] = "False"
    write_csv(folder / "audit.csv", rows)
    results = load(folder)
    table = table_5_differences.make(results)
    assert not table.empty and "5" not in set(table["nfe_budget"])
    lines = section(_tables.markdown(table_5_differences.layout(table, results)), "FD (classifier) behind")
    column = [text.strip() for text in lines[2].split("|")].index("NFE 5")
    entries = {line.split("|")[1].strip(): line.split("|")[column].strip() for line in lines if line.startswith("| ")}
    assert entries.pop("DDIM") == "**best**" and "**best**" not in entries.values()


def test_table_5_pairs_replicates_with_the_best_ranked_method_and_corrects_for_many_cells(results_folder):
    folder = results_folder()
    chosen = with_replicates(folder)
    results = load(folder)
    found = table_5_differences.make(results)
    ranked = chosen[chosen["ranked"] & chosen["method"].isin(comparison.main_methods(results))]
    for row in found.to_dict("records"):
        column = ranked[ranked["nfe_budget"] == row["nfe_budget"]].set_index("method")["value"]
        assert row["best"] == column.idxmin() and row["difference"] == pytest.approx(
            column[row["method"]] - column.min()
        )
        assert row["high"] - row["low"] < 0.1  # alone each is known to 0.1 sqrt(19) 2: the common part cancels
        assert row["p"] <= row["p_holm"] <= 1
    text = _tables.markdown(table_5_differences.layout(found, results))
    assert "**best**" in text and f"Holm-corrected over the {len(found)} cells" in text
    (folder / "replicates.csv").unlink()
    assert table_5_differences.make(load(folder)).empty


NOTE = "CIFAR-10; cifar10.npz: 111 of 60000 images are JPEG copies, not the authors' pixels"


@pytest.mark.parametrize(
    "page",
    [table_1_quality, table_2_mode_mixture, table_3_identity, table_4_distribution, table_5_differences,
     table_9_published_path],
    ids=lambda module: module.NAME,
)  # fmt: skip
def test_every_table_says_how_exact_its_data_are(page, results_folder):
    folder = results_folder("smoke")
    (folder / "fingerprint.json").write_text(f'{{"data": {{"note": "{NOTE}"}}}}')
    markdown, latex, _ = page.produce(load(folder)).values()
    assert f"Data set digits ({NOTE}); " in markdown.decode() and "111 of 60000 images" in latex.decode()


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
