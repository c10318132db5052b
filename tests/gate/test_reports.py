"""What the gate prints and writes, its exit statuses, and updates of the reference."""

import xml.etree.ElementTree as ElementTree

import pandas as pd
import pytest

from dpmot.cli import main
from dpmot.gate.compare import compare
from dpmot.gate.report import annotations, junit, text
from dpmot.gate.runs import CannotCompare, Run
from dpmot.gate.update import update
from dpmot.runtime.packed import stored

SHIFT = {("heun", "fd_classifier"): 12.0, ("ddim", "mmr_0.1"): 0.2}


@pytest.fixture
def runs(write_run):
    return write_run("candidate", fingerprint="b", shift=SHIFT), write_run("reference")


def test_the_report_names_the_worst_cells_with_difference_margin_and_p(runs):
    report = compare(*map(Run.read, runs))
    lines = text(report).splitlines()
    assert lines[0] == "gate REGRESSED: the same sample seeds: differences in pairs; 17 equivalent, 2 worse"
    assert lines[1].split()[:4] == ["cell", "metric", "was", "now"]
    assert any(
        line.startswith("heun at NFE 5, sigma 80") and "+12" in line and line.endswith("worse") for line in lines
    )
    assert lines[-1].endswith('--update --reason "why"')
    passed = compare(Run.read(runs[1]), Run.read(runs[1]))
    assert text(passed) == "gate PASSED: one fingerprint: to the last digit; 37 same"


def test_junit_has_a_case_for_each_cell_and_says_what_failed(runs):
    suite = ElementTree.fromstring(junit(compare(*map(Run.read, runs))))
    cases = {case.get("name").split()[0]: case for case in suite}
    assert set(cases) == {"ddim", "heun", "dpm_ot", "real_test"} and suite.get("failures") == "2"
    assert cases["dpm_ot"].find("failure") is None
    assert "fd_classifier (test): " in cases["heun"].find("failure").text


def test_annotations_are_githubs_commands_one_for_each_cell(runs):
    lines = annotations(compare(*map(Run.read, runs))).splitlines()
    assert len(lines) == 2  # in a title, commas and colons would end it
    assert lines[1].startswith("::error title=dpmot gate heun at NFE 5%2C sigma 80::fd_classifier (test) ")


def test_exit_statuses_are_0_passed_1_regressed_2_incomparable(runs, capsys, tmp_path):
    candidate, reference = map(str, runs)
    assert main(["gate", reference, reference]) == 0
    assert main(["gate", candidate, reference, "--junit", str(tmp_path / "gate.xml"), "--github"]) == 1
    assert "::error" in capsys.readouterr().out and (tmp_path / "gate.xml").is_file()
    assert main(["gate", candidate, str(tmp_path / "nowhere")]) == 2
    assert main(["gate", candidate, reference, "--alpha", "2"]) == 2
    assert main(["gate", candidate, reference, "--update"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and all(line.startswith("dpmot gate: ") for line in lines)
    assert "--reason" in lines[2]


def test_a_run_that_cannot_be_compared_says_so_wherever_somebody_looks(runs, capsys, tmp_path):
    file = tmp_path / "gate.xml"
    assert main(["gate", str(runs[0]), str(tmp_path / "nowhere"), "--junit", str(file), "--github"]) == 2
    said = capsys.readouterr()
    suite = ElementTree.parse(file).getroot()
    assert suite.get("errors") == "1" and "nowhere" in suite.find("testcase/error").get("message")
    assert said.out.startswith("::error title=dpmot gate cannot compare::") and "nowhere" in said.err


def test_an_update_replaces_the_reference_and_logs_what_it_was(runs, capsys):
    candidate, reference = runs
    (candidate / "experiment.json").write_text("{}")
    old = Run.read(reference).cells
    assert main(["gate", str(candidate), str(reference), "--update", "--reason", "a better, rounder grid"]) == 0
    assert "2 of 19 cells changed" in capsys.readouterr().out
    assert main(["gate", str(candidate), str(reference)]) == 0
    log = pd.read_csv(reference / "updates.csv", dtype=str, keep_default_na=False)
    assert set(log["reason"]) == {"a better, rounder grid"} and len(log) == 2
    logged = {(row.method, row.metric): row.old for row in log.itertuples()}
    assert logged == {(key[0], key[-1]): old[key]["value"] for key in old if (key[0], key[-1]) in SHIFT}
    assert (reference / "experiment.json").is_file() and stored(reference / "replicates.csv").is_file()
    update(reference, reference, "again")
    assert len(pd.read_csv(reference / "updates.csv")) == 2  # nothing changed, the log is kept


def test_a_first_reference_is_one_line_of_the_log(write_run, tmp_path):
    candidate, fresh = write_run("candidate"), tmp_path / "fresh"
    update(candidate, fresh, "the first")
    log = pd.read_csv(fresh / "updates.csv", dtype=str, keep_default_na=False)
    assert log[["reason", "method"]].values.tolist() == [["the first", "all"]]


def test_updates_take_folders(runs, tmp_path):
    candidate, reference = runs
    with pytest.raises(CannotCompare, match="an update takes two results folders"):
        update(candidate / "metrics.csv", reference, "why")
    with pytest.raises(CannotCompare, match="an update takes two results folders"):
        update(candidate, reference / "metrics.csv", "why")
