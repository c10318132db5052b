"""Tables in the terminal: as wide as it is, and no number that the CSV file does not hold."""

import csv
import re

import pytest

from dpmot import cli
from dpmot.monitor import page, tables
from dpmot.monitor.columns import fitted
from dpmot.plugins import ROOT

REFERENCE = ROOT / "results" / "reference"
COMMITTED = sorted(path for path in REFERENCE.glob("*/tables/*.csv") if path.stat().st_size < 300_000)
FIRST = "dataset,method,label,group,nfe_budget,num_samples,metric,reference"
HEAD = f"{FIRST},measured,low,high,status,ranked,best,fingerprint"


def written(tmp_path, *rows, head=HEAD, name="table_1_quality"):
    path = tmp_path / "tables" / f"{name}.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


def row(method, nfe, value, low, high, *, ranked="True", best="False", metric="fd_pixels", status="measured"):
    return (
        f"d,{method},{method.upper()},rivals,{nfe},100,{metric},test,{value},{low},{high},{status},{ranked},{best},f00"
    )


@pytest.mark.parametrize("width", [50, 110])
@pytest.mark.parametrize("everything", [False, True], ids=["headline", "all"])
@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: f"{path.parts[-3]}/{path.stem}")
def test_every_committed_table_fits_the_terminal(path, everything, width):
    lines = tables.show(path, path.parts[-3], width=width, everything=everything)
    within = [line for line in lines if "/tables/" not in line]  # a path is not cut
    assert max(map(len, within)) <= width
    assert any(line.startswith(f"experiment {path.parts[-3]}") for line in lines)


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: f"{path.parts[-3]}/{path.stem}")
def test_the_headline_of_every_committed_table_is_that_of_its_page(path):
    """Every entry, at most ten rows, and no interval is promised that is not shown."""
    short = page.read(path.with_suffix(".md")).short
    text = "\n".join(tables.show(path, path.parts[-3], width=400))
    assert short is not None and 0 < len(short.rows) <= 10 and all(entry in text for row in short.rows for entry in row)
    assert "95 %" not in text or "±" in text or "[" in text
    assert "supplement" not in text and "--all" in text


def test_the_warning_of_a_page_is_told_and_the_best_of_a_headline_marked(tmp_path):
    path = written(tmp_path, row("a", 5, 1.0, 0.9, 1.1))
    path.with_suffix(".md").write_text(
        "# Table 1. X\n\n**smoke: no result.**\n\nCaption\n\n## In short: FD \\[x\\] by NFE\n\n"
        "| method | NFE 5 |\n|---|---|\n| *Rivals* | |\n| a \\| b | **1.00 ± 0.10** |\n| c | 2.00 † |\n\n"
        "Bold: best. All rows are in the supplement.\n\n"
        "## FD\n\n| method | NFE 5 |\n|---|---|\n| a | 1.00 |\n\n**Notes**\n\n- one\n"
    )
    lines = tables.show(path, "mine", width=60)
    assert lines[:3] == ["Table 1. X", "smoke: no result.", "experiment mine: FD [x] by NFE"]
    assert "Rivals" in lines and "a | b   1.00 ± 0.10 *" in lines and "*: best." in lines
    coloured = "\n".join(tables.show(path, "mine", width=60, colour=True))
    assert f"{tables.BOLD}1.00 ± 0.10{tables.PLAIN}" in coloured and "Bold: best." in coloured


def test_a_table_that_compares_nothing_at_budgets_is_read_from_its_page(tmp_path):
    path = written(tmp_path, "a,1", head="pair,p", name="table_3_identity")
    with pytest.raises(ValueError, match=r"table_3_identity\.md is not there, and this table is read from it"):
        tables.show(path, "e", width=80)


def test_words_are_wrapped_and_numbers_are_not():
    lines = fitted(["method", "value"], [[("a long name of a method",) * 3, ("1.00 ± 0.10",) * 3]], 28, [""])
    assert lines[2:] == ["a long name of   1.00 ± 0.10", " a method"]


