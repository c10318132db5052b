"""Table 1: what is bold, what is marked, and what a missing number says."""

import csv
import dataclasses
import json

import pytest
from edits import FD, edited, listed, one, printed, read_csv, section, setting, write_csv

from dpmot.features import inception
from paper_figures import (
    _long_form,
    _notes,
    _reported,
    _tables,
    table_1_quality,
)
from paper_figures._reported import REPORTED
from paper_figures._results import load

BLANK = dict.fromkeys(REPORTED.columns, "")


def test_the_lowest_ranked_distance_is_bold_and_a_lower_unranked_one_is_not(results_folder):
    cells = printed(load(results_folder("smoke")), FD)
    # fresh noise has the lowest FD at 5 NFE (1.40), a copy as its audit says; DDIM's 21.90 is the best ranked
    assert cells["Fresh noise (DDPM, DDIM)", "ddpm"][0] == "1.40 [1.24, 1.56] †"
    assert cells["DDIM", "ddpm"][0] == "**21.9 [20.1, 23.7]**"
    assert cells["EDM (Heun)", "edm"][0] == "44.0 [40.4, 47.6]"
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
    small = {"value": "0.00283", "low": "-0.001", "high": "0.0066"}
    setting(folder, small, metric="fd_classifier", reference="test", method="real_train")  # the floor
    results = setting(folder, small, **nfe)
    assert printed(results, FD)["Copy (DDPM, DDIM)", "ddpm"][1] == "**0.0028 [−0.0010, 0.0066]**"


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
    assert ("EDM (Heun)", "edm") not in cells
    results = load(folder)
    text = _tables.markdown(table_1_quality.layout(table_1_quality.make(results), results))
    assert "Without a value: EDM (Heun) (not run)." in "\n".join(section(text, FD))


def test_the_csv_never_leaves_a_measured_number_blank(digits_folder):
    table = table_1_quality.make(load(digits_folder))
    rows = list(csv.DictReader(_long_form.csv(table, load(digits_folder)).decode().splitlines()))
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


def page_of(results):
    return _tables.markdown(table_1_quality.layout(table_1_quality.make(results), results))


def test_a_method_with_held_out_atoms_is_audited_against_the_held_out_split(digits_folder):
    results = load(digits_folder)
    table = table_1_quality.make(results)
    recovery = table[(table["method"] == "as_code") & (table["metric"] == "recovery_pixels")]
    assert set(recovery["reference"]) == {"test"}
    level, share, authenticity, ratio, _, copies, word = listed(results, AUDIT)["as coded: all four", "5"]
    share, authenticity = share.split()[0], authenticity.split()[0]
    assert (level, share, authenticity, word) == ("0.14", "0.996", "0.002", "copies")
    assert float(copies.split()[0]) == pytest.approx(float(share), abs=0.005)  # of test, which it stores; printed
    distances = table[(table["metric"] == "nn_distance_pixels") & (table["reference"] == "test")]
    distances = distances.set_index(["method", "nfe_budget"])["value"]
    assert float(ratio) == pytest.approx(distances["as_code", "5"] / distances["real_train", "0"], abs=0.005)  # printed


def test_a_start_without_source_images_prints_a_dash_for_recovery_and_says_why_in_the_csv(digits_folder):
    results = load(digits_folder)
    assert listed(results, AUDIT)["DDIM", "5"][:2] == ["80", "–"]
    row = one(table_1_quality.make(results), method="ddim", nfe_budget="5", metric="recovery_pixels")
    assert (row["status"], row["reason"]) == ("skipped", "this start has no source image")


def test_a_real_split_has_no_distance_to_itself(digits_folder):
    results = load(digits_folder)
    text = _tables.markdown(table_1_quality.layout(table_1_quality.make(results), results))
    rows = [line.split(" | ") for line in section(text, "Floors and references") if "real, split" in line]
    cells = {row[0].strip("| "): [cell.strip() for cell in row[4:6]] for row in rows}
    assert cells["real, split A (train)"][1] == "–" != cells["real, split A (train)"][0]
    assert cells["real, split C (test)"][0] == "–" != cells["real, split C (test)"][1]


