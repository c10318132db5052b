"""Tables and figures refuse alike what contradicts itself: one line with file, row and column, no output."""

import dataclasses
import json
from dataclasses import replace
from importlib import import_module

import pytest
from edits import read_csv, with_replicates, write_csv

from dpmot import results
from dpmot.results import Schema
from paper_figures import _style
from paper_figures._results import load


def fails(capsys, folder, name):
    status = import_module(f"paper_figures.{name}").PAGE.main(["--results", str(folder)])
    captured = capsys.readouterr()
    assert (status, captured.out, captured.err.count("\n")) == (1, "", 1), captured.err
    return captured.err


def changed(folder, file, row, **entries):
    rows = read_csv(folder / file)
    rows[row].update(entries)
    write_csv(folder / file, rows)


@pytest.mark.parametrize("page", ["table_1_quality", "figure_3_nfe", "figure_4_mode_mixture", "figure_8_sigma_sweep"])
@pytest.mark.parametrize(
    ("file", "entries"),
    [
        ("metrics.csv", {"value": "inf"}),
        ("metrics.csv", {"nfe_budget": "5.5"}),
        ("metrics.csv", {"dataset": "mnist"}),
        ("metrics.csv", {"training_seed": "7"}),
        ("metrics.csv", {"fingerprint": "other"}),
        ("metrics.csv", {"method": "nobody"}),
    ],
    ids=str,
)
def test_one_entry_of_another_run_is_named(results_folder, capsys, page, file, entries):
    folder = results_folder("smoke")
    changed(folder, file, 41, **entries)
    (column, entry), *_ = entries.items()
    message = fails(capsys, folder, page)
    assert f"{file}, row 43, column {column}: found " in message and entry in message


@pytest.mark.parametrize("page", ["table_2_mode_mixture", "figure_3_nfe", "figure_7_neighbours"])
def test_two_levels_of_one_method_at_a_budget_are_refused_by_figures_too(results_folder, capsys, page):
    folder = results_folder("smoke")
    rows = read_csv(folder / "metrics.csv")
    write_csv(folder / "metrics.csv", rows + [row | {"sigma_start": "7"} for row in rows if row["method"] == "copy"])
    assert '"copy" has several pooled cells at NFE 5' in fails(capsys, folder, page)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"sigma": "x"}', "star.json, sigma: "),
        ('{"sigma": NaN}', "star.json, sigma: "),
        ('{"sigma": 2, "rows": 3}', "star.json, rows: "),
        ('{"sigma": 2, "rows": [{"sigma": 1, "recovery": []}]}', "star.json, rows.0.recovery"),
    ],
)
def test_a_selection_that_cannot_be_read_is_one_line(results_folder, capsys, content, words):
    folder = results_folder("digits")
    (folder / "star.json").write_text(content)
    assert words in fails(capsys, folder, "figure_8_sigma_sweep")


def test_timings_and_fingerprints_that_cannot_be_read_are_one_line(results_folder, capsys):
    folder = results_folder("smoke")
    (folder / "timings").mkdir()
    (folder / "timings" / "solve.json").write_text('{"job": "solve", "arithmetic_s": null}')
    assert "solve.json, arithmetic_s: " in fails(capsys, folder, "table_8_break_even")
    (folder / "fingerprint.json").write_text('{"data": 3}')
    assert "fingerprint.json, data: " in fails(capsys, folder, "figure_3_nfe")


def test_replicates_of_another_run_are_refused(results_folder, capsys):
    folder = results_folder("smoke")
    with_replicates(folder)
    rows = read_csv(folder / "metrics.csv")
    for row in rows:
        if row["method"] == "ddim" and row["metric"] == "fd_classifier":
            row.update(value="30", low="29", high="31")
    write_csv(folder / "metrics.csv", rows)
    assert "differ in fd_classifier of ddim at NFE" in fails(capsys, folder, "table_5_differences")
    write_csv(folder / "replicates.csv", read_csv(folder / "replicates.csv")[:-3])
    assert "replicates.csv" in fails(capsys, folder, "table_5_differences")


# --- pages that are there already ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "gone"),
    [("figure_2_samples", "samples/ddim.safetensors"), ("figure_7_neighbours", "data.safetensors")],
)
def test_a_good_page_is_kept_where_what_it_shows_is_gone(results_folder, capsys, page, gone):
    folder, command = results_folder("smoke"), import_module(f"paper_figures.{page}").PAGE.main
    assert command(["--results", str(folder)]) == 0
    picture = folder / "figures" / f"{page}.png"
    good = picture.read_bytes()
    (folder / gone).unlink()
    assert command(["--results", str(folder)]) == 0 and picture.read_bytes() == good
    told = capsys.readouterr().err
    assert f"kept figures/{page}.png" in told and gone in told and "delete the page to make it without" in told
    picture.unlink()
    (folder / "figures" / f"{page}.pdf").unlink()
    assert command(["--results", str(folder)]) == 0 and picture.read_bytes() != good