def test_the_experiment_the_number_of_samples_and_the_fingerprint_are_told(tmp_path):
    lines = tables.show(written(tmp_path, row("a", 5, 1.0, 0.9, 1.1)), "mine", width=80)
    assert "experiment mine; n = 100; fingerprint f00" in lines
    assert "FD (pixels) against test, lower is better" in lines


@pytest.mark.parametrize(
    ("value", "low", "high", "texts"),
    [
        ("50.9024", "45.9266", "55.8783", ("50.9 [45.9, 55.9]", "50.9 ± 5.0", "50.9")),
        ("427.48", "408.28", "446.67", ("427 [408, 447]", "427 ± 19", "427")),
        ("0.00839", "0.0065", "0.0103", ("0.0084 [0.0065, 0.0103]", "0.0084 ± 0.0019", "0.0084")),
        ("-0.001", "-0.63", "0.63", ("0.00 [-0.63, 0.63]", "0.00 ± 0.63", "0.00")),
        ("3.14159", "", "", ("3.14", "3.14", "3.14")),
        ("2", "2", "2", ("2", "2", "2")),
        ("1e-12", "9e-13", "1.1e-12", ("1e-12 [9e-13, 1.1e-12]", "1e-12 ± 1e-13", "1e-12")),
    ],
)
def test_two_digits_of_the_half_width_decide_the_digits_of_a_value(value, low, high, texts):
    assert tables._entry({"value": value, "low": low, "high": high}, "value") == texts


def test_a_narrow_terminal_gets_half_widths_then_values_then_blocks(tmp_path):
    path = written(tmp_path, *(row("ddim", nfe, 12.34, 10.11, 14.57) for nfe in (5, 10, 20, 30)))

    def shown(width):
        return "\n".join(tables.show(path, "e", width=width))

    assert "12.3 [10.1, 14.6]" in shown(100)
    assert "12.3 ± 2.2" in shown(60) and "[10.1" not in shown(60)
    assert "±" not in shown(40) and shown(40).count("12.3") == 4
    assert shown(24).count("method") == 2 and shown(24).count("12.3") == 4


def test_the_best_what_is_not_ranked_skipped_and_not_run_is_marked(tmp_path):
    path = written(
        tmp_path,
        row("a", 5, 1.0, 0.9, 1.1, best="True"),
        row("b", 5, 0.5, 0.4, 0.6, ranked="False"),
        row("a", 10, "skipped", "n/a", "n/a", status="skipped", ranked="False"),
        row("b", 10, 2.0, 1.9, 2.1),
        row("c", 10, 2.0, 1.9, 2.1),
        row("d", 10, "not run", "n/a", "n/a", status="not run"),
    )
    lines = tables.show(path, "e", width=120)
    found = {line.split()[0]: line.split("  ", 1)[1].split("  ") for line in lines if re.match("[ABCD] ", line)}
    assert [text.strip() for text in found["A"] if text.strip()] == ["1.00 [0.90, 1.10] *", "–"]
    assert [text.strip() for text in found["B"] if text.strip()] == ["0.50 [0.40, 0.60] †", "2.00 [1.90, 2.10]"]
    assert [text.strip() for text in found["C"] if text.strip()] == ["·", "2.00 [1.90, 2.10]"]
    assert "not measured: D" in lines
    assert any(line.startswith("* may be the best; † not ranked") and "– skipped; · not run" in line for line in lines)
    assert f"{tables.BOLD}1.00 [0.90, 1.10]{tables.PLAIN}" in "\n".join(tables.show(path, "e", width=120, colour=True))