def test_the_note_on_an_exact_denoiser_has_the_levels_of_rows_that_store_images(results_folder):
    folder = results_folder("smoke")
    assert "exact denoiser" not in page_of(load(folder))  # a folder made before says nothing
    known = {"num_images": 599, "num_latents": 1000, "chance": 1 / 599, "low": 0.5, "high": 0.7}
    shares = {0.14: 0.612, 2.0: 0.3, 3.26: 0.031, 80.0: 0.001}  # 2: of no row; 80: of rows from the prior
    rows = [known | {"sigma": sigma, "value": value, "low": value - 0.001} for sigma, value in shares.items()]
    write_csv(folder / "ideal.csv", [row | {"high": row["value"] + 0.001} for row in rows])
    panel = " ".join(section(page_of(load(folder)), AUDIT))
    assert "At this N = 599 and" in panel
    assert "61.20 [61.10, 61.30] % at 0.14; 3.10 [3.00, 3.20] % at 3.26 of its sources, by chance 0.17 %" in panel
    assert "1,000 latents a level" in panel


@pytest.fixture
def reported(tmp_path, monkeypatch):
    """Publish two numbers for "Digits": one without a value."""
    rows = [
        BLANK | {"dataset": "Digits", "method": "ddim", "sampler": "ddim", "network": "ddpm",
        "nfe": "10", "metric": "fid", "value": "13.36", "num_samples": "50000", "conditional": "false",
        "source": "a paper", "grade": "T"},
        BLANK | {"dataset": "digits", "method": "dpm-ot", "sampler": "ddim", "network": "ncsnv2",
        "nfe": "5", "metric": "fid", "source": "another", "grade": "T"},
        BLANK | {"dataset": "celeba", "method": "ddim", "metric": "fid", "value": "6.53"},
    ]  # fmt: skip
    path = tmp_path / "reported.csv"
    write_csv(path, rows)
    published = _reported.published
    monkeypatch.setattr(_reported, "published", lambda dataset: published(dataset, path))


def test_reported_numbers_stand_in_a_panel_of_their_own_and_never_in_a_measured_column(results_folder, reported):
    results = load(results_folder("smoke"))
    files = table_1_quality.PAGE.produce(results)
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
    text = table_1_quality.PAGE.produce(load(results_folder("toy2d")))["tables/table_1_quality.md"].decode()
    assert "No published numbers for this data set (gaussians)." in text


def test_fid_is_printed_for_inception_features_only(results_folder):
    folder = results_folder("smoke")
    extra = [row | {"metric": "fd_inception", "features": "inception"} for row in read_csv(folder / "metrics.csv")
             if row["metric"] == "fd_classifier"]  # fmt: skip
    before = _tables.markdown(table_1_quality.layout(table_1_quality.make(load(folder)), load(folder)))
    assert "FID" not in before
    write_csv(folder / "metrics.csv", read_csv(folder / "metrics.csv") + extra)

    def shown():
        results = load(folder)
        return _tables.markdown(table_1_quality.layout(table_1_quality.make(results), results))

    assert "## FD of inception weights unknown against test" in shown() and "FID" not in shown()
    (folder / "fingerprint.json").write_text(json.dumps({"weights": {"of any name": inception.SHA256[:16]}}))
    assert "## FID against test" in shown()


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


def test_table_1_has_the_least_plain_distance_of_single_seeds_as_published_tables_do(results_folder):
    folder = results_folder()
    rows = read_csv(folder / "metrics.csv")
    row = next(r for r in rows if r["method"] == "ddim" and r["metric"] == "fd_classifier" and r["nfe_budget"] == "5")
    for seed, value in enumerate((7.5, 6.25, 8)):
        single = {"sample_seed": seed, "num_samples": 500, "value": value, "reference": "train"}
        rows.append({**row, **single, "metric": "plain_fd_classifier", "reason": ""})
    for seed, level in enumerate((1, 1, 3, 3)):  # of two levels, which are no more seeds
        rows.append({**rows[-1], "method": "sweep", "sigma_start": level, "sample_seed": seed % 2, "num_samples": 400})
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
        changed = dataclasses.replace(results, experiment=results.experiment.but(protocol="edm", **given))
        assert text in _notes.caption(table, changed, references="reference: test")
