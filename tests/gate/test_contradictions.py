"""A results folder that contradicts itself is not compared: exit status 2, and one line with file, row and column."""

import pandas as pd
import pytest

from dpmot.cli import main
from dpmot.features import inception

LAST = 38  # row of the last one in a spreadsheet: 37 rows and the header


def rewritten(folder, change):
    """Change the text of metrics.csv."""
    file = folder / "metrics.csv"
    file.write_bytes(change(file.read_bytes()))


def added(folder, **change):
    """One more row: the third, which is of the first sample seed's pool, with changes."""
    table = pd.read_csv(folder / "metrics.csv", dtype=str, keep_default_na=False)
    pd.concat([table, table.iloc[[2]].assign(**change)]).to_csv(folder / "metrics.csv", index=False)


def refused(capsys, candidate, reference, words):
    assert main(["gate", str(candidate), str(reference)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line, line


@pytest.mark.parametrize(
    "change",
    [{"value": "9"}, {"nfe_budget": "5.0", "value": "9"}, {"sigma_start": "80.00"}, {"sigma_start": "80.0000001"}],
    ids=str,
)
def test_a_second_row_for_one_cell_is_refused_however_its_numbers_are_written(write_run, capsys, change):
    reference, candidate = write_run("reference"), write_run("candidate", fingerprint="b")
    table = pd.read_csv(candidate / "metrics.csv", dtype=str, keep_default_na=False)
    table.assign(sigma_start=table["sigma_start"].replace("80.0", "80")).to_csv(candidate / "metrics.csv", index=False)
    added(candidate, **change)
    refused(capsys, candidate, reference, f"metrics.csv, row {LAST + 1}: a second row for method ddim, nfe_budget 5")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text + text, f"row {LAST + 1}, column value: found "),
        (lambda text: text[:-30], f"row {LAST}: "),
        (lambda text: text[:1500], " entries in 21 columns"),
        (lambda text: text.replace(b"value", b"low", 1), "has the column low twice"),
        (lambda text: text + b"a," * 30 + b"b\n", f"row {LAST + 1}: 31 entries in 21 columns"),
        (lambda text: b"", "is no readable CSV file (it is empty)"),
        (lambda text: text.decode().encode("utf-16"), "is no readable CSV file"),
        (lambda text: text.replace(b",a\n", b",c\n", 1), "row 3, column fingerprint: found "),
    ],
    ids=["appended", "cut", "cut in the middle", "column twice", "long row", "empty", "utf-16", "two fingerprints"],
)
def test_a_damaged_file_is_refused(write_run, capsys, change, words):
    reference, candidate = write_run("reference"), write_run("candidate")
    rewritten(candidate, change)
    refused(capsys, candidate, reference, words)


@pytest.mark.parametrize(
    ("column", "entry"),
    [
        *(("value", entry) for entry in ("inf", "-inf", "nan", "1e999", "many", "0x1", " 1.0")),
        *(("nfe_budget", entry) for entry in ("five", "-5", "", "5.5", "1e1", " 5", "\N{ARABIC-INDIC DIGIT FIVE}")),
        *(("sample_seed", entry) for entry in ("Pooled", "-1", "", "00", "0.5")),
        ("num_samples", ""),
        ("num_samples", "-1000"),
        ("nfe_counted", "x"),
        ("sigma_start", "-80"),
        ("reference", "tset"),
        ("low", "99"),
    ],
)
def test_an_entry_of_one_seed_that_says_nothing_is_refused(write_run, capsys, column, entry):
    reference, candidate = write_run("reference"), write_run("candidate", fingerprint="b")
    table = pd.read_csv(candidate / "metrics.csv", dtype=str, keep_default_na=False)
    table.loc[1, column] = entry  # the first row of a sample seed
    table.to_csv(candidate / "metrics.csv", index=False)
    refused(capsys, candidate, reference, f'metrics.csv, row 3, column {column}: found "{entry}"; ')


@pytest.mark.parametrize(
    ("column", "entry", "words"),
    [
        *((column, "7", "has no row over all seeds") for column in ("nfe_budget", "metric", "sigma_start")),
        ("reference", "train", "has no row over all seeds"),
        ("network", "other", "has network other, the row over all seeds "),
        ("nfe_counted", "4", "has nfe_counted 4, the row over all seeds 5"),
    ],
)
def test_a_row_of_one_seed_that_the_row_over_all_seeds_contradicts_is_refused(write_run, capsys, column, entry, words):
    reference, candidate = write_run("reference"), write_run("candidate", fingerprint="b")
    table = pd.read_csv(candidate / "metrics.csv", dtype=str, keep_default_na=False)
    table.loc[1, column] = entry
    table.to_csv(candidate / "metrics.csv", index=False)
    refused(capsys, candidate, reference, words)


def test_rows_of_a_method_that_the_plan_does_not_know_are_refused(write_run, capsys):
    reference, candidate = write_run("reference"), write_run("candidate", fingerprint="b")
    (candidate / "experiment.json").write_text('{"methods": {"ddim": {}, "heun": {}}}')
    refused(capsys, candidate, reference, 'column method: found "dpm_ot"; the methods are ddim, heun, real_train')
    (candidate / "experiment.json").write_text('{"methods": 3}')
    refused(capsys, candidate, reference, "experiment.json, methods: found 3")


def test_a_value_that_its_replicates_contradict_is_refused(write_run, edit_rows, capsys):
    reference, candidate = write_run("reference"), write_run("candidate", fingerprint="b")
    for folder in (reference, candidate):  # as the measuring stage writes it: the value without its bias, and the plain
        table = pd.read_csv(folder / "metrics.csv", dtype=str, keep_default_na=False)
        plain = table[table["metric"] == "fd_classifier"].assign(metric="plain_fd_classifier")
        pd.concat([table, plain]).to_csv(folder / "metrics.csv", index=False)
    edit_rows(candidate, {"method": "ddim", "metric": "fd_classifier"}, value=1.5, low=1, high=2)
    refused(capsys, candidate, reference, "differ in fd_classifier of ddim at NFE 5, sigma 80: not of one run")


def test_replicates_that_are_cut_are_refused_under_one_fingerprint_too(write_run, capsys):
    reference, candidate = write_run("reference"), write_run("candidate")
    lines = (candidate / "replicates.csv").read_text().splitlines(keepends=True)
    (candidate / "replicates.csv").write_text("".join(lines[:-3]))
    refused(capsys, candidate, reference, "replicates.csv has cells of 17 and 20 replicates: it is cut")


def test_byte_order_marks_line_ends_and_empty_lines_are_no_contradiction(write_run):
    reference, candidate = write_run("reference"), write_run("candidate")
    rewritten(candidate, lambda text: b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n") + b"\r\n")
    assert main(["gate", str(candidate), str(reference)]) == 0


def test_runs_in_inception_features_compare_whichever_fingerprint_proves_the_weights(write_run):
    folders = [write_run("reference"), write_run("candidate", fingerprint="b")]
    for file in (folder / f"{name}.csv" for folder in folders for name in ("metrics", "replicates")):
        file.write_text(file.read_text().replace("classifier", "inception"))
    (folders[0] / "fingerprint.json").write_text(f'{{"weights": {{"inception: file": "{inception.SHA256[:16]}"}}}}')
    assert main(["gate", *map(str, folders)]) == main(["gate", *map(str, folders[::-1])]) == 0