def test_a_page_whose_files_are_all_there_is_made_again(results_folder):
    folder, command = results_folder("smoke"), import_module("paper_figures.table_1_quality").PAGE.main
    with_replicates(folder)
    assert command(["--results", str(folder)]) == 0
    (folder / "tables" / "table_1_quality.md").write_text("old")
    assert command(["--results", str(folder)]) == 0
    assert (folder / "tables" / "table_1_quality.md").read_text().startswith("# Table 1")


# --- runs that are no result --------------------------------------------------------------------------------


def marked(folder, words):
    """Tables in three forms, and a figure, of a folder: whether each says these words."""
    results = load(folder)
    files = import_module("paper_figures.table_1_quality").PAGE.produce(results)
    markdown, headline, latex, csv = (content.decode() for content in files.values())
    assert markdown.splitlines()[2].startswith(f"**{words}") and latex.count(rf"\caption{{\textbf{{{words}") > 3
    assert headline.count(rf"\caption{{\textbf{{{words}") == 1
    assert "not_a_result" in csv.splitlines()[0] and words in csv.splitlines()[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scale": "smoke"}, "SMOKE RUN"),
        ({"experiment": "digits_smoke"}, "SMOKE RUN"),
        ({"notes": ["num_samples overridden"]}, "NOT THE EXPERIMENT AS WRITTEN: num"),
    ],
    ids=str,
)
def test_every_form_of_a_page_says_that_a_smoke_or_overridden_run_is_no_result(results_folder, change, words):
    folder = results_folder("toy2d")
    plain = import_module("paper_figures.figure_10_smoothness").PAGE.produce(load(folder))
    (folder / "experiment.json").write_text(json.dumps(json.loads((folder / "experiment.json").read_text()) | change))
    rows = read_csv(folder / "metrics.csv")
    name = change.get("experiment", rows[0]["experiment"])
    write_csv(folder / "metrics.csv", [row | {"experiment": name} for row in rows])
    marked(folder, words)
    assert import_module("paper_figures.figure_10_smoothness").PAGE.produce(load(folder)) != plain


def test_an_experiment_as_it_is_written_has_no_mark(results_folder):
    files = import_module("paper_figures.table_1_quality").PAGE.produce(load(results_folder("toy2d")))
    assert not any(b"RESULT" in content or b"not_a_result" in content for content in files.values())


def test_a_column_that_readers_do_without_may_have_words_and_be_missing(tmp_path):
    schema = Schema(columns=("method", "verdict"), key=("method",), words={"verdict": ("a|b", "a and b are")})
    schema = dataclasses.replace(schema, unread=("verdict",))
    file = tmp_path / "audit.csv"
    file.write_text("method\nddim\n")
    assert list(results.text(file, schema)["method"]) == ["ddim"]
    file.write_text("method,verdict\nddim,c\n")
    with pytest.raises(ValueError, match='found "c"; a and b are allowed'):
        results.text(file, schema)


@pytest.mark.parametrize("name", ["table_1_quality", "table_7_coupling", "table_12_speed", "table_13_memory"])
def test_a_table_of_one_training_says_what_its_intervals_are_over(results_folder, name):
    files = import_module(f"paper_figures.{name}").PAGE.produce(load(results_folder("toy2d")))
    for ending in (".md", ".tex", "_full.tex"):
        told = " ".join(files[f"tables/{name}{ending}"].decode().split())
        over = "over noises" if name == "table_7_coupling" else "over samples"
        assert over in told or "nothing to show" in told, ending


def test_the_small_print_of_a_figure_says_what_its_intervals_are_over_and_how_many_methods_went(results_folder):
    results = load(results_folder("toy2d"))
    small = _style.measured_note(results, results.pooled())
    assert "95 % intervals, over samples;" in small and "leaves out" not in small
    went = results.experiment.but(left_out=("left out: methods gone_1, gone_2; networks gone",))
    small = _style.measured_note(replace(results, experiment=went), results.pooled())
    assert "; its own configuration leaves out 2 methods, which the tables name; n = " in small


def test_what_a_configuration_leaves_out_itself_ends_its_pages_and_heads_none(results_folder):
    folder = results_folder("toy2d")
    file = folder / "experiment.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"left_out": ["left out: methods gone_1, gone_2"]}))
    files = import_module("paper_figures.table_1_quality").PAGE.produce(load(folder))
    markdown, headline, latex, csv = (content.decode() for content in files.values())
    told = "Of this experiment's own configuration: left out: methods gone"
    assert told in markdown.replace("\\", "") and "NOT THE EXPERIMENT" not in markdown + headline + latex + csv
    assert markdown.index("gone") > markdown.rindex("| ") and "not\\_a\\_result" not in csv and "gone" in latex