def test_the_numbers_of_a_committed_table_are_those_of_its_file():
    path = REFERENCE / "digits/tables/table_1_quality.csv"
    lines = tables.show(path, "digits", width=250, metric="fd_classifier")
    with path.open(newline="") as file:
        rows = {(one["label"], one["nfe_budget"], one["metric"], one["reference"]): one for one in csv.DictReader(file)}
    line = next(line for line in lines if line.startswith("DDIM  "))
    cells = re.findall(r"([\d.]+) \[([\d.]+), ([\d.]+)\]", line)
    assert len(cells) == 5
    for nfe, found in zip((5, 10, 20, 30, 50), cells, strict=True):
        one = rows["DDIM", str(nfe), "fd_classifier", "test"]
        given = [float(one[name]) for name in ("measured", "low", "high")]
        half = (given[2] - given[1]) / 2  # two digits of it: at most a twentieth is rounded away
        assert [float(text) for text in found] == pytest.approx(given, abs=half / 20)


def test_the_headline_names_the_best_ranked_method_at_each_budget(tmp_path):
    path = written(
        tmp_path,
        row("a", 5, 9.0, 8, 10),
        row("b", 5, 3.0, 2, 4),
        row("copier", 5, 0.1, 0.0, 0.2, ranked="False"),
        row("a", 10, 2.0, 1, 3),
        row("copier", 10, 0.1, 0.0, 0.2, ranked="False"),
    )
    lines = tables.best(path)
    assert lines[0].startswith("table_1_quality, FD (pixels) against test, lower is better")
    assert [re.split(r" {2,}", line.strip())[-2:] for line in lines[1:3]] == [
        ["3.0 [2.0, 4.0]", "B"],
        ["2.0 [1.0, 3.0]", "A"],
    ]
    assert lines[3:] == ["  not ranked at any NFE: COPIER"]


def test_nought_is_a_number(tmp_path):
    path = written(tmp_path, row("a", 5, 0.0, 0.0, 0.0), row("b", 5, 1.0, 0.5, 1.5))
    assert "A" in tables.best(path)[1] and any(line.startswith("A  ") for line in tables.show(path, "e", width=80))


def test_higher_is_better_turns_the_headline_round(tmp_path):
    rows = [row("a", 5, 1.0, 0.9, 1.1, metric="is_classifier"), row("b", 5, 3.0, 2, 4, metric="is_classifier")]
    assert "B" in tables.best(written(tmp_path, *rows))[1]


def test_a_table_is_found_by_number_and_by_the_beginning_of_its_name(tmp_path):
    written(tmp_path, row("a", 5, 1, 0, 2), name="table_10_later")
    first = written(tmp_path, row("a", 5, 1, 0, 2))
    written(tmp_path, row("a", 5, 1, 0, 2), name="table_1_quality_supplement")
    assert {tables.find(tmp_path, name) for name in ("1", "table_1", "table_1_quality")} == {first}
    assert tables.find(tmp_path, "10").stem == "table_10_later"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["table_1_qualty", "digits"], 'No table "table_1_qualty" in .*did you mean "table_1_quality"'),
        (
            ["table_1", "digits", "--metric", "fd_clasifier"],
            'No metric "fd_clasifier" in .*did you mean "fd_classifier"',
        ),
        (["table_3", "digits", "--metric", "fd_classifier"], "table_3_identity has no columns of metrics and budgets"),
    ],
)
def test_what_is_not_there_is_one_line(words, told, capsys):
    assert cli.main(["show", *words, "--results", str(REFERENCE)]) == 1
    error = capsys.readouterr().err
    assert re.search(told, error) and error.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [("", "holds no row"), (f"{HEAD}\n", "holds no row"), (f"{HEAD}\nd,a,A\n", "has rows that are cut")],
)
def test_a_damaged_file_is_one_line(tmp_path, text, told):
    path = written(tmp_path, name="table_2_x")
    path.write_text(text)
    with pytest.raises(ValueError, match=told):
        tables.show(path, "e", width=80)


def test_a_run_without_tables_yet_says_how_to_follow_it(tmp_path):
    with pytest.raises(ValueError, match=r"holds no table yet: .*dpmot status"):
        tables.find(tmp_path, "1")
